"""Colour images of 16 bits a channel, of which Pillow gives the upper 8 bits only.

Pillow's decoders are told by a "raw mode" how the file has the channels of a pixel: ``"RGB;16B"``, for instance, is 16
bits with the upper byte first, and the upper byte is what becomes of it. With ``"RGB;16L"``, upper byte last, the same
decoder gives the lower bytes of the same file. So decoding twice gives all of it, with no decoder but Pillow's.
"""

import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from PIL import Image, ImageFile
from torch import Tensor

from zoo_core.images.conversion import pil_to_tensor
from zoo_core.images.files import decoded

_RAW_MODE = re.compile(r"(RGB|RGBX|RGBA|RGBa);16([BLN])")
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def raw_mode(image: ImageFile.ImageFile) -> str | None:
    """How a colour image of 16 bits a channel lies in its file, which is not decoded yet; ``None`` for any other."""
    found = {_raw_mode(tile) for tile in image.tile}
    if len(found) != 1:
        return None
    (mode,) = found
    return mode


def _raw_mode(tile: Any) -> str | None:
    first = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
    if tile.codec_name.startswith("ppm") and first == "RGB" and tile.args[1] > 255:
        return f"ppm {tile.args[1]}"
    if first == "LA;16B" or (isinstance(first, str) and _RAW_MODE.fullmatch(first)):
        return first
    return None


def is_unsigned_32_bit(image: ImageFile.ImageFile) -> bool:
    """Whether a file that is not decoded yet has levels of 0..4294967295, which Pillow gives as signed numbers."""
    return any((tile.args[0] if isinstance(tile.args, tuple) else tile.args) == "I;32N" for tile in image.tile)


def read_deep(
    image: ImageFile.ImageFile,
    reopened: Callable[[], AbstractContextManager[ImageFile.ImageFile]],
    apply_exif_orientation: bool,
) -> Tensor:
    """Decodes a colour image of 16 bits a channel.

    Args:
        image: The image, not decoded yet.
        reopened: Opens it once more.
        apply_exif_orientation: Turn it upright as its EXIF data say.

    Returns:
        uint16 Tensor[C, H, W] in 0..65535, with 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels.

    Raises:
        ValueError: The colours are multiplied by alpha, or it is a PPM file of text.
    """
    mode = raw_mode(image) or ""
    if mode == "LA;16B":
        # As four channels of 8 bits: upper and lower byte of the grey level, then of alpha.
        parts = pil_to_tensor(_with_raw_mode(image, "RGBA", apply_exif_orientation))
        return _joined(parts[0::2], parts[1::2])
    levels = 65535
    if mode.startswith("ppm"):
        if image.tile[0].codec_name != "ppm":
            raise ValueError(
                f"a PPM file of text with levels up to {mode[4:]} is read in 8-bit modes only, such as RGB"
            )
        levels = int(mode[4:])
        mode = "RGB;16B"
    if mode.startswith("RGBa"):
        raise ValueError("16-bit colours that are multiplied by alpha are read in 8-bit modes only, such as RGBA")
    upper = pil_to_tensor(_with_raw_mode(image, mode, apply_exif_orientation))
    with reopened() as again:
        swapped = mode[:-1] + _SWAPPED[mode[-1]]
        lower = pil_to_tensor(_with_raw_mode(again, swapped, apply_exif_orientation))
    joined = _joined(upper, lower)
    if levels != 65535:
        scaled = (joined.to(torch.float64) * (65535 / levels)).round().clamp(0, 65535)
        joined = scaled.to(torch.int32).to(torch.uint16)
    return joined


def _with_raw_mode(image: ImageFile.ImageFile, mode: str, apply_exif_orientation: bool) -> Image.Image:
    tiles = []
    for tile in image.tile:
        if tile.codec_name == "ppm":
            tiles.append(tile._replace(codec_name="raw", args=(mode, 0, 1)))
        else:
            tiles.append(tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode))
    image.tile = tiles
    return decoded(image, apply_exif_orientation)


def _joined(upper: Tensor, lower: Tensor) -> Tensor:
    """Two uint8 Tensor[C, H, W] as one of uint16."""
    pair = (lower, upper) if sys.byteorder == "little" else (upper, lower)
    return torch.stack(pair, dim=-1).view(torch.uint16).squeeze(-1)
