"""Optical flow as colours."""

import functools
import math

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.drawing.canvas import enlarged, text_size
from zoo_core.drawing.fonts import Lettering
from zoo_core.images import to_pil_image

__all__ = ["draw_flow", "flow_to_image"]

_LEAST_FOR_KEY = 96  # pixels of the shorter side: it would cover much of a smaller frame of a video
_STRIP = 2**15  # pixels
_WIDE = 1.5  # wider images go above the flow, not beside it
_GROUND = (24, 26, 31)
_INK = (240, 242, 245)


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
    return _colored(flow / (longest + torch.finfo(flow.dtype).eps))


def _colored(flow: Tensor) -> Tensor:
    """The colours, uint8 Tensor[..., 3, H, W], of vectors Tensor[..., 2, H, W] of length 1 at most."""
    colors = flow.new_empty((*flow.shape[:-3], 3, *flow.shape[-2:]), dtype=torch.uint8)
    # In strips of so many rows that what is in between stays in the processor's cache.
    rows = max(1, _STRIP // max(flow.shape[-1], 1))
    for strip, target in zip(flow.split(rows, dim=-2), colors.split(rows, dim=-2), strict=True):
        target.copy_(_strip_colors(strip))
    return colors


def _strip_colors(flow: Tensor) -> Tensor:
    x, y = flow.unbind(dim=-3)
    length = (x.square() + y.square()).sqrt()
    wheel = _color_wheel(flow.device)
    position = (torch.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    below = position.floor().to(torch.int64)
    above = (below + 1) % len(wheel)
    fraction = (position - below).unsqueeze(-1)
    hue = (1 - fraction) * (wheel[below] / 255) + fraction * (wheel[above] / 255)
    # The longest vectors may come out longer than 1 by a rounding error, and 0 less than that must not become 255.
    color = (1 - length.unsqueeze(-1) * (1 - hue)).clamp_(min=0)
    return (color * 255).floor().to(torch.uint8).movedim(-1, -3)


def draw_flow(
    image: Image.Image, flow: Tensor, max_motion: float | None = None, *, enlarge: bool = True
) -> Image.Image:
    """Shows an image and, beside it, the motion of its pixels in colours, with a key: the colour wheel and its scale.

    Args:
        image: RGB.
        flow: float32 Tensor[2, H, W] of the image's size: displacements ``(x, y)`` in pixels.
        max_motion: the length in pixels that has the full colour, as have longer ones; by default that of the longest
            vector.
        enlarge: whether small images are enlarged.

    Returns:
        A new RGB image: the image at the left, or above if it is wide, and the flow at the right, or below.

    Raises:
        ValueError: the flow is not of the image's size, or not finite.
    """
    if flow.shape != (2, image.height, image.width):
        raise ValueError(f"expected flow of shape {[2, image.height, image.width]}, got {list(flow.shape)}")
    lengths = flow.square().sum(dim=0).sqrt()
    if not lengths.isfinite().all():
        raise ValueError("flow must be finite, got NaN or infinity: replace unknown flow with .nan_to_num()")
    scale = float(lengths.max()) if max_motion is None else max_motion
    # What is longer than the scale is drawn as long as that.
    relative = flow / (scale + torch.finfo(flow.dtype).eps)
    colors = _colored(relative / (lengths / (scale + torch.finfo(flow.dtype).eps)).clamp(min=1))
    motion, frame = to_pil_image(colors), image
    if enlarge:
        motion, frame = enlarged(motion), enlarged(image)
    gap = max(2, round(0.008 * max(frame.size)))
    wide = frame.width > _WIDE * frame.height
    place = (0, frame.height + gap) if wide else (frame.width + gap, 0)
    # Encoders of videos want even sizes.
    size = (place[0] + frame.width, place[1] + frame.height)
    sheet = Image.new("RGB", (size[0] + size[0] % 2 * (not wide), size[1] + size[1] % 2 * wide), _GROUND)
    sheet.paste(frame, (0, 0))
    sheet.paste(motion, place)
    _draw_key(sheet, (place[0], place[1], *size), scale)
    return sheet


def _draw_key(sheet: Image.Image, area: tuple[int, int, int, int], scale: float) -> None:
    """Draws the wheel of colours into the lower right corner of an area, over the length that its rim stands for."""
    left, top, right, bottom = area
    if min(right - left, bottom - top) < _LEAST_FOR_KEY:
        return
    letters = text_size((right - left, bottom - top))
    digits = 0 if scale >= 100 else 1 if scale >= 1 else 2
    text = Lettering.of(f"{scale:.{digits}f} px", letters, right - left)
    diameter = max(round(0.2 * min(right - left, bottom - top)), 2 * letters)
    margin = letters // 2
    width = max(diameter, round(text.width)) + 2 * margin
    height = margin + diameter + round(1.5 * letters)
    x, y = right - width, bottom - height
    draw = ImageDraw.Draw(sheet, "RGBA")
    draw.rectangle((x, y, right - 1, bottom - 1), fill=(*_GROUND, 205))
    wheel, disc = _key(diameter)
    sheet.paste(wheel, (x + (width - diameter) // 2, y + margin), disc)
    text.draw(draw, x + (width - text.width) / 2, y + margin + diameter + round(1.1 * letters), _INK)


@functools.lru_cache(maxsize=16)
def _key(diameter: int) -> tuple[Image.Image, Image.Image]:
    """The colours of all directions and lengths up to 1, and a mask of their disc."""
    axis = (torch.arange(diameter, dtype=torch.float32) + 0.5) / diameter * 2 - 1
    vectors = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))
    lengths = vectors.square().sum(dim=0).sqrt()
    opacity = ((1 - lengths) * diameter / 2 + 0.5).clamp(0, 1)
    wheel = to_pil_image(_colored(vectors / lengths.clamp(min=1)))
    return wheel, to_pil_image((255 * opacity).to(torch.uint8), mode="L")


def _color_wheel(device: torch.device) -> Tensor:
    """The 55 colours Tensor[55, 3] in 0..255 from red over yellow, green, cyan, blue and magenta back to red."""
    corners = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
    wheel = []
    for start, end, steps in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6), strict=False):
        for step in range(steps):
            ramp = 255 * step // steps
            wheel.append([a if a == b else ramp if b > a else 255 - ramp for a, b in zip(start, end, strict=True)])
    return torch.tensor(wheel, dtype=torch.float32, device=device)
