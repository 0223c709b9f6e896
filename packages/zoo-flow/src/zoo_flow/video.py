"""Frames of a video file, one after the other: those of :mod:`zoo_core.video_files`."""

from zoo_core.video_files import count_frames, frames

__all__ = ["count_frames", "frames"]
