"""The formats of the videos that tests encode, and what a clip of such a video shows."""

from support.painted import numbers

FORMATS = {
    "h264.mp4": {"codec": "libx264"},
    "h264_b_frames.mp4": {"codec": "libx264", "b_frames": 3},
    "h264_b_frames.mkv": {"codec": "libx264", "b_frames": 3},
    "mpeg4_b_frames.mp4": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "mjpeg.mov": {"codec": "mjpeg"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "one_key_frame.mp4": {"codec": "libx264", "key_frame_every": 250, "b_frames": 3},
}
"""Options of `support.painted.encode` for each name of a file."""


def clip_numbers(clip):
    """The number that each frame of a clip tells."""
    return numbers(clip.frames.permute(0, 2, 3, 1))
