"""The name that :mod:`zoo_core.videos` had."""

import warnings

from zoo_core.videos import TimedFrame, VideoFile, VideoReadError, count_frames, frames

__all__ = ["TimedFrame", "VideoFile", "VideoReadError", "count_frames", "frames"]

warnings.warn("zoo_core.video_files is called zoo_core.videos now", DeprecationWarning, stacklevel=2)
