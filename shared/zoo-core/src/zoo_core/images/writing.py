"""Writing images, and encoding them in memory."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.images.conversion import tensor_bytes, to_pil_image
from zoo_core.text import type_name

__all__ = ["encode_jpeg", "encode_png", "write_file", "write_jpeg", "write_png"]


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """Encodes an image as PNG.

    Args:
        input: uint8 Tensor[C, H, W] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, or Tensor[H, W].
        compression_level: 0 (fast, large) to 9 (slow, small).

    Returns:
        The file's content: uint8 Tensor[N].

    Raises:
        TypeError: ``input`` is not a uint8 tensor.
        ValueError: The shape or ``compression_level`` is out of range.
    """
    return _as_tensor(_png(input, compression_level))


def encode_jpeg(input: Tensor | list[Tensor], quality: int = 75) -> Tensor | list[Tensor]:
    """Encodes an image, or each of a list, as JPEG.

    Args:
        input: uint8 Tensor[C, H, W] with 1 (grey) or 3 (RGB) channels, or Tensor[H, W]; or a list of such tensors.
        quality: 1 (small) to 100 (near the original).

    Returns:
        The file's content: uint8 Tensor[N], or a list of them where a list was given.

    Raises:
        TypeError: An input is not a uint8 tensor.
        ValueError: A shape or ``quality`` is out of range.
    """
    if isinstance(input, list | tuple):
        return [_as_tensor(_jpeg(item, quality)) for item in input]
    return _as_tensor(_jpeg(input, quality))


def write_png(input: Tensor, filename: str | os.PathLike[str], compression_level: int = 6) -> None:
    """Writes a PNG file.

    Args:
        input: uint8 Tensor[C, H, W] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, or Tensor[H, W].
        filename: Where to write.
        compression_level: 0 (fast, large) to 9 (slow, small).

    Raises:
        TypeError: ``input`` is not a uint8 tensor.
        ValueError: The shape or ``compression_level`` is out of range.
        OSError: The file cannot be written.
    """
    Path(filename).write_bytes(_png(input, compression_level))


def write_jpeg(input: Tensor, filename: str | os.PathLike[str], quality: int = 75) -> None:
    """Writes a JPEG file.

    Args:
        input: uint8 Tensor[C, H, W] with 1 (grey) or 3 (RGB) channels, or Tensor[H, W].
        filename: Where to write.
        quality: 1 (small) to 100 (near the original).

    Raises:
        TypeError: ``input`` is not a uint8 tensor.
        ValueError: The shape or ``quality`` is out of range.
        OSError: The file cannot be written.
    """
    Path(filename).write_bytes(_jpeg(input, quality))


def write_file(filename: str | os.PathLike[str], data: Tensor) -> None:
    """Writes bytes to a file, such as those of :func:`encode_png`.

    Args:
        filename: Where to write.
        data: uint8 Tensor[N].

    Raises:
        TypeError: ``data`` is no uint8 Tensor[N].
        OSError: The file cannot be written.
    """
    if not isinstance(data, Tensor) or data.dtype != torch.uint8 or data.ndim != 1:
        got = f"{data.dtype} of shape {list(data.shape)}" if isinstance(data, Tensor) else type_name(data)
        raise TypeError(f"expected a uint8 tensor of shape [N], got {got}")
    Path(filename).write_bytes(tensor_bytes(data))


def _png(input: Tensor, compression_level: int) -> bytes:
    if not 0 <= compression_level <= 9:
        raise ValueError(f"compression_level must be between 0 and 9, got {compression_level}")
    return _encoded(input, "PNG", compress_level=compression_level)


def _jpeg(input: Tensor, quality: int) -> bytes:
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be between 1 and 100, got {quality}")
    if isinstance(input, Tensor) and input.ndim == 3 and input.shape[0] not in (1, 3):
        raise ValueError(f"a JPEG has 1 or 3 channels, got {input.shape[0]}: drop the alpha channel, or write a PNG")
    return _encoded(input, "JPEG", quality=quality)


def _encoded(input: Tensor, format: str, **options: Any) -> bytes:
    if isinstance(input, Tensor) and input.dtype != torch.uint8:
        raise TypeError(f"expected a uint8 tensor with values in 0..255, got {input.dtype}")
    image = to_pil_image(input)
    if image.width == 0 or image.height == 0:
        raise ValueError(f"cannot write an empty image, got shape {list(input.shape)}")
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
