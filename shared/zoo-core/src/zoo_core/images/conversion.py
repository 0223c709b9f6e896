"""PIL images and tensors: the same pixels in two forms."""

import ctypes

import torch
from PIL import Image
from torch import Tensor

from zoo_core.text import type_name

__all__ = ["convert_mode", "pil_to_tensor", "to_pil_image"]

# Images become tensors in strips of about so many pixels: what is in between stays in the processor's cache.
_STRIP = 2**16


def is_16_bit(image: Image.Image) -> bool:
    """Whether it holds integers beyond 8 bits: Pillow's modes "I;16", "I;16B" and the like, or 32-bit "I"."""
    return image.mode == "I" or image.mode.startswith("I;16")


def convert_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Converts an image to an 8-bit mode: ``"L"``, ``"LA"``, ``"RGB"`` or ``"RGBA"``.

    As :meth:`PIL.Image.Image.convert`, but 16-bit grey levels are scaled to 8 bits, where Pillow cuts them off at 255.
    Transparency that the target mode cannot hold is dropped. An image that already has the mode is returned as it is.

    Args:
        picture: A PIL image of any mode but ``"F"``.
        mode: The mode to convert to.

    Raises:
        ValueError: The image holds floating-point levels, whose range nothing tells.
    """
    if picture.mode == mode:
        return picture
    if picture.mode == "F":
        raise ValueError(
            "an image of floating-point levels (PIL mode 'F') has no defined range: "
            "scale it to 0..255 and convert it to mode 'L' first"
        )
    if is_16_bit(picture):
        levels = pil_to_tensor(picture.convert("I")).clamp_(0, 65535)
        picture = to_pil_image((levels >> 8).to(torch.uint8))
    elif picture.mode == "P" and "transparency" in picture.info:  # Pillow warns of anything else
        picture = picture.convert("RGBA")
    elif picture.mode in ("LAB", "HSV", "La"):  # Pillow converts these to one other mode only
        picture = picture.convert("LA" if picture.mode == "La" else "RGB")
    return picture.convert(mode)


def pil_to_tensor(pic: Image.Image) -> Tensor:
    """Converts a PIL image to a tensor with the same values, without scaling.

    Args:
        pic: A PIL image of any mode.

    Returns:
        A contiguous Tensor[C, H, W], one channel per band: bool for mode ``"1"``, uint16 for ``"I;16"``, int32 for
        ``"I"``, float32 for ``"F"``, uint8 for all others (mode ``"P"`` gives the palette's indices).

    Raises:
        TypeError: ``pic`` is not a PIL image.
    """
    if not isinstance(pic, Image.Image):
        raise TypeError(f"expected a PIL.Image.Image, got {type_name(pic)}")
    if pic.mode == "1":
        return converted_to_tensor(pic, "L").bool()
    if pic.mode in ("I;16B", "I;16L", "I;16N"):
        return converted_to_tensor(pic, "I").to(torch.uint16)
    return converted_to_tensor(pic, pic.mode)


def converted_to_tensor(image: Image.Image, mode: str) -> Tensor:
    """As :func:`pil_to_tensor` of the image in another mode, without a converted copy of the whole image.

    Args:
        image: A PIL image.
        mode: One that :func:`convert_mode` takes, ``"I"``, or the image's own.

    Raises:
        ValueError: As for :func:`convert_mode`.
    """
    channels = Image.getmodebands(mode)
    dtype = {"I;16": torch.uint16, "I": torch.int32, "F": torch.float32}.get(mode, torch.uint8)
    width, height = image.size
    if width == 0 or height == 0:
        return torch.empty((channels, height, width), dtype=dtype)
    row = width * dtype.itemsize
    values = bytearray(channels * height * row)
    view = memoryview(values)
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        if strip.mode != mode:
            strip = strip.convert(mode) if mode == "I" else convert_mode(strip, mode)
        # Pillow takes the bands apart faster than torch permutes interleaved pixels.
        for channel, band in enumerate(strip.split() if channels > 1 else (strip,)):
            start = channel * height * row
            view[start + top * row : start + bottom * row] = band.tobytes()
    return torch.frombuffer(values, dtype=dtype).view(channels, height, width)


def to_pil_image(pic: Tensor, mode: str | None = None) -> Image.Image:
    """Converts a tensor to a PIL image.

    Args:
        pic: Tensor[C, H, W] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, or Tensor[H, W]. uint8 in
            0..255; floating in [0, 1], rounded to the nearest of 256 levels (values outside are clamped, NaN becomes
            0); bool; or uint16 with one channel.
        mode: The PIL mode that the channels mean, e.g. ``"YCbCr"`` for three. Default: by the number of channels.

    Raises:
        TypeError: ``pic`` is not a tensor, or has another dtype.
        ValueError: The shape is not that of an image, or ``mode`` has another number of channels.
    """
    if not isinstance(pic, Tensor):
        raise TypeError(f"expected a tensor, got {type_name(pic)}")
    if pic.ndim == 2:
        pic = pic.unsqueeze(0)
    if pic.ndim != 3 or not 1 <= pic.shape[0] <= 4:
        raise ValueError(
            f"expected one image of shape [C, H, W] with 1 to 4 channels, got shape {list(pic.shape)}: "
            "index a batch (batch[0]), and permute channels-last images with .permute(2, 0, 1)"
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
            raise ValueError(f"a uint16 image must have one channel, got {channels}")
        default_mode = "I;16"
    else:
        default_mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    mode = mode or default_mode
    if len(Image.new(mode, (1, 1)).getbands()) != channels:
        raise ValueError(f"PIL mode {mode!r} does not have {channels} channels")
    if height == 0 or width == 0:
        return Image.new(mode, (width, height))
    if channels == 1:
        return Image.frombytes(mode, (width, height), tensor_bytes(pic))
    # Pillow interleaves bands faster than torch permutes them.
    return Image.merge(mode, [Image.frombytes("L", (width, height), tensor_bytes(band)) for band in pic.cpu()])


def tensor_bytes(tensor: Tensor) -> bytes:
    """The values in order, as they are in memory."""
    tensor = tensor.contiguous().cpu()
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes) if tensor.numel() else b""
