"""Indexed masks: label maps as PNG files, in which a pixel's number is its class and a palette gives it a colour."""

import os

import torch
from torch import Tensor

from zoo_core.images import ImageReadError, pil_to_tensor, to_pil_image
from zoo_core.images.files import decoded, opened

__all__ = ["pascal_palette", "read_mask", "write_mask"]

VOID = 255  # in a label map: a pixel that does not count


def pascal_palette(count: int = 256) -> list[tuple[int, int, int]]:
    """The colours that the Pascal VOC data set gives its classes: black, dark red, dark green, ...

    The bits of an index are dealt out to red, green and blue in turn, and fill each of these from the highest bit on:
    bit 0 is worth 128 in red, and bit 3, which is red's second, 64.

    >>> palette = pascal_palette()
    >>> palette[1], palette[2], palette[3], palette[8]
    ((128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0))

    Args:
        count: how many; from 512 on the colours repeat.

    Returns:
        ``(red, green, blue)`` in 0..255 for the indices from 0 on.
    """
    return [(_dealt(index), _dealt(index >> 1), _dealt(index >> 2)) for index in range(count)]


def _dealt(bits: int) -> int:
    """The level whose highest bits are the bits 0, 3 and 6 of a number."""
    return (bits & 1) << 7 | (bits >> 3 & 1) << 6 | (bits >> 6 & 1) << 5


def write_mask(labels: Tensor, path: str | os.PathLike[str]) -> None:
    """Writes a label map as an indexed PNG file in the palette of Pascal VOC.

    Args:
        labels: class of each pixel, Tensor[H, W] of integers in 0..255.
        path: where to write.

    Raises:
        ValueError: a label is outside of 0..255, or the shape is another.
        OSError: the file cannot be written.
    """
    if labels.ndim != 2 or not labels.numel():
        raise ValueError(f"a mask is a Tensor[H, W] with at least one pixel, not of shape {list(labels.shape)}")
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high > 255:
        raise ValueError(f"an indexed PNG file holds labels from 0 to 255, not {low if low < 0 else high}")
    image = to_pil_image(labels.to(torch.uint8), mode="P")
    image.putpalette([level for color in pascal_palette() for level in color])
    image.save(path, format="PNG")


def read_mask(path: str | os.PathLike[str]) -> Tensor:
    """Reads a label map from an indexed or grey image file, as data sets for segmentation have them.

    Args:
        path: the file. Its palette does not matter.

    Returns:
        Tensor[H, W], uint8 in 0..255 (of a grey file with 16 bits uint16, with 32 bits int32).

    Raises:
        ValueError: the file is an image of another kind.
        OSError: the file cannot be read, or is no image.
    """
    with open(path, "rb"):  # for the usual errors
        pass
    try:
        with opened(path) as file:
            image = decoded(file, apply_exif_orientation=False)
    except ImageReadError as error:
        raise OSError(str(error)) from error
    if image.mode not in ("P", "L", "I", "I;16"):
        raise ValueError(
            f"{os.fspath(path)}: a mask is an indexed or grey image, whose numbers are classes, not one of mode "
            f"{image.mode}"
        )
    return pil_to_tensor(image)[0]
