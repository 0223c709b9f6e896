"""Refusing inputs that no model of a kind can take, in words that say how to make one that it takes."""

from torch import Tensor

from zoo_core.text import type_name
from zoo_core.tracing import is_recorded

__all__ = ["check_batch", "type_name"]


def check_batch(x: Tensor, *, model: str, dims: str, kind: str = "image") -> bool:
    """Checks that ``x`` is a batch of floating-point images or videos.

    Args:
        x: the input.
        model: name of the model, for the message.
        dims: names of the batch's dimensions, as ``"N, C, H, W"``.
        kind: what the batch is of: ``"image"``, ``"video"``.

    Returns:
        Whether the shape may be asked further. It may not while torch compiles, exports or traces the model, and then
        nothing is checked: dimensions may stay dynamic.

    Raises:
        TypeError: ``x`` is no tensor, or not of a floating dtype.
        ValueError: ``x`` has another number of dimensions.
    """
    if is_recorded(x):
        return False
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{model} takes a batch of {kind}s, Tensor[{dims}], not {type_name(x)}; the weights' transforms() make a "
            f"tensor of one: model(weights.transforms()({kind}).unsqueeze(0)). Without weights, {_TO_TENSOR[kind]}"
        )
    expected = dims.count(",") + 1
    if x.ndim != expected:
        hint = f"; make one {kind} a batch with {kind}.unsqueeze(0)" if x.ndim == expected - 1 else ""
        raise ValueError(f"{model} takes a batch of {kind}s, Tensor[{dims}], not shape {list(x.shape)}{hint}")
    if not x.is_floating_point():
        raise TypeError(
            f"{model} takes {kind}s of a floating dtype, not {x.dtype}; preprocess them as the weights' transforms() do"
        )
    return True


_TO_TENSOR = {
    "image": (
        "torch.from_numpy(numpy.array(image)).permute(2, 0, 1).float().div(255) makes a Tensor[3, H, W] of an RGB image"
    ),
    "video": (
        "torch.from_numpy(frames).permute(3, 0, 1, 2).float().div(255) makes a Tensor[3, T, H, W] of RGB frames in a "
        "uint8 array of shape [T, H, W, 3]"
    ),
}
