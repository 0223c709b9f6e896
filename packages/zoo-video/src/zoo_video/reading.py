"""Reading video files: a stretch of one with its sound, or only the frames that a classifier looks at.

Files are decoded by FFmpeg through PyAV. Frames come upright, as a player shows them. Times are those of the file,
which need not start at zero, and exact: they are compared as fractions of a second.
"""

import contextlib
import functools
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from zoo_core.videos import TimedFrame, VideoFile, VideoReadError

__all__ = ["Clip", "read_clips", "read_video", "read_video_timestamps"]

# How far ahead of the next frame that is wanted decoding goes on instead of seeking, in seconds.
_SEEK_AHEAD = 2
# How much later than it should a frame may begin: some formats round times to milliseconds.
_ROUNDING = Fraction(2, 1000)


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _path_is_filename(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Lets the parameter ``filename`` be given by the name that it had before."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if "path" in kwargs:
            warnings.warn(
                f"{function.__name__}(path=...) is now {function.__name__}(filename=...), as in torchvision",
                FutureWarning,
                stacklevel=2,
            )
            kwargs["filename"] = kwargs.pop("path")
        return function(*args, **kwargs)

    return call


@_path_is_filename
def read_video(
    filename: str | os.PathLike[str],
    start_pts: float | Fraction = 0,
    end_pts: float | Fraction | None = None,
    pts_unit: str = "pts",
    output_format: str = "THWC",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Reads the frames that are shown from one time to another, and the sound of that time, into memory.

    Args:
        filename: the file.
        start_pts: time of the first frame. If none starts then, the frame that is being shown is the first.
        end_pts: time of the last frame; ``None`` for the end of the video.
        pts_unit: unit of both times: ``"sec"`` for seconds, or ``"pts"`` for the time base of the video stream, as
            :func:`read_video_timestamps` gives them.
        output_format: order of the frames' dimensions, ``"THWC"`` or ``"TCHW"``.

    Returns:
        Three values.

        - The frames of the first video stream: uint8 in 0..255, RGB, Tensor[T, H, W, 3] or Tensor[T, 3, H, W].
        - The first audio stream from ``start_pts`` to ``end_pts``: float32 Tensor[channels, samples], in
          [-1, 1] unless it was recorded too loud; Tensor[1, 0] where there is none.
        - ``video_fps``, the average frames per second (float), and ``audio_fps``, samples per second (int), as far as
          there are such streams and the file tells.

    Raises:
        VideoReadError: the file is missing, damaged beyond reading, or has no video.
        ValueError: the times, the unit or the format make no sense.

    Warns:
        UserWarning: parts of the file are damaged or missing; what can be decoded is returned. Or a time in units of
            the time base is no integer, so that seconds may have been meant.
    """
    output_format = output_format.upper()
    if output_format not in ("THWC", "TCHW"):
        raise ValueError(f"output_format must be 'THWC' or 'TCHW', not {output_format!r}")
    if pts_unit not in ("sec", "pts"):
        raise ValueError(f"pts_unit must be 'sec' or 'pts', not {pts_unit!r}")
    if not math.isfinite(start_pts):
        raise ValueError(f"start_pts must be a time, not {start_pts}")
    if end_pts is not None and not end_pts >= start_pts:
        raise ValueError(f"end_pts must not be less than start_pts={start_pts}, but is {end_pts}")

    given = [time for time in (start_pts, end_pts or 0) if math.isfinite(time)]
    if pts_unit == "pts" and any(time != math.floor(time) for time in given):
        warnings.warn(
            f"times {start_pts} and {end_pts} are taken in units of the video's time base, which are integers; "
            "for seconds, pass pts_unit='sec'",
            UserWarning,
            stacklevel=3,
        )
    with VideoFile(filename) as video:
        start = video.exact(start_pts, pts_unit)
        end = None if end_pts is None or end_pts == math.inf else video.exact(end_pts, pts_unit)
        frames: list[Tensor] = []
        last = None
        with contextlib.closing(video.frames(start)) as decoded:
            for time, frame in decoded:
                if end is not None and time > end:
                    break
                frames.append(video.pixels(frame))
                last = time
            else:
                if last is not None:
                    video.check_end(last, len(frames) if start <= video.start else None)
                    if last + video.step <= start:  # nothing follows the last frame: it is shown as long as others are
                        frames.clear()
        info: dict[str, Any] = {} if video.rate is None else {"video_fps": float(video.rate)}
        samples = torch.empty(1, 0)
        if video.audio_rate is not None:
            info["audio_fps"] = video.audio_rate
            samples = video.samples(start, end)
        video.warn(stacklevel=4)
    stacked = torch.stack(frames) if frames else torch.empty(0, *video.shape, dtype=torch.uint8)
    return stacked if output_format == "THWC" else stacked.permute(0, 3, 1, 2), samples, info


@_path_is_filename
def read_video_timestamps(
    filename: str | os.PathLike[str], pts_unit: str = "pts"
) -> tuple[list[int] | list[Fraction], float | None]:
    """The times of all frames, without decoding them.

    Args:
        filename: the file.
        pts_unit: unit of the times: ``"sec"`` for seconds, or ``"pts"`` for the time base of the video stream.

    Returns:
        The times in ascending order, integers for ``"pts"``, and the average frames per second if the file tells.

    Raises:
        VideoReadError: the file is missing, damaged beyond reading, or has no video.
        ValueError: the unit is unknown.
    """
    if pts_unit not in ("sec", "pts"):
        raise ValueError(f"pts_unit must be 'sec' or 'pts', not {pts_unit!r}")
    with VideoFile(filename) as video:
        numbers = video.times()
        video.warn(stacklevel=4)
    rate = None if video.rate is None else float(video.rate)
    return (numbers if pts_unit == "pts" else [number * video.time_base for number in numbers]), rate


@dataclass(frozen=True)
class Clip:
    """Some frames of a video.

    Args:
        frames: uint8 in 0..255, RGB, Tensor[T, 3, H, W]; or what a ``transform`` made of each, stacked.
        times: when each frame is shown first, in seconds.
    """

    frames: Tensor
    times: list[float]


def read_clips(
    path: str | os.PathLike[str],
    clip_length: int = 16,
    *,
    num_clips: int = 1,
    place: float = 0.5,
    frame_rate: float | Fraction | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    watch: Callable[[float, Tensor], None] | None = None,
) -> Iterator[Clip]:
    """Reads clips that are spread evenly over a video, one after the other: what a classifier looks at.

    Only what lies between the key frame before a clip and its end is decoded, and what clips share is decoded once:
    many clips take about the time of one pass over the file. No more frames are kept than a clip has, however long the
    video is and however many the clips are, so take them one at a time rather than in a list.

    Args:
        path: the file.
        clip_length: frames of a clip.
        num_clips: how many clips. One is taken from the middle; of more, the first begins with the video, and the last
            ends with it. They overlap if the video is too short for them.
        place: where a single clip is taken, from 0 (it begins with the video) to 1 (it ends with it).
        frame_rate: frames for each second of video, whatever its own rate: those shown at equally spaced times. By
            default the average rate of the video.
        transform: is given each frame as soon as it is decoded, uint8 Tensor[3, H, W], and returns what is kept of it,
            smaller for instance.
        watch: is shown each frame that a clip takes once, before ``transform``, with its time in seconds.

    Yields:
        The clips in order. A video that is shorter than a clip gives only one, of frames spread over the whole video;
        frames are repeated where it has too few.

    Raises:
        VideoReadError: the file is missing, damaged beyond reading, or has no video.
        ValueError: a number is less than one.

    Warns:
        UserWarning: parts of the file are damaged or missing.
    """
    if clip_length < 1 or num_clips < 1:
        raise ValueError(f"clip_length and num_clips must be at least 1, not {clip_length} and {num_clips}")
    if frame_rate is not None and not 0 < frame_rate < math.inf:
        raise ValueError(f"frame_rate must be more than 0, not {frame_rate}")
    if not 0 <= place <= 1:
        raise ValueError(f"place must lie in 0..1, not be {place}")

    def keep(time: float, frame: Tensor) -> Tensor:
        if watch is not None:
            watch(time, frame)
        return frame if transform is None else transform(frame)

    return _read_clips(path, clip_length, num_clips, place, frame_rate, keep)


def _read_clips(
    path: str | os.PathLike[str],
    clip_length: int,
    num_clips: int,
    place: float,
    frame_rate: float | Fraction | None,
    keep: Callable[[float, Tensor], Tensor],
) -> Iterator[Clip]:
    with VideoFile(path) as video:
        start, last = video.extent()
        step = video.step if frame_rate is None else 1 / Fraction(frame_rate)
        slack = last - start - (clip_length - 1) * step
        if slack <= 0:
            num_clips, step, slack = 1, (last - start) / max(clip_length - 1, 1), Fraction(0)
        begins = [
            start + slack * (Fraction(place) if num_clips == 1 else Fraction(index, num_clips - 1))
            for index in range(num_clips)
        ]
        offsets = [_nanoseconds(i * step + _ROUNDING) for i in range(clip_length)]
        waiting = deque(_Wanted(begin, _nanoseconds(begin), offsets) for begin in begins)
        found_any = False
        for clip in _filled(video, waiting, keep):
            found_any = True
            yield clip
        video.warn()
        if not found_any:
            raise VideoReadError(f"{video.name}: none of its frames can be decoded")


def _nanoseconds(time: Fraction) -> int:
    """Rounded down; integers are compared much faster than fractions."""
    return time.numerator * 1_000_000_000 // time.denominator


@dataclass
class _Wanted:
    """A clip that is being filled: when it begins, the offsets of the frames that it takes, and those that it has."""

    begin: Fraction
    begin_nanoseconds: int
    offsets: list[int]
    kept: list[Tensor] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.kept) == len(self.offsets)

    def wants_before(self, time: int | None) -> bool:
        """Whether the next frame that it takes is shown before a time in nanoseconds, or before the end (``None``)."""
        if self.is_full:
            return False
        return time is None or self.begin_nanoseconds + self.offsets[len(self.kept)] < time

    def clip(self) -> Clip:
        return Clip(torch.stack(self.kept), self.shown)


def _filled(video: VideoFile, waiting: deque[_Wanted], keep: Callable[[float, Tensor], Tensor]) -> Iterator[Clip]:
    """Clips in the order in which they begin, filled in as few passes over the file as can be.

    Each frame that is decoded goes to all clips that it belongs to; only the clips that have begun hold frames.
    """
    begun: deque[_Wanted] = deque()
    frames = _ShownFrames(video)
    while waiting or begun:
        if not begun:
            begun.append(waiting.popleft())
            frames.go_to(begun[0].begin + _ROUNDING)
        shown = frames.shown
        if shown is None:  # nothing can be decoded any more
            yield from (wanted.clip() for wanted in begun if wanted.kept)
            begun.clear()
            continue
        time, frame = shown
        ends = None if frames.ends is None else _nanoseconds(frames.ends)
        while waiting and waiting[0].wants_before(ends):
            begun.append(waiting.popleft())
        pixels: Tensor | None = None
        for wanted in begun:
            while wanted.wants_before(ends):
                if pixels is None:
                    pixels = keep(float(time), video.pixels(frame).permute(2, 0, 1))
                wanted.kept.append(pixels)
                wanted.shown.append(float(time))
        while begun and begun[0].is_full:
            yield begun.popleft().clip()
        if begun:
            frames.advance()


class _ShownFrames:
    """The frame that is shown at a time, which goes forward."""

    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._frames: Iterator[TimedFrame] = iter(())
        self._next: TimedFrame | None = None
        # The longest way that a seek was seen to end before its goal: key frames are at least as far apart.
        self._key_frame_distance = Fraction(0)
        self.shown: TimedFrame | None = None
        """The frame and the time at which it is shown first; ``None`` before any, and when none can be decoded."""

    @property
    def ends(self) -> Fraction | None:
        """When the next frame takes the place of this one; ``None`` for the last."""
        return None if self._next is None else self._next[0]

    def go_to(self, time: Fraction) -> None:
        """Makes the last frame that does not begin after a time the one that is shown, or else the first."""
        # A seek that ends behind what is decoded already would decode it again.
        ahead = max(Fraction(_SEEK_AHEAD), self._key_frame_distance)
        if self.shown is None or time < self.shown[0] or (self._next is not None and time > self._next[0] + ahead):
            self._frames = self._video.frames(time)
            self.shown, self._next = next(self._frames, None), next(self._frames, None)
            self._key_frame_distance = max(self._key_frame_distance, time - self._video.landed)
        while self._next is not None and self._next[0] <= time:
            self.advance()

    def advance(self) -> None:
        """Goes on by a frame."""
        self.shown, self._next = self._next, next(self._frames, None)
