"""Frames of a video file, one after the other."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from PIL import Image

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.video_files import is_cover, is_stored_upright, name_for_ffmpeg, upright


def frames(path: Path) -> Iterator[Image.Image]:
    """Decodes a video: RGB pictures, turned upright as players show them. Only one is in memory at a time.

    Raises:
        OSError: the file is not there or cannot be opened.
        ValueError: it is no video, or it cannot be read further; this may come after some frames.

    Warns:
        UserWarning: parts of the file are damaged or missing. The frames that cannot be decoded are left out.
    """
    with path.open("rb"):  # for the usual errors, before a library gives its own
        pass
    is_damaged = False
    try:
        with av.open(name_for_ffmpeg(path), metadata_errors="ignore") as container:
            stream: Any = _video_stream(container)
            if stream is None:
                raise ValueError(f"{path}: has no video stream")
            stream.thread_type = "AUTO"
            for packet in container.demux(stream):
                is_damaged |= packet.is_corrupt
                try:
                    decoded = stream.codec_context.decode(packet)
                except (av.error.EOFError, av.error.InvalidDataError) as error:
                    is_damaged |= isinstance(error, av.error.InvalidDataError)
                    continue
                for frame in decoded:
                    picture = frame.to_image()
                    if not is_stored_upright(frame):
                        picture = to_pil_image(upright(pil_to_tensor(picture), frame))
                    yield picture
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded as a video: {error.strerror}") from error
    if is_damaged:
        warnings.warn(f"{path}: damaged: some frames are incomplete or left out", stacklevel=2)


def _video_stream(container: "av.container.InputContainer") -> Any:
    """The first video stream that is no picture of a record's cover, and that can be decoded; ``None`` without one."""
    streams = (stream for stream in container.streams.video if not is_cover(stream))
    return next((stream for stream in streams if stream.codec_context is not None), None)


def count_frames(path: Path) -> int:
    """How many frames a video has, as far as its header tells; 0 where it does not, or cannot be read."""
    try:
        with av.open(name_for_ffmpeg(path), metadata_errors="ignore") as container:
            stream = _video_stream(container)
            if stream is None:
                return 0
            if stream.frames:
                return stream.frames
            rate = stream.average_rate
            if stream.duration is not None and stream.time_base is not None and rate is not None:
                return round(stream.duration * stream.time_base * rate)
            if container.duration is not None and rate is not None:
                return round(container.duration / av.time_base * float(rate))
    except (av.FFmpegError, OSError):
        pass
    return 0
