"""What is common to all that draw with Pillow: the check of an image, the way there and back, and fonts."""

import contextlib
from collections.abc import Iterable

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo_core.images import pil_to_tensor, to_pil_image

# Pillow computes with 32-bit coordinates. Whatever lies farther outside cannot be seen.
FAR = 2**20
_PHOTOGRAPH = 64  # pixels of the longer side

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")


def check_image(image: Tensor, channels: tuple[int, ...]) -> None:
    """Checks that a tensor is one image, Tensor[C, H, W], uint8 in 0..255 or floating in [0, 1].

    Args:
        image: what a user gave.
        channels: the numbers of channels that are taken.

    Raises:
        TypeError: it is no tensor.
        ValueError: its dtype, its shape or its number of channels is another, or it is empty.
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"expected the image as a tensor, got {type(image).__name__}: convert it with pil_to_tensor")
    if not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise ValueError(f"expected an image of dtype uint8 in 0..255 or floating in [0, 1], got {image.dtype}")
    if image.ndim != 3:
        raise ValueError(f"expected one image of shape [C, H, W], got {list(image.shape)}: draw on a batch one by one")
    if image.shape[0] not in channels:
        raise ValueError(
            f"expected an image with {' or '.join(map(str, channels))} channels, got shape {list(image.shape)}"
        )
    if image.numel() == 0:
        raise ValueError(f"the image is empty: shape {list(image.shape)}")


def canvas(image: Tensor, mode: str = "RGB") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A copy of an image, Tensor[1 or 3, H, W], in RGB, and what draws on it: with ``"RGBA"``, transparently."""
    picture = to_pil_image(image.expand(3, -1, -1))
    return picture, ImageDraw.Draw(picture, mode)


def to_tensor_like(picture: Image.Image, image: Tensor) -> Tensor:
    """An RGB image as Tensor[3, H, W], of the dtype and on the device of the tensor that it was drawn on."""
    values = pil_to_tensor(picture).to(image.device)
    return values if image.dtype == torch.uint8 else (values.float() / 255).to(image.dtype)


def load_font(font: str | None, font_size: int | None, texts: Iterable[str]) -> Font:
    """The named font, or Pillow's own; for texts that its few glyphs cannot show, a common one of the system's.

    Raises:
        ValueError: no font of that name is found.
    """
    if font is not None:
        try:
            return ImageFont.truetype(font, font_size or 10)
        except OSError as error:
            raise ValueError(f"no TrueType font {font!r} was found: pass the path of a .ttf file") from error
    if not all(text.isascii() for text in texts):
        for name in _SYSTEM_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, font_size or 10)
    return ImageFont.load_default() if font_size is None else ImageFont.load_default(font_size)


def line_width(size: tuple[int, int]) -> int:
    """How wide lines are on an image of such width and height, which is looked at as a whole."""
    return max(1 if max(size) < 200 else 2, round(0.0034 * sum(size) / 2))


def text_size(size: tuple[int, int]) -> int:
    """How high letters are on an image of such width and height."""
    return max(10, round(6 + 0.021 * sum(size) / 2))


def enlarged(image: Image.Image, min_size: int = 320) -> Image.Image:
    """A small image, made larger by a whole number so that its longer side is near so many pixels; else itself.

    Icons are enlarged pixel by pixel, photographs smoothly.
    """
    factor = round(min_size / max(image.size))
    if factor <= 1:
        return image
    smooth = max(image.size) >= _PHOTOGRAPH
    resampling = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return image.resize((image.width * factor, image.height * factor), resampling)


def extent(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Where a mask Tensor[H, W], bool or uint8, is not 0: left, top, right, bottom, the last two exclusive."""
    # Bytes are reduced faster than truth values.
    mask = mask.contiguous().view(torch.uint8)
    rows = mask.amax(1).nonzero().flatten()
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = mask[top:bottom].amax(0).nonzero().flatten()
    return int(columns[0]), top, int(columns[-1]) + 1, bottom
