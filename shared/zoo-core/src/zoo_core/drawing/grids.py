"""Grids of images, and files of them."""

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor

from zoo_core.images import to_pil_image

__all__ = ["make_grid", "save_image"]


def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Arranges images of one size in a grid.

    Args:
        tensor: A batch, Tensor[N, C, H, W], a list of images, each Tensor[C, H, W] of the same shape, or one image
            Tensor[C, H, W] or Tensor[H, W]. Grey images become RGB.
        nrow: The number of images in a row.
        padding: Pixels between and around the images.
        normalize: Whether to shift and scale the values to [0, 1].
        value_range: ``(min, max)`` that become 0 and 1; values beyond are clamped. Default: those of the images.
            Only used with ``normalize``.
        scale_each: Whether to normalise each image by itself rather than all together.
        pad_value: The value between the images.

    Returns:
        Tensor[C, rows * (H + padding) + padding, columns * (W + padding) + padding]; one image alone is returned
        without padding.

    Raises:
        TypeError: ``tensor`` is neither a tensor nor a list of tensors, or integers are to be normalised.
        ValueError: There are no images, their shapes differ, or an argument is out of range.
    """
    if isinstance(tensor, Tensor):
        images = tensor
    elif isinstance(tensor, Sequence) and all(isinstance(image, Tensor) for image in tensor) and not _is_text(tensor):
        shapes = {tuple(image.shape) for image in tensor}
        if len(shapes) != 1:
            raise ValueError(f"expected images of one shape, got {sorted(shapes) or 'none'}")
        images = torch.stack(list(tensor))
    else:
        raise TypeError(f"expected a tensor or a list of tensors, got {type(tensor).__name__}")
    if nrow < 1 or padding < 0:
        raise ValueError(f"nrow must be at least 1 and padding at least 0, got {nrow} and {padding}")
    if not 2 <= images.ndim <= 4:
        raise ValueError(f"expected images of shape [N, C, H, W], [C, H, W] or [H, W], got {list(images.shape)}")
    images = images[(None,) * (4 - images.ndim)]
    if images.shape[0] == 0:
        raise ValueError(f"expected at least one image, got shape {list(images.shape)}")
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if normalize:
        if not images.is_floating_point():
            raise TypeError(f"only floating values can be normalised, got {images.dtype}: convert with .float()")
        images = _stretch(images, value_range, scale_each)
    elif value_range is not None and value_range[0] >= value_range[1]:
        raise ValueError(f"value_range must be (min, max) with min < max, got {value_range}")

    count, channels, height, width = images.shape
    if count == 1:
        return images.squeeze(0)
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    cell_height, cell_width = height + padding, width + padding
    grid = images.new_full((channels, rows * cell_height + padding, columns * cell_width + padding), pad_value)
    for index, image in enumerate(images):
        top = index // columns * cell_height + padding
        left = index % columns * cell_width + padding
        grid[:, top : top + height, left : left + width] = image
    return grid


def _is_text(value: object) -> bool:
    return isinstance(value, str | bytes)


def _stretch(images: Tensor, value_range: tuple[float, float] | None, scale_each: bool) -> Tensor:
    if value_range is not None:
        low, high = value_range
        if low >= high:
            raise ValueError(f"value_range must be (min, max) with min < max, got {value_range}")
        return (images.clamp(low, high) - low) / max(high - low, 1e-5)
    if images.numel() == 0:
        return images
    dims = (1, 2, 3) if scale_each else (0, 1, 2, 3)
    lows, highs = images.amin(dims, keepdim=True), images.amax(dims, keepdim=True)
    return (images - lows) / (highs - lows).clamp(min=1e-5)


def save_image(
    tensor: Tensor | Sequence[Tensor],
    fp: str | os.PathLike[str] | BinaryIO,
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Writes an image, or a grid of images, to a file.

    Args:
        tensor: Floating in [0, 1] (values beyond are clamped), in the shapes of :func:`make_grid`.
        fp: A file name or a file opened for writing bytes.
        format: The format, such as ``"PNG"``. Default: by the extension of the file name; a file object needs it.
        **kwargs: Further arguments of :func:`make_grid`.

    Raises:
        TypeError: ``tensor`` does not hold floating values.
        ValueError: As for :func:`make_grid`, or the extension is unknown.
        OSError: The file cannot be written.
    """
    grid = make_grid(tensor, **kwargs)
    if not grid.is_floating_point():
        raise TypeError(f"expected floating values in [0, 1], got {grid.dtype}: use write_png, or divide by 255")
    to_pil_image((grid.detach().float() * 255 + 0.5).clamp(0, 255).to(torch.uint8)).save(fp, format=format)
