"""Frames of a video file, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})


def frames(path: Path) -> Iterator[Image.Image]:
    """Decodes a video: RGB pictures, turned upright as players show them. Only one is in memory at a time.

    Raises:
        OSError: the file is not there or cannot be opened.
        ValueError: it is no video, or it is damaged; this may come after some frames.
    """
    with path.open("rb"):  # for the usual errors, before a library gives its own
        pass
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield upright(frame)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded as a video: {error.strerror}") from error


def upright(frame: av.VideoFrame) -> Image.Image:
    """The frame as an RGB picture, turned as its file says."""
    picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def count_frames(path: Path) -> int:
    """How many frames a video has, as far as its header tells; 0 where it does not, or cannot be read."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.frames:
                return stream.frames
            rate = stream.average_rate
            if stream.duration is not None and stream.time_base is not None and rate is not None:
                return round(stream.duration * stream.time_base * rate)
            if container.duration is not None and rate is not None:
                return round(container.duration / av.time_base * float(rate))
    except (av.FFmpegError, OSError, IndexError):
        pass
    return 0
