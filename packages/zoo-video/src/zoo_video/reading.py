"""Reading video files: a stretch of one with its sound, or only the frames that a classifier looks at.

Files are decoded by FFmpeg through PyAV. Frames come upright, as a player shows them. Times are those of the file,
which need not start at zero, and exact: they are compared as fractions of a second.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
import torch
from torch import Tensor

from zoo_core.video_files import is_cover, name_for_ffmpeg, upright

__all__ = ["Clip", "VideoReadError", "read_clips", "read_video", "read_video_timestamps"]

TimedFrame: TypeAlias = tuple[Fraction, av.VideoFrame]

# How far ahead of the next frame that is wanted decoding goes on instead of seeking, in seconds.
_SEEK_AHEAD = 2
# How much later than it should a frame may begin: some formats round times to milliseconds.
_ROUNDING = Fraction(2, 1000)
# A demuxer that fails so often in a row has nothing more to give.
_MAX_FAILURES = 64


class VideoReadError(ValueError):
    """A video could not be read; the message names the file and the reason in one line."""


def read_video(
    path: str | os.PathLike[str],
    start_pts: float | Fraction = 0,
    end_pts: float | Fraction | None = None,
    pts_unit: str = "sec",
    output_format: str = "THWC",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Reads the frames that are shown from one time to another, and the sound of that time, into memory.

    Args:
        path: the file.
        start_pts: time of the first frame. If none starts then, the frame that is being shown is the first.
        end_pts: time of the last frame; ``None`` for the end of the video.
        pts_unit: unit of both times: ``"sec"`` for seconds, or ``"pts"`` for the time base of the video stream.
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
        UserWarning: parts of the file are damaged or missing. What can be decoded is returned.
    """
    if output_format not in ("THWC", "TCHW"):
        raise ValueError(f"output_format must be 'THWC' or 'TCHW', not {output_format!r}")
    if pts_unit not in ("sec", "pts"):
        raise ValueError(f"pts_unit must be 'sec' or 'pts', not {pts_unit!r}")
    if not math.isfinite(start_pts):
        raise ValueError(f"start_pts must be a time, not {start_pts}")
    if end_pts is not None and not end_pts >= start_pts:
        raise ValueError(f"end_pts must not be less than start_pts={start_pts}, but is {end_pts}")

    video = _Video(path)
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
    video.warn()
    stacked = torch.stack(frames) if frames else torch.empty(0, *video.shape, dtype=torch.uint8)
    return stacked if output_format == "THWC" else stacked.permute(0, 3, 1, 2), samples, info


def read_video_timestamps(
    path: str | os.PathLike[str], pts_unit: str = "sec"
) -> tuple[list[int] | list[Fraction], float | None]:
    """The times of all frames, without decoding them.

    Args:
        path: the file.
        pts_unit: unit of the times: ``"sec"`` for seconds, or ``"pts"`` for the time base of the video stream.

    Returns:
        The times in ascending order, whole numbers for ``"pts"``, and the average frames per second if the file tells.

    Raises:
        VideoReadError: the file is missing, damaged beyond reading, or has no video.
        ValueError: the unit is unknown.
    """
    if pts_unit not in ("sec", "pts"):
        raise ValueError(f"pts_unit must be 'sec' or 'pts', not {pts_unit!r}")
    video = _Video(path)
    numbers = video.times()
    video.warn()
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
    frame_rate: float | Fraction | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Clip]:
    """Reads clips that are spread evenly over a video, one after the other: what a classifier looks at.

    Only what lies between the key frame before a clip and its end is decoded, and no more frames than a clip has are
    kept, however long the video is.

    Args:
        path: the file.
        clip_length: frames of a clip.
        num_clips: how many clips. One is taken from the middle; of more, the first begins with the video, and the last
            ends with it. They overlap if the video is too short for them.
        frame_rate: frames for each second of video, whatever its own rate: those shown at equally spaced times. By
            default the average rate of the video.
        transform: is given each frame as soon as it is decoded, uint8 Tensor[3, H, W], and returns what is kept of it,
            smaller for instance.

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
    return _read_clips(path, clip_length, num_clips, frame_rate, transform or (lambda frame: frame))


def _read_clips(
    path: str | os.PathLike[str],
    clip_length: int,
    num_clips: int,
    frame_rate: float | Fraction | None,
    transform: Callable[[Tensor], Tensor],
) -> Iterator[Clip]:
    video = _Video(path)
    start, last = video.extent()
    step = video.step if frame_rate is None else 1 / Fraction(frame_rate)
    slack = last - start - (clip_length - 1) * step
    if slack <= 0:
        num_clips, step, slack = 1, (last - start) / max(clip_length - 1, 1), Fraction(0)
    frames = _ShownFrames(video)
    found_any = False
    for index in range(num_clips):
        begin = start + (slack / 2 if num_clips == 1 else slack * index / (num_clips - 1))
        kept: list[Tensor] = []
        times: list[Fraction] = []
        for i in range(clip_length):
            found = frames.at(begin + i * step)
            if found is None:
                break
            time, frame = found
            # A frame that is shown at several times is kept once.
            is_repeated = bool(times) and times[-1] == time
            kept.append(kept[-1] if is_repeated else transform(video.pixels(frame).permute(2, 0, 1)))
            times.append(time)
        if kept:
            found_any = True
            yield Clip(torch.stack(kept), [float(time) for time in times])
    video.warn()
    if not found_any:
        raise VideoReadError(f"{video.name}: none of its frames can be decoded")


class _ShownFrames:
    """Looks up the frames that are shown at some times. Times that ascend cost the least."""

    def __init__(self, video: "_Video") -> None:
        self._video = video
        self._frames: Iterator[TimedFrame] = iter(())
        self._shown: TimedFrame | None = None
        self._next: TimedFrame | None = None

    def at(self, time: Fraction) -> TimedFrame | None:
        """The last frame that does not begin after a time, or the first one; ``None`` if none can be decoded."""
        time += _ROUNDING
        shown, following = self._shown, self._next
        if shown is None or time < shown[0] or (following is not None and time > following[0] + _SEEK_AHEAD):
            self._frames = self._video.frames(time)
            shown, following = next(self._frames, None), next(self._frames, None)
        while following is not None and following[0] <= time:
            shown, following = following, next(self._frames, None)
        self._shown, self._next = shown, following
        return shown


class _Video:
    """A file, the first of its video streams that is no cover picture, and what went wrong in reading it.

    Each pass over the file opens it anew, which works for files that cannot be wound back, too.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._problems: list[str] = []
        self._size: tuple[int, int] | None = None
        with self._open() as container:
            streams = [stream for stream in container.streams.video if not is_cover(stream)]
            if not streams or streams[0].codec_context is None:
                raise VideoReadError(f"{self.name}: has no video that FFmpeg can decode")
            stream = streams[0]
            audio = [stream for stream in container.streams.audio if stream.codec_context is not None]
            rate = stream.average_rate or stream.guessed_rate
            self._format = container.format.name
            self._video_index = stream.index
            self._audio_index = audio[0].index if audio else None
            self._frame_count = stream.frames
            if _is_cut_off(stream, self._format, self.name):
                self._note("its end is missing")
            self._tagged_duration = _seconds(stream.metadata.get("DURATION", ""))
            self.audio_rate: int | None = audio[0].rate if audio else None
            self.time_base = Fraction(stream.time_base or 1)
            self.rate = Fraction(rate) if rate else None
            self.step = 1 / self.rate if self.rate else Fraction(1, 25)
            self.start = (stream.start_time or 0) * self.time_base
            self.shape = (stream.codec_context.height, stream.codec_context.width, 3)
            duration = None
            if stream.duration:
                duration = stream.duration * self.time_base
            elif container.duration:
                duration = Fraction(container.duration, av.time_base)
            self._stated_end = None if duration is None else self.start + duration

    def _open(self) -> "av.container.InputContainer":
        if os.path.isdir(self.name):  # Windows reports a directory as a lack of permission
            raise VideoReadError(f"{self.name}: is a directory, not a video")
        try:
            return av.open(name_for_ffmpeg(self.name), metadata_errors="ignore")
        except (FileNotFoundError, av.error.ProtocolNotFoundError) as error:
            raise VideoReadError(f"{self.name}: no such file") from error
        except PermissionError as error:
            raise VideoReadError(f"{self.name}: no permission to read it") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoReadError(
                f"{self.name}: not a video, damaged, or of a format that FFmpeg cannot read"
            ) from error

    def exact(self, time: float | Fraction, unit: str) -> Fraction:
        """A time in seconds, as a multiple of the time base: what a float fails to say exactly is forgiven."""
        ticks = Fraction(time) / self.time_base if unit == "sec" else Fraction(time)
        return math.floor(ticks + Fraction(1, 1000)) * self.time_base

    def warn(self) -> None:
        """Says what was wrong with the file."""
        if self._problems:
            warnings.warn(f"{self.name}: damaged: {', '.join(self._problems)}", UserWarning, stacklevel=3)

    def _note(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)

    def check_end(self, last: Fraction, count: int | None = None) -> None:
        """Takes note if the file promises more frames than were there.

        Args:
            last: time of the last frame.
            count: number of frames, if all were counted.
        """
        # MP4 counts frames that it then leaves out; but what is missing at its end cannot be read without an error.
        if count is not None and count < self._frame_count and "mp4" not in self._format:
            self._note(f"only {count} of its {self._frame_count} frames can be decoded")
        elif self._tagged_duration is not None:
            missing = self.start + self._tagged_duration - last - self.step
            if missing > max(self.step, Fraction(1, 2)):
                self._note(f"its last {float(missing):.1f} seconds are missing")

    def times(self) -> list[int]:
        """Times of the frames in units of the time base, ascending."""
        with self._open() as container:
            packets = [p for p in self._packets(container, container.streams[self._video_index]) if p.size > 0]
            times = sorted(time for time in map(_timestamp, packets) if time is not None)
        # A stream without a container has no times; its frames follow each other at its rate.
        return times or [round((self.start + i * self.step) / self.time_base) for i in range(len(packets))]

    def extent(self) -> tuple[Fraction, Fraction]:
        """Times of the first and of the last frame that the file has."""
        times: list[int] = []
        if self._stated_end is not None:
            with self._open() as container:
                stream = container.streams[self._video_index]
                if self._seek(container, stream, self._stated_end):
                    stamps = [_timestamp(packet) for packet in self._packets(container, stream)]
                    times = [time for time in stamps if time is not None]
        if not times:
            times = self.times()
        if not times:
            return self.start, self.start
        last = max(max(times) * self.time_base, self.start)
        self.check_end(last)
        return self.start, last

    def frames(self, start: Fraction) -> Generator[TimedFrame]:
        """Frames with their times, from the last that does not come after ``start``, or from the first."""
        # A seek may end up too late, where the index of the file or its key frames are not what they should be.
        for back in (0, 5, 60, None):
            with self._open() as container:
                stream = container.streams[self._video_index]
                if back is not None and (start - back <= self.start or not self._seek(container, stream, start - back)):
                    continue
                decoded = self._decoded(container, stream)
                shown = next(decoded, None)
                if shown is None or (back is not None and shown[0] > start):
                    continue
                for item in decoded:
                    if item[0] > start:
                        yield shown
                    shown = item
                yield shown
                return

    def _decoded(self, container: "av.container.InputContainer", stream: Any) -> Iterator[TimedFrame]:
        previous: Fraction | None = None
        for frame in self._frames_of(container, stream):
            time = None if frame.pts is None else frame.pts * self.time_base
            if time is None or (previous is not None and time <= previous):
                time = self.start if previous is None else previous + self.step
            if frame.is_corrupt:
                self._note("some frames are incomplete")
            previous = time
            yield time, frame

    def samples(self, start: Fraction, end: Fraction | None) -> Tensor:
        """The sound of some time: float32 Tensor[channels, samples]."""
        rate = self.audio_rate or 1
        resampler = av.AudioResampler(format="fltp")
        parts: list[Tensor] = []
        channels = 1
        with self._open() as container:
            stream: Any = container.streams[self._audio_index or 0]
            base = Fraction(stream.time_base or Fraction(1, rate))
            # Decoders need some of what comes before.
            self._seek(container, stream, start - 1)
            time: Fraction | None = None
            for decoded in self._frames_of(container, stream):
                time = decoded.pts * base if decoded.pts is not None else time or Fraction(0)
                if end is not None and time > end:
                    break
                for frame in resampler.resample(decoded):
                    channels = len(frame.planes)
                    values = torch.stack(
                        [torch.frombuffer(plane, dtype=torch.float32)[: frame.samples] for plane in frame.planes]
                    )
                    first = max(math.ceil((start - time) * rate), 0)
                    last = frame.samples if end is None else min(math.floor((end - time) * rate) + 1, frame.samples)
                    if first < last:
                        parts.append(values[:, first:last])
                    time += Fraction(frame.samples, rate)
        return torch.cat(parts, dim=1) if parts else torch.empty(channels, 0)

    def _seek(self, container: "av.container.InputContainer", stream: Any, time: Fraction) -> bool:
        """Goes to the key frame before a time. Says whether it could."""
        try:
            container.seek(math.floor(time / Fraction(stream.time_base or 1)), stream=stream, backward=True)
        except (av.FFmpegError, OverflowError):
            return False
        return True

    def _packets(self, container: "av.container.InputContainer", stream: Any) -> Iterator[av.Packet]:
        """The packets of a stream; damaged ones are left out."""
        failures = 0
        packets = container.demux(stream)
        while failures < _MAX_FAILURES:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                failures += 1
                self._note("parts of it cannot be read")
                packets = container.demux(stream)
            else:
                failures = 0
                if packet.is_corrupt:
                    self._note("parts of it are incomplete")
                yield packet

    def _frames_of(self, container: "av.container.InputContainer", stream: Any) -> Iterator[Any]:
        """What the packets of a stream decode to; what cannot be decoded is left out."""
        is_flushed = False
        for packet in self._packets(container, stream):
            is_flushed = packet.size == 0
            yield from self._decode(stream, packet)
        if not is_flushed:
            yield from self._decode(stream, None)

    def _decode(self, stream: Any, packet: av.Packet | None) -> list[Any]:
        try:
            return list(stream.codec_context.decode(packet))
        except EOFError:
            return []
        except av.FFmpegError:
            self._note("parts of it cannot be decoded")
            return []

    def pixels(self, frame: av.VideoFrame) -> Tensor:
        """uint8 Tensor[H, W, 3], upright; all of one size."""
        if self._size is None:
            self._size = frame.width, frame.height
        width, height = self._size  # a stream may change its size on the way
        plane = frame.reformat(width=width, height=height, format="rgb24").planes[0]
        rows = torch.frombuffer(plane, dtype=torch.uint8).view(height, plane.line_size)
        stored = rows[:, : 3 * width].reshape(height, width, 3)
        pixels = upright(stored.permute(2, 0, 1), frame).permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
        self.shape = (pixels.shape[0], pixels.shape[1], 3)
        return pixels


def _is_cut_off(stream: Any, file_format: str, name: str) -> bool:
    """Whether the size of a file shows that its end is missing."""
    if not os.path.exists(name):
        return False
    size = os.path.getsize(name)
    if file_format == "mpegts":
        return all(size % packet for packet in (188, 192, 204))
    entries: Any = getattr(stream, "index_entries", ())  # PyAV tells from version 17 on
    return "mp4" in file_format and len(entries) > 0 and entries[-1].pos + entries[-1].size > size


def _timestamp(packet: av.Packet) -> int | None:
    return packet.dts if packet.pts is None else packet.pts


def _seconds(text: str) -> Fraction | None:
    """The seconds that ``"00:01:02.345"`` means; ``None`` for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None
