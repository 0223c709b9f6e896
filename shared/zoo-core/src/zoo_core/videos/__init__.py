"""Videos in and out: frames one after the other, from files, cameras and streams, and files of what was drawn on them.

FFmpeg decodes and encodes, through PyAV, which the extra ``zoo-core[video]`` brings.

:func:`frames` gives what an image model takes, one image after the other; :class:`Playback` decodes ahead of the one
who takes the frames, and :class:`VideoWriter` writes others, with the sound of the video that they come from.
:class:`VideoFile` is for those who look for frames by their times.
"""

from zoo_core.videos.files import TimedFrame, VideoFile, VideoReadError, count_frames, frames
from zoo_core.videos.playing import FileSound, Playback, Shown
from zoo_core.videos.streams import VideoStream
from zoo_core.videos.writing import VideoWriteError, VideoWriter, suffix_for

__all__ = [
    "FileSound",
    "Playback",
    "Shown",
    "TimedFrame",
    "VideoFile",
    "VideoReadError",
    "VideoStream",
    "VideoWriteError",
    "VideoWriter",
    "count_frames",
    "frames",
    "suffix_for",
]
