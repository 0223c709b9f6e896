"""What PyAV leaves to those who read video files. PyAV is not imported here: zoo-core does not depend on it."""

import os
import struct
from typing import Any

from torch import Tensor

__all__ = ["is_cover", "is_stored_upright", "name_for_ffmpeg", "upright"]

_ATTACHED_PIC = 0x0400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC


def name_for_ffmpeg(path: str | os.PathLike[str]) -> str:
    """A path for FFmpeg, which takes the beginning of ``"12:30.mp4"`` for a protocol, as that of ``"https:"`` is."""
    name = os.fspath(path)
    return os.path.join(os.curdir, name) if os.path.exists(name) else name


def is_cover(stream: Any) -> bool:
    """Whether a video stream, ``av.video.VideoStream``, is a picture of a record's cover."""
    return bool(getattr(stream, "disposition", 0) & _ATTACHED_PIC)  # PyAV tells from version 14 on


def is_stored_upright(frame: Any) -> bool:
    """Whether the file of an ``av.VideoFrame`` says nothing of how it should be turned or mirrored."""
    return frame.side_data.get("DISPLAYMATRIX") is None


def upright(pixels: Tensor, frame: Any) -> Tensor:
    """Turns and mirrors the pixels of a frame as its file says that it should be shown.

    Args:
        pixels: Tensor[..., H, W].
        frame: the ``av.VideoFrame`` that they come from.

    Returns:
        A view, or a copy if the pixels are mirrored: Tensor[..., H, W] or Tensor[..., W, H]. A turn by something else
        than quarters is rounded to them.
    """
    if is_stored_upright(frame):
        return pixels
    matrix = frame.side_data.get("DISPLAYMATRIX")
    # Where the axes x (to the right) and y (down) of the stored picture point to in the picture that is shown.
    x_to_x, x_to_y, _, y_to_x, y_to_y, *_ = struct.unpack("=9i", bytes(memoryview(matrix))[:36])
    if abs(x_to_y) + abs(y_to_x) > abs(x_to_x) + abs(y_to_y):
        pixels = pixels.transpose(-2, -1)
        x_to_x, y_to_y = y_to_x, x_to_y
    return pixels.flip([dim for dim, sign in ((-2, y_to_y), (-1, x_to_x)) if sign < 0])
