"""Reading images: one function for photos, and those that torchvision has, with its arguments."""

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageSequence
from torch import Tensor

from zoo_core.images.conversion import (
    convert_mode,
    converted_to_tensor,
    is_16_bit,
    pil_to_tensor,
    tensor_bytes,
)
from zoo_core.images.deep import is_unsigned_32_bit, raw_mode, read_deep
from zoo_core.images.files import FORMATS, decoded, max_pixels, name_of, opened, too_large
from zoo_core.text import type_name

__all__ = [
    "ImageReadMode",
    "decode_avif",
    "decode_gif",
    "decode_heic",
    "decode_image",
    "decode_jpeg",
    "decode_png",
    "decode_webp",
    "open_image",
    "read_file",
    "read_image",
]


class ImageReadMode(Enum):
    """What :func:`read_image` converts an image to. A name such as ``"RGB"`` serves as well as the member."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4
    RGBA = RGB_ALPHA

    @classmethod
    def _missing_(cls, value: object) -> "ImageReadMode | None":
        name = value if isinstance(value, str) else getattr(value, "name", None)  # torchvision's own member has a name
        return cls.__members__.get(name.upper()) if isinstance(name, str) else None


_PILLOW_MODES = {
    ImageReadMode.GRAY: "L",
    ImageReadMode.GRAY_ALPHA: "LA",
    ImageReadMode.RGB: "RGB",
    ImageReadMode.RGB_ALPHA: "RGBA",
}


def open_image(path: str | os.PathLike[str] | bytes, mode: str = "RGB") -> Image.Image:
    """Reads an image file as a viewer shows it: upright by its EXIF orientation, the first frame of an animation.

    This is the reader for photos: the presets, ``weights.transforms()``, take what it returns.

    Args:
        path: The file, or its content.
        mode: The PIL mode of the result: ``"RGB"``, ``"RGBA"``, ``"L"`` or ``"LA"``.

    Raises:
        ImageReadError: The file is missing, damaged, too large (see :mod:`zoo_core.images`), or not an image.
    """
    with opened(path) as file:
        image = convert_mode(decoded(file, apply_exif_orientation=True), mode)
        if image is not file:
            return image
        # What the format's own class has besides pixels ends with the file. Pixels that are mapped from it would change
        # with it.
        return image.copy() if getattr(file, "map", None) is not None else image._new(image.im)


def read_image(
    path: str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Reads an image file (JPEG, PNG, WebP, GIF, TIFF and others) into a tensor, pixels and channels as stored.

    For photos that a model is to see, :func:`open_image` is simpler: it turns them upright and gives RGB.

    Args:
        path: The file.
        mode: What to convert to, as member or name. ``UNCHANGED`` keeps grey, grey with alpha, RGB and RGBA, of a PNG
            file with a palette its indices (one channel, as in the masks of Pascal VOC), and of a JPEG file in CMYK
            four channels as they are stored, which is inverted. What torchvision does not read, other files with a
            palette and in other colour spaces, gets the colours that it shows, RGB or RGBA.
        apply_exif_orientation: Turn the image upright as its EXIF data say.

    Returns:
        Tensor[C, H, W], uint8 in 0..255. Of an animated GIF file Tensor[T, C, H, W], all frames as they are shown, RGB
        if ``UNCHANGED``; of other animations, the first frame. What is read ``UNCHANGED`` keeps its depth: images of 16
        bits a channel (PNG, TIFF, PPM) are uint16 in 0..65535, 32-bit TIFF images int32 or uint32. In all other modes,
        16-bit levels are scaled to 8 bits.

    Raises:
        ImageReadError: The file is missing, damaged, too large (see :mod:`zoo_core.images`), or not an image.
        ValueError: ``mode`` is unknown.
    """
    return decode_image(os.fspath(path), mode, apply_exif_orientation)


def decode_image(
    input: Tensor | bytes | str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Decodes an image from a file's content or path; see :func:`read_image`.

    Args:
        input: The encoded bytes, as ``bytes`` or as uint8 Tensor[N], or a path.
        mode: See :func:`read_image`.
        apply_exif_orientation: See :func:`read_image`.

    Returns:
        Tensor[C, H, W], see :func:`read_image`.

    Raises:
        ImageReadError: The input is damaged, too large or not an image, or the file is missing.
        TypeError: ``input`` is none of the above.
        ValueError: ``mode`` is unknown.
    """
    return _decode(input, mode, apply_exif_orientation, FORMATS)


def _decode(
    input: Tensor | bytes | str | os.PathLike[str],
    mode: ImageReadMode | str,
    apply_exif_orientation: bool,
    formats: Sequence[str],
) -> Tensor:
    try:
        mode = ImageReadMode(mode)
    except ValueError:
        names = ", ".join(ImageReadMode.__members__)
        raise ValueError(f"unknown mode {mode!r}: expected an ImageReadMode, or one of {names}") from None
    source = _source(input)
    with opened(source, formats) as file:
        if file.format == "GIF" and getattr(file, "is_animated", False):
            return _frames(file, source, _PILLOW_MODES.get(mode, "RGB"))
        if mode is not ImageReadMode.UNCHANGED:
            if file.format == "JPEG" and mode in (ImageReadMode.GRAY, ImageReadMode.GRAY_ALPHA):
                file.draft("L", file.size)  # the brightness that the file stores, rather than that of its colours
            image = decoded(file, apply_exif_orientation)
            return converted_to_tensor(image, _PILLOW_MODES[mode])
        if raw_mode(file):
            return read_deep(file, lambda: opened(source, formats), apply_exif_orientation)
        image_format, unsigned = file.format, is_unsigned_32_bit(file)
        image = decoded(file, apply_exif_orientation)
        if (image_format, image.mode) == ("PNG", "P"):
            return pil_to_tensor(image)
        if (image_format, image.mode) == ("JPEG", "CMYK"):
            return 255 - pil_to_tensor(image)  # Pillow inverts it, as those who write such files expect
        if not is_16_bit(image):
            return converted_to_tensor(image, _natural_mode(image))
        if image.mode == "I" and image_format in ("PNG", "PPM"):  # Pillow's way to hold 16 bits
            return pil_to_tensor(image).to(torch.uint16)
        levels = pil_to_tensor(image)
        return levels.view(torch.uint32) if unsigned else levels


def _frames(file: Image.Image, source: Any, mode: str) -> Tensor:
    """All frames of an animation as they are shown, Tensor[T, C, H, W]."""
    limit = max_pixels()
    frames: list[Tensor] = []
    for frame in ImageSequence.Iterator(file):
        if limit is not None and (len(frames) + 1) * frame.width * frame.height > limit:
            size = f"{len(frames) + 1} frames or more of {frame.width} x {frame.height} pixels"
            raise too_large(name_of(source), size, limit)
        frames.append(converted_to_tensor(frame, mode))
    return torch.stack(frames)


def _source(input: Any) -> bytes | str | os.PathLike[str]:
    if isinstance(input, Tensor):
        if input.dtype != torch.uint8 or input.ndim != 1:
            raise TypeError(f"expected a uint8 tensor of shape [N], got {input.dtype} of shape {list(input.shape)}")
        return tensor_bytes(input)
    if not isinstance(input, bytes | str | os.PathLike):
        raise TypeError(f"expected a path, bytes or a one-dimensional uint8 tensor, got {type_name(input)}")
    return input


def _natural_mode(image: Image.Image) -> str:
    """The mode among L, LA, RGB and RGBA that keeps all that the image shows."""
    if image.mode in ("1", "L"):
        return "L"
    if image.mode in ("LA", "La"):
        return "LA"
    if image.mode in ("RGBA", "RGBa", "PA") or (image.mode == "P" and "transparency" in image.info):
        return "RGBA"
    return "RGB"


# One format each ----------------------------------------------------------------------------------------------------


def decode_png(
    input: Tensor, mode: ImageReadMode | str = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False
) -> Tensor:
    """Decodes a PNG file's content; see :func:`decode_image`.

    Args:
        input: The encoded bytes, uint8 Tensor[N].
        mode, apply_exif_orientation: See :func:`read_image`.

    Returns:
        Tensor[C, H, W], see :func:`read_image`.

    Raises:
        ImageReadError: The input is damaged, too large or not a PNG image.
    """
    return _decode(input, mode, apply_exif_orientation, ("PNG",))


def decode_jpeg(
    input: Tensor | list[Tensor],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    device: str | torch.device = "cpu",
    apply_exif_orientation: bool = False,
) -> Tensor | list[Tensor]:
    """Decodes JPEG files' content; see :func:`decode_image`.

    Args:
        input: The encoded bytes, uint8 Tensor[N], or a list of such tensors.
        mode, apply_exif_orientation: See :func:`read_image`.
        device: Where the result goes. The CPU decodes, whatever the device.

    Returns:
        uint8 Tensor[C, H, W], or a list of them where a list was given.

    Raises:
        ImageReadError: An input is damaged, too large or not a JPEG image.
    """
    if isinstance(input, list | tuple):
        return [_decode(item, mode, apply_exif_orientation, ("JPEG",)).to(device) for item in input]
    return _decode(input, mode, apply_exif_orientation, ("JPEG",)).to(device)


def decode_webp(input: Tensor, mode: ImageReadMode | str = ImageReadMode.UNCHANGED) -> Tensor:
    """Decodes a WebP file's content, of an animation the first frame; see :func:`decode_image`.

    Args:
        input: The encoded bytes, uint8 Tensor[N].
        mode: See :func:`read_image`.

    Returns:
        uint8 Tensor[C, H, W].

    Raises:
        ImageReadError: The input is damaged, too large or not a WebP image.
    """
    return _decode(input, mode, False, ("WEBP",))


def decode_avif(input: Tensor, mode: ImageReadMode | str = ImageReadMode.UNCHANGED) -> Tensor:
    """Decodes an AVIF file's content; see :func:`decode_image`.

    Args:
        input: The encoded bytes, uint8 Tensor[N].
        mode: See :func:`read_image`.

    Returns:
        uint8 Tensor[C, H, W]; of an image of 10 or 12 bits, the upper 8.

    Raises:
        ImageReadError: The input is damaged, too large or not an AVIF image, or this Pillow was built without AVIF.
    """
    return _decode(input, mode, False, ("AVIF",))


def decode_heic(input: Tensor, mode: ImageReadMode | str = ImageReadMode.UNCHANGED) -> Tensor:
    """Decodes a HEIC file's content; see :func:`decode_image`. It takes the package ``pillow-heif``.

    Args:
        input: The encoded bytes, uint8 Tensor[N].
        mode: See :func:`read_image`.

    Returns:
        uint8 Tensor[C, H, W]; of an image of 10 or 12 bits, the upper 8.

    Raises:
        ImageReadError: The input is damaged, too large or not a HEIC image, or ``pillow-heif`` is not installed.
    """
    return _decode(input, mode, False, ("HEIF",))


def decode_gif(input: Tensor) -> Tensor:
    """Decodes a GIF file's content, all frames of an animation.

    Args:
        input: The encoded bytes, uint8 Tensor[N].

    Returns:
        uint8 RGB in 0..255: Tensor[3, H, W] of one frame, Tensor[T, 3, H, W] of several, each as it is shown.

    Raises:
        ImageReadError: The input is damaged, too large (all frames together count) or not a GIF image.
    """
    source = _source(input)
    with opened(source, ("GIF",)) as file:
        frames = _frames(file, source, "RGB")
    return frames[0] if len(frames) == 1 else frames


# Bytes --------------------------------------------------------------------------------------------------------------


def read_file(path: str | os.PathLike[str]) -> Tensor:
    """The bytes of a file.

    Args:
        path: The file.

    Returns:
        uint8 Tensor[N].

    Raises:
        OSError: The file cannot be read.
    """
    data = bytearray(Path(path).read_bytes())
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
