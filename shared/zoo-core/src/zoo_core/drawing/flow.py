"""Optical flow as colours."""

import math

import torch
from torch import Tensor

__all__ = ["flow_to_image"]


def flow_to_image(flow: Tensor) -> Tensor:
    """Shows optical flow as colours: the hue is the direction, the saturation the length.

    The colour wheel is that of `A Database and Evaluation Methodology for Optical Flow
    <https://vision.middlebury.edu/flow/flowEval-iccv07.pdf>`__. The longest vector of all in the batch is fully
    saturated; white is no motion.

    Args:
        flow: float32 Tensor[N, 2, H, W] or Tensor[2, H, W]: displacements ``(x, y)`` in pixels.

    Returns:
        uint8 Tensor[N, 3, H, W] or Tensor[3, H, W].

    Raises:
        TypeError: ``flow`` is not a tensor.
        ValueError: The shape or dtype is wrong, or values are not finite.
    """
    if not isinstance(flow, Tensor):
        raise TypeError(f"expected flow as a tensor, got {type(flow).__name__}")
    if flow.dtype != torch.float32:
        raise ValueError(f"expected flow of dtype float32, got {flow.dtype}: convert it with .float()")
    if flow.ndim not in (3, 4) or flow.shape[-3] != 2:
        raise ValueError(f"expected flow of shape [N, 2, H, W] or [2, H, W], got {list(flow.shape)}")
    if not flow.isfinite().all():
        raise ValueError("flow must be finite, got NaN or infinity: replace unknown flow with .nan_to_num()")
    if flow.numel() == 0:
        return flow.new_empty((*flow.shape[:-3], 3, *flow.shape[-2:]), dtype=torch.uint8)

    longest = flow.square().sum(dim=-3).sqrt().max()
    x, y = (flow / (longest + torch.finfo(flow.dtype).eps)).unbind(dim=-3)
    length = (x.square() + y.square()).sqrt()
    wheel = _color_wheel(flow.device)
    position = (torch.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    below = position.floor().to(torch.int64)
    above = (below + 1) % len(wheel)
    fraction = (position - below).unsqueeze(-1)
    hue = (1 - fraction) * (wheel[below] / 255) + fraction * (wheel[above] / 255)
    # The longest vectors may come out longer than 1 by a rounding error, and 0 less than that must not become 255.
    color = (1 - length.unsqueeze(-1) * (1 - hue)).clamp_(min=0)
    return (color * 255).floor().to(torch.uint8).movedim(-1, -3).contiguous()


def _color_wheel(device: torch.device) -> Tensor:
    """The 55 colours Tensor[55, 3] in 0..255 from red over yellow, green, cyan, blue and magenta back to red."""
    corners = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
    wheel = []
    for start, end, steps in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6), strict=False):
        for step in range(steps):
            ramp = 255 * step // steps
            wheel.append([a if a == b else ramp if b > a else 255 - ramp for a, b in zip(start, end, strict=True)])
    return torch.tensor(wheel, dtype=torch.float32, device=device)
