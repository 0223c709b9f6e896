"""The files in which data sets and tools exchange optical flow: `Middlebury's .flo
<https://vision.middlebury.edu/flow/code/flow-code/README.txt>`__ and KITTI's PNG."""

import os
import struct
import sys
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.images import ImageReadError, read_image

__all__ = ["read_flo", "read_flow", "read_kitti_flow", "write_flo"]

_HEADER = struct.Struct("<4sii")
_MAGIC = b"PIEH"
# Larger numbers stand for unknown flow.
_UNKNOWN = 1e9


def write_flo(flow: Tensor, path: str | os.PathLike[str]) -> None:
    """Writes a flow.

    Args:
        flow: Tensor[2, H, W] of a floating dtype: the displacement of each pixel to the right and down, in pixels.
            Values that are not finite are written as unknown.
        path: where to write.

    Raises:
        ValueError: ``flow`` has another shape or dtype.
        OSError: the file cannot be written.
    """
    if flow.ndim != 3 or flow.shape[0] != 2 or not flow.is_floating_point():
        raise ValueError(f"flow must be a floating Tensor[2, H, W], not {flow.dtype} of shape {list(flow.shape)}")
    values = flow.detach().float().cpu().permute(1, 2, 0)
    values = values.nan_to_num(nan=2 * _UNKNOWN, posinf=2 * _UNKNOWN, neginf=2 * _UNKNOWN).contiguous()
    floats = values.flatten()
    payload = bytearray(4 * floats.numel())
    if payload:
        torch.frombuffer(payload, dtype=torch.float32).copy_(floats)
    if sys.byteorder == "big":
        payload = _swapped(payload)
    Path(path).write_bytes(_HEADER.pack(_MAGIC, flow.shape[2], flow.shape[1]) + payload)


def read_flo(path: str | os.PathLike[str]) -> Tensor:
    """Reads a flow.

    Args:
        path: a `.flo` file.

    Returns:
        float32 Tensor[2, H, W], in pixels; NaN where the flow is unknown.

    Raises:
        ValueError: it is not such a file, or a part of it is missing.
        OSError: it cannot be read.
    """
    data = bytearray(Path(path).read_bytes())
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise ValueError(f"{path}: not a .flo file, which begins with PIEH; it begins with {bytes(data[:4])!r}")
    _, width, height = _HEADER.unpack_from(data)
    expected = _HEADER.size + 8 * width * height
    if width < 1 or height < 1 or len(data) != expected:
        raise ValueError(
            f"{path}: a flow of {height}x{width} pixels takes {expected} bytes, but the file has {len(data)}; it is "
            "damaged or was not written to its end"
        )
    payload = data[_HEADER.size :]
    if sys.byteorder == "big":
        payload = _swapped(payload)
    flow = torch.frombuffer(payload, dtype=torch.float32).view(height, width, 2).permute(2, 0, 1)
    unknown = (flow.abs() > _UNKNOWN).any(dim=0) | flow.isnan().any(dim=0)
    return torch.where(unknown, torch.nan, flow)


def read_kitti_flow(path: str | os.PathLike[str]) -> Tensor:
    """Reads the flow of a PNG file of 16 bits a channel, as `KITTI's ground truth
    <https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=flow>`__ is.

    Red and green are the displacement to the right and down, in 1/64 of a pixel from 32768 on; blue is 0 where the flow
    is unknown.

    Args:
        path: a PNG file.

    Returns:
        float32 Tensor[2, H, W], in pixels; NaN where the flow is unknown.

    Raises:
        ValueError: it is missing, damaged, or no PNG file of three channels of 16 bits.
    """
    levels = read_image(path)
    if levels.dtype != torch.uint16 or levels.shape[0] != 3:
        raise ImageReadError(
            f"{path}: is no flow as KITTI writes it, which is a PNG file of 3 channels of 16 bits; it has "
            f"{levels.shape[0]} of {8 * levels.element_size()}"
        )
    values = levels.float()
    return torch.where(values[2] > 0, (values[:2] - 32768) / 64, torch.nan)


def read_flow(path: str | os.PathLike[str]) -> Tensor:
    """Reads a flow, of a PNG file as :func:`read_kitti_flow`, of any other as :func:`read_flo`.

    Args:
        path: the file.

    Returns:
        float32 Tensor[2, H, W], in pixels; NaN where the flow is unknown.

    Raises:
        ValueError: it is no flow, damaged, or missing.
        OSError: it cannot be read.
    """
    return read_kitti_flow(path) if Path(path).suffix.lower() == ".png" else read_flo(path)


def _swapped(data: bytearray) -> bytearray:
    """The same with the bytes of each four in reverse order."""
    return bytearray(b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4)))
