"""The name that :mod:`zoo_core.videos` had."""

import warnings

from zoo_core.videos import TimedFrame as TimedFrame
from zoo_core.videos import VideoFile as VideoFile
from zoo_core.videos import VideoReadError as VideoReadError
from zoo_core.videos import count_frames as count_frames
from zoo_core.videos import frames as frames

warnings.warn("zoo_core.video_files is called zoo_core.videos now", DeprecationWarning, stacklevel=2)
