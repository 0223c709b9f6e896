"""Pictures in and out: files, PIL pictures and tensors.

A picture in memory is a tensor ``[C, H, W]``, uint8 in 0..255 unless a docstring says otherwise. Files are decoded and
encoded by Pillow. Whatever is wrong with a file, reading it raises :class:`ImageReadError` with one line that names it.
"""

import ctypes
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

__all__ = [
    "ImageReadError",
    "ImageReadMode",
    "convert_mode",
    "decode_image",
    "open_image",
    "pil_to_tensor",
    "read_image",
    "to_pil_image",
    "write_jpeg",
    "write_png",
]


class ImageReadError(ValueError):
    """A picture could not be read; the message names the file and the reason in one line."""


class ImageReadMode(Enum):
    """What :func:`read_image` converts a picture to. A name such as ``"RGB"`` serves as well as the member."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4

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


def _is_16_bit(picture: Image.Image) -> bool:
    # Pillow opens 16-bit grey files as "I;16", big-endian ones as "I;16B", and some as 32-bit "I".
    return picture.mode == "I" or picture.mode.startswith("I;16")


def _16_bit_levels(picture: Image.Image) -> Tensor:
    """The grey levels of a 16-bit picture: int32 ``[1, H, W]`` in 0..65535."""
    return pil_to_tensor(picture.convert("I")).clamp_(0, 65535)


def convert_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Converts a picture to an 8-bit mode: ``"L"``, ``"LA"``, ``"RGB"`` or ``"RGBA"``.

    As :meth:`PIL.Image.Image.convert`, but 16-bit grey levels are scaled to 8 bits, where Pillow cuts them off at 255.
    Transparency that the target mode cannot hold is dropped. A picture that already has the mode is returned as it is.

    Raises:
        ValueError: The picture holds floating-point levels, whose range nothing tells.
    """
    if picture.mode == mode:
        return picture
    if picture.mode == "F":
        raise ValueError(
            "a picture of floating-point levels (PIL mode 'F') has no defined range: "
            "scale it to 0..255 and convert it to mode 'L' first"
        )
    if _is_16_bit(picture):
        picture = to_pil_image((_16_bit_levels(picture) >> 8).to(torch.uint8))
    elif picture.mode == "P" and "transparency" in picture.info:  # Pillow warns of anything else
        picture = picture.convert("RGBA")
    elif picture.mode in ("LAB", "HSV", "La"):  # Pillow converts these to one other mode only
        picture = picture.convert("LA" if picture.mode == "La" else "RGB")
    return picture.convert(mode)


def pil_to_tensor(pic: Image.Image) -> Tensor:
    """Converts a PIL picture to a tensor with the same values, without scaling.

    Args:
        pic: A PIL picture of any mode.

    Returns:
        A contiguous tensor ``[C, H, W]``, one channel per band: bool for mode ``"1"``, uint16 for ``"I;16"``, int32 for
        ``"I"``, float32 for ``"F"``, uint8 for all others (mode ``"P"`` gives the palette's indices).

    Raises:
        TypeError: ``pic`` is not a PIL picture.
    """
    if not isinstance(pic, Image.Image):
        raise TypeError(f"expected a PIL.Image.Image, got {_type_name(pic)}")
    if pic.mode == "1":
        return pil_to_tensor(pic.convert("L")).bool()
    if pic.mode in ("I;16B", "I;16L", "I;16N"):
        return pil_to_tensor(pic.convert("I")).to(torch.uint16)
    dtype = {"I;16": torch.uint16, "I": torch.int32, "F": torch.float32}.get(pic.mode, torch.uint8)
    width, height = pic.size
    channels = len(pic.getbands())
    if width == 0 or height == 0:
        return torch.empty((channels, height, width), dtype=dtype)
    # Pillow takes the bands apart faster than torch permutes interleaved pixels.
    bands = pic.split() if channels > 1 else (pic,)
    values = bytearray().join(band.tobytes() for band in bands)
    return torch.frombuffer(values, dtype=dtype).view(channels, height, width)


def to_pil_image(pic: Tensor, mode: str | None = None) -> Image.Image:
    """Converts a tensor to a PIL picture.

    Args:
        pic: ``[C, H, W]`` with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, or ``[H, W]``. uint8 in 0..255;
            floating in [0, 1], rounded to the nearest of 256 levels (values outside are clamped, NaN becomes 0); bool;
            or uint16 with one channel.
        mode: The PIL mode that the channels mean, e.g. ``"YCbCr"`` for three. Default: by the number of channels.

    Raises:
        TypeError: ``pic`` is not a tensor, or has another dtype.
        ValueError: The shape is not that of a picture, or ``mode`` has another number of channels.
    """
    if not isinstance(pic, Tensor):
        raise TypeError(f"expected a tensor, got {_type_name(pic)}")
    if pic.ndim == 2:
        pic = pic.unsqueeze(0)
    if pic.ndim != 3 or not 1 <= pic.shape[0] <= 4:
        raise ValueError(
            f"expected one picture of shape [C, H, W] with 1 to 4 channels, got shape {list(pic.shape)}: "
            "index a batch (batch[0]), and permute channels-last pictures with .permute(2, 0, 1)"
        )
    pic = pic.detach()
    if pic.is_floating_point():
        pic = pic.float().nan_to_num(nan=0.0).clamp(0, 1).mul_(255).round_().to(torch.uint8)
    elif pic.dtype == torch.bool:
        pic = pic.to(torch.uint8) * 255
    elif pic.dtype not in (torch.uint8, torch.uint16):
        raise TypeError(f"expected uint8 in 0..255 or floating values in [0, 1], got {pic.dtype}: convert it first")

    channels, height, width = pic.shape
    if pic.dtype == torch.uint16:
        if channels != 1:
            raise ValueError(f"a uint16 picture must have one channel, got {channels}")
        default_mode = "I;16"
    else:
        default_mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    mode = mode or default_mode
    if len(Image.new(mode, (1, 1)).getbands()) != channels:
        raise ValueError(f"PIL mode {mode!r} does not have {channels} channels")
    if height == 0 or width == 0:
        return Image.new(mode, (width, height))
    if channels == 1:
        return Image.frombytes(mode, (width, height), _tensor_bytes(pic))
    # Pillow interleaves bands faster than torch permutes them.
    return Image.merge(mode, [Image.frombytes("L", (width, height), _tensor_bytes(band)) for band in pic.cpu()])


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns whatever opening and decoding raise into an :class:`ImageReadError` of one line."""
    try:
        yield
    except ImageReadError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageReadError(f"{name}: is a directory, not a picture") from error
    except PermissionError as error:
        raise ImageReadError(f"{name}: no permission to read it") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(f"{name}: not a picture, damaged, or of a format that Pillow cannot read") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{name}: too large to be decoded safely: {_one_line(error)} "
            "(if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS)"
        ) from error
    except Exception as error:  # on damaged files, Pillow's decoders raise nearly anything
        raise ImageReadError(f"{name}: cannot be decoded: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _load(source: str | os.PathLike[str] | bytes, apply_exif_orientation: bool) -> Image.Image:
    """Opens and decodes a file, or the bytes of one."""
    if isinstance(source, bytes):
        name, size = f"<{len(source)} bytes>", len(source)
    else:
        name = os.fspath(source)
        with _reading(name):
            if Path(source).is_dir():  # Windows reports a directory as a lack of permission
                raise IsADirectoryError
            size = Path(source).stat().st_size
    with _reading(name):
        if size == 0:
            raise ImageReadError(f"{name}: empty, it holds no picture")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            picture.load()
            return ImageOps.exif_transpose(picture) if apply_exif_orientation else picture.copy()


def open_image(path: str | os.PathLike[str], mode: str = "RGB") -> Image.Image:
    """Reads a file as a viewer would show it: upright by its EXIF orientation, the first frame of an animation.

    Args:
        path: The file.
        mode: The PIL mode of the result: ``"RGB"``, ``"RGBA"``, ``"L"`` or ``"LA"``.

    Raises:
        ImageReadError: The file is missing, damaged, or no picture.
    """
    picture = _load(path, apply_exif_orientation=True)
    with _reading(os.fspath(path)):
        return convert_mode(picture, mode)


def read_image(
    path: str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Reads a picture file (PNG, JPEG, WebP, GIF, and whatever else Pillow knows) into a tensor.

    Args:
        path: The file.
        mode: What to convert to, as member or name. ``UNCHANGED`` keeps grey, grey with alpha, RGB and RGBA; it gives a
            palette its colours (RGB, or RGBA when it has a transparent entry), and gives CMYK and other colour spaces
            as RGB.
        apply_exif_orientation: Turn the picture upright as its EXIF data say.

    Returns:
        ``[C, H, W]``, uint8 in 0..255; of an animation, the first frame. A 16-bit grey picture that is read
        ``UNCHANGED`` is uint16 in 0..65535; in all other modes, 16-bit levels are scaled to 8 bits.

    Raises:
        ImageReadError: The file is missing, damaged, or no picture.
        ValueError: ``mode`` is unknown.
    """
    return decode_image(os.fspath(path), mode, apply_exif_orientation)


def decode_image(
    input: Tensor | bytes | str | os.PathLike[str],
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Decodes a picture from a file's content or path; see :func:`read_image`.

    Args:
        input: The encoded bytes, as ``bytes`` or as a one-dimensional uint8 tensor, or a path.
        mode: See :func:`read_image`.
        apply_exif_orientation: See :func:`read_image`.

    Returns:
        ``[C, H, W]``, see :func:`read_image`.

    Raises:
        ImageReadError: The input is damaged or no picture, or the file is missing.
        TypeError: ``input`` is none of the above.
        ValueError: ``mode`` is unknown.
    """
    try:
        mode = ImageReadMode(mode)
    except ValueError:
        names = ", ".join(ImageReadMode.__members__)
        raise ValueError(f"unknown mode {mode!r}: expected an ImageReadMode, or one of {names}") from None
    if isinstance(input, Tensor):
        if input.dtype != torch.uint8 or input.ndim != 1:
            raise TypeError(f"expected a uint8 tensor of shape [N], got {input.dtype} of shape {list(input.shape)}")
        input = _tensor_bytes(input)
    elif not isinstance(input, bytes | str | os.PathLike):
        raise TypeError(f"expected a path, bytes or a one-dimensional uint8 tensor, got {_type_name(input)}")
    picture = _load(input, apply_exif_orientation)
    with _reading(f"<{len(input)} bytes>" if isinstance(input, bytes) else os.fspath(input)):
        if mode is ImageReadMode.UNCHANGED and _is_16_bit(picture):
            return _16_bit_levels(picture).to(torch.uint16)
        return pil_to_tensor(convert_mode(picture, _PILLOW_MODES.get(mode) or _natural_mode(picture)))


def _tensor_bytes(tensor: Tensor) -> bytes:
    tensor = tensor.contiguous().cpu()
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.numel() else b""


def _natural_mode(picture: Image.Image) -> str:
    """The mode among L, LA, RGB and RGBA that keeps all that the picture shows."""
    if picture.mode in ("1", "L"):
        return "L"
    if picture.mode in ("LA", "La"):
        return "LA"
    if picture.mode in ("RGBA", "RGBa", "PA") or (picture.mode == "P" and "transparency" in picture.info):
        return "RGBA"
    return "RGB"


def write_png(input: Tensor, filename: str | os.PathLike[str], compression_level: int = 6) -> None:
    """Writes a PNG file.

    Args:
        input: uint8 ``[C, H, W]`` with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, or ``[H, W]``.
        filename: Where to write.
        compression_level: 0 (fast, large) to 9 (slow, small).

    Raises:
        TypeError: ``input`` is not a uint8 tensor.
        ValueError: The shape or ``compression_level`` is out of range.
        OSError: The file cannot be written.
    """
    if not 0 <= compression_level <= 9:
        raise ValueError(f"compression_level must be between 0 and 9, got {compression_level}")
    _write(input, filename, "PNG", compress_level=compression_level)


def write_jpeg(input: Tensor, filename: str | os.PathLike[str], quality: int = 75) -> None:
    """Writes a JPEG file.

    Args:
        input: uint8 ``[C, H, W]`` with 1 (grey) or 3 (RGB) channels, or ``[H, W]``.
        filename: Where to write.
        quality: 1 (small) to 100 (near the original).

    Raises:
        TypeError: ``input`` is not a uint8 tensor.
        ValueError: The shape or ``quality`` is out of range.
        OSError: The file cannot be written.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be between 1 and 100, got {quality}")
    if isinstance(input, Tensor) and input.ndim == 3 and input.shape[0] not in (1, 3):
        raise ValueError(f"a JPEG has 1 or 3 channels, got {input.shape[0]}: drop the alpha channel, or write a PNG")
    _write(input, filename, "JPEG", quality=quality)


def _write(input: Tensor, filename: str | os.PathLike[str], format: str, **options: Any) -> None:
    if isinstance(input, Tensor) and input.dtype != torch.uint8:
        raise TypeError(f"expected a uint8 tensor with values in 0..255, got {input.dtype}")
    picture = to_pil_image(input)
    if picture.width == 0 or picture.height == 0:
        raise ValueError(f"cannot write an empty picture, got shape {list(input.shape)}")
    picture.save(filename, format=format, **options)
