"""What PyAV leaves to those who use it: names, covers, orientation, and ends that are missing."""

import os
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo_core.extras import require

if TYPE_CHECKING:
    import av
    from av.sidedata.sidedata import SideDataContainer
else:
    av = require("av", extra="video", purpose="to read videos")
    SideDataContainer = require("av.sidedata.sidedata", extra="video", purpose="to read videos").SideDataContainer

__all__ = ["is_cover", "is_cut_off", "is_stored_upright", "name_for_ffmpeg", "seconds_of", "timestamp", "upright"]

_ATTACHED_PIC = 0x0400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC


def name_for_ffmpeg(path: str | os.PathLike[str]) -> str:
    """A path for FFmpeg, which takes the beginning of ``"12:30.mp4"`` for a protocol, as that of ``"https:"`` is."""
    name = os.fspath(path)
    return os.path.join(os.curdir, name) if os.path.exists(name) else name


def is_cover(stream: Any) -> bool:
    """Whether a video stream, ``av.video.VideoStream``, is the cover image of a record."""
    # A flag of Python's, which is an integer only from PyAV 18 on.
    return bool(getattr(stream.disposition, "value", stream.disposition) & _ATTACHED_PIC)


def is_stored_upright(frame: Any) -> bool:
    """Whether the file of an ``av.VideoFrame`` says nothing of how it should be turned or mirrored."""
    return _display_matrix(frame) is None


def _display_matrix(frame: Any) -> Any:
    # frame.side_data would tie the frame to an object that refers to it, and keep its pixels until Python's collector
    # of cycles runs: gigabytes for large frames.
    is_frame = isinstance(frame, av.VideoFrame)
    data = SideDataContainer(frame) if is_frame else frame.side_data  # type: ignore[call-arg]
    return data.get("DISPLAYMATRIX")


def upright(pixels: Tensor, frame: Any) -> Tensor:
    """Turns and mirrors the pixels of a frame as its file says that it should be shown.

    Args:
        pixels: Tensor[..., H, W].
        frame: The ``av.VideoFrame`` that they come from.

    Returns:
        A view, or a copy if the pixels are mirrored: Tensor[..., H, W] or Tensor[..., W, H]. A turn by something else
        than quarters is rounded to them.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return pixels
    # Where the axes x (to the right) and y (down) of the stored image point to in the image that is shown.
    x_to_x, x_to_y, _, y_to_x, y_to_y, *_ = struct.unpack("=9i", bytes(memoryview(matrix))[:36])
    if abs(x_to_y) + abs(y_to_x) > abs(x_to_x) + abs(y_to_y):
        pixels = pixels.transpose(-2, -1)
        x_to_x, y_to_y = y_to_x, x_to_y
    return pixels.flip([dim for dim, sign in ((-2, y_to_y), (-1, x_to_x)) if sign < 0])


def is_cut_off(stream: Any, file_format: str, name: str) -> bool:
    """Whether the size of a file shows that its end is missing."""
    if not os.path.exists(name):
        return False
    size = os.path.getsize(name)
    if file_format == "mpegts":
        return all(size % packet for packet in (188, 192, 204))
    entries: Any = stream.index_entries
    return "mp4" in file_format and len(entries) > 0 and entries[-1].pos + entries[-1].size > size


def timestamp(packet: Any) -> int | None:
    """The time of an ``av.Packet`` in units of its stream, as far as it has one: of showing it, else of decoding it."""
    return packet.dts if packet.pts is None else packet.pts


def seconds_of(text: str) -> Fraction | None:
    """The seconds that ``"00:01:02.345"`` means; ``None`` for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None
