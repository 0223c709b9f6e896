"""Video files: their frames one after the other, upright, with exact times, however long the file is.

Of several video streams, the first that FFmpeg can decode is read, leaving out cover images: that is what players show,
and a stream that cannot be decoded is no reason to refuse a file that holds another. A file is read through one
decoder, which is closed with the file.
"""

import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import torch
from PIL import Image
from torch import Tensor

from zoo_core.extras import require
from zoo_core.images.conversion import tensor_bytes
from zoo_core.images.files import PIXELS_VARIABLE, max_pixels
from zoo_core.videos.pyav import is_cover, is_cut_off, name_for_ffmpeg, seconds_of, timestamp, upright

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter
else:
    av = require("av", extra="video", purpose="to read videos")
    VideoReformatter = require("av.video.reformatter", extra="video", purpose="to read videos").VideoReformatter

__all__ = ["TimedFrame", "VideoFile", "VideoReadError", "count_frames", "frames"]

TimedFrame: TypeAlias = "tuple[Fraction, av.VideoFrame]"
"""A frame with the time at which it is shown first, in seconds."""

_PLAYLISTS = ("concat", "dash", "hls")
# A demuxer that fails so often in a row has nothing more to give.
_MAX_FAILURES = 64


class VideoReadError(ValueError):
    """A video could not be read; the message names the file and the reason in one line."""


def frames(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Decodes a video from its beginning to its end, one frame at a time.

    Args:
        path: The file.

    Yields:
        RGB images, turned upright as players show them. Only one is in memory at a time.

    Raises:
        OSError: The file is not there or cannot be opened.
        VideoReadError: It is no video, or nothing of it can be decoded.

    Warns:
        UserWarning: Parts of the file are damaged or missing. The frames that cannot be decoded are left out.
    """
    with Path(path).open("rb"):  # for the usual errors, before a library gives its own
        pass
    with VideoFile(path, frame_threads=True) as video:
        for _, frame in video.frames():
            yield video.image(frame)
        video.warn()


def count_frames(path: str | os.PathLike[str]) -> int:
    """How many frames a video has, as far as its header tells; 0 where it does not, or cannot be read."""
    try:
        with VideoFile(path) as video:
            return video.stated_count
    except (av.FFmpegError, OSError, ValueError):
        return 0


class VideoFile:
    """A video file that is open: its stream of frames, its first stream of sound, and what is wrong with it.

    Close it, or use it in a ``with`` statement. Only one pass over the file goes on at a time: :meth:`frames`,
    :meth:`times`, :meth:`extent` and :meth:`samples` each begin a new one and end the one before.

    Args:
        path: The file.
        frame_threads: Decode several frames at a time. That is faster for long stretches, and takes more memory.

    Raises:
        VideoReadError: The file is missing, damaged beyond reading, too large (see :mod:`zoo_core.images`), or has no
            video.

    Attributes:
        name: The path.
        time_base: The unit of the times that the file states, in seconds.
        rate: The average number of frames per second, if the file tells.
        step: The time from a frame to the next, as far as the rate tells it.
        start: The time at which the video begins.
        origin: The time at which players begin: of the video or of the sound, whichever comes first; never below 0.
        stated_count: How many frames there are, as far as the header tells; 0 where it does not.
        shape: Height and width of the frames as they are shown, and 3.
        pixel_ratio: Width of a pixel as it is shown, divided by its height, before the frame is turned upright.
        metadata: What the file says of itself: its title, ...
        audio_rate: Samples of sound per second; ``None`` without sound.
        landed: Time of the first frame that was decoded in the current pass of :meth:`frames`.
    """

    def __init__(self, path: str | os.PathLike[str], *, frame_threads: bool = False) -> None:
        self.name = os.fspath(path)
        self._frame_threads = frame_threads
        self._max_pixels = max_pixels()
        self._problems: list[str] = []
        self._size: tuple[int, int] | None = None
        self._video_index = -1
        self._pass = 0
        self._listener: Callable[[av.Packet], None] | None = None
        self._container: av.container.InputContainer | None = None
        self._is_at_start = False
        self._reformatter = VideoReformatter()
        self._open()
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        container = self._opened()
        streams = (stream for stream in container.streams.video if not is_cover(stream))
        stream: Any = next((stream for stream in streams if stream.codec_context is not None), None)
        if stream is None:
            raise VideoReadError(f"{self.name}: has no video stream that FFmpeg can decode")
        audio = self.sounds
        rate = stream.average_rate or stream.guessed_rate
        self._format = container.format.name
        self._video_index = stream.index
        self._audio_index = audio[0].index if audio else None
        if is_cut_off(stream, self._format, self.name):
            self._note("its end is missing")
        self._tagged_duration = seconds_of(stream.metadata.get("DURATION", ""))
        self.audio_rate: int | None = audio[0].rate if audio else None
        self.time_base = Fraction(stream.time_base or 1)
        self.rate = Fraction(rate) if rate else None
        self.step = 1 / self.rate if self.rate else Fraction(1, 25)
        self.start = (stream.start_time or 0) * self.time_base
        self.landed = self.start
        first = Fraction(container.start_time or 0, av.time_base)  # rounded, unlike the times of a stream
        self.origin = max(self.start if abs(first - self.start) < Fraction(1, 10**5) else first, Fraction(0))
        self.metadata = dict(container.metadata)
        self.pixel_ratio = Fraction(stream.sample_aspect_ratio or 1)
        self.shape = (stream.codec_context.height, stream.codec_context.width, 3)
        duration = None
        if stream.duration:
            duration = stream.duration * self.time_base
        elif container.duration:
            duration = Fraction(container.duration, av.time_base)
        self._stated_end = None if duration is None else self.start + duration
        self._frame_count: int = stream.frames
        self.stated_count = self._frame_count or (round(duration * self.rate) if duration and self.rate else 0)
        if self._is_too_large(self.shape[1], self.shape[0]):
            raise VideoReadError(
                f"{self.name}: too large: frames of {self.shape[1]} x {self.shape[0]} pixels, where at most "
                f"{self._max_pixels:,} pixels are decoded (if you trust the file, set {PIXELS_VARIABLE} to more)"
            )
        self._configure(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and its decoder."""
        self._pass += 1
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _open(self) -> None:
        self._container = self._connect()
        self._is_at_start = True

    def _connect(self) -> "av.container.InputContainer":
        """Opens what the name means.

        Raises:
            VideoReadError: it cannot be opened.
        """
        if os.path.isdir(self.name):  # Windows reports a directory as a lack of permission
            raise VideoReadError(f"{self.name}: is a directory, not a video")
        # A file on this machine may be a playlist in truth, which would have FFmpeg open whatever it names.
        options = {"protocol_whitelist": "file"} if os.path.exists(self.name) else {}
        try:
            container = av.open(name_for_ffmpeg(self.name), metadata_errors="ignore", options=options)
        except (FileNotFoundError, av.error.ProtocolNotFoundError) as error:
            raise VideoReadError(f"{self.name}: no such file") from error
        except PermissionError as error:
            raise VideoReadError(f"{self.name}: no permission to read it") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoReadError(
                f"{self.name}: cannot be decoded: not a video, damaged, or of a format that FFmpeg cannot read"
            ) from error
        if container.format.name in _PLAYLISTS and options:
            container.close()
            raise VideoReadError(f"{self.name}: a list of other files, not a video")
        return container

    @property
    def sounds(self) -> "list[av.AudioStream]":
        """The streams of sound that FFmpeg can decode."""
        return [stream for stream in self._opened().streams.audio if stream.codec_context is not None]

    def listen(self, listener: "Callable[[av.Packet], None]") -> None:
        """Has the packets of all streams of sound passed on, in passes over the frames that begin later.

        Args:
            listener: called with each packet, undecoded, as it is met.
        """
        self._listener = listener

    def _opened(self) -> "av.container.InputContainer":
        if self._container is None:
            raise ValueError(f"{self.name}: the file was closed")
        return self._container

    def _configure(self, stream: Any) -> None:
        """What the decoder is told before it decodes."""
        if self._frame_threads:
            stream.thread_type = "AUTO"
        if self._max_pixels is not None:  # frames may be larger than the header says; decoders count a border as well
            stream.codec_context.options = {"max_pixels": str(self._max_pixels + 2**23)}

    def _is_too_large(self, width: int, height: int) -> bool:
        return self._max_pixels is not None and width * height > self._max_pixels

    # What a file says of itself ----------------------------------------------------------------------------------

    def exact(self, time: float | Fraction, unit: str) -> Fraction:
        """A time in seconds, as a multiple of the time base: rounding errors of a float are tolerated.

        Args:
            time: The time.
            unit: Its unit, ``"sec"`` for seconds or ``"pts"`` for the time base.
        """
        ticks = Fraction(time) / self.time_base if unit == "sec" else Fraction(time)
        return math.floor(ticks + Fraction(1, 1000)) * self.time_base

    def warn(self, stacklevel: int = 3) -> None:
        """Says what was wrong with the file in all that was read of it, in a ``UserWarning``."""
        if self._problems:
            warnings.warn(f"{self.name}: damaged: {', '.join(self._problems)}", UserWarning, stacklevel=stacklevel)

    def _note(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)

    def _note_failure(self, error: Exception) -> None:
        """Takes note of what kept a packet from being read."""
        self._note("parts of it cannot be read")

    def check_end(self, last: Fraction, count: int | None = None) -> None:
        """Takes note if the file promises more frames than there were.

        Args:
            last: Time of the last frame.
            count: Number of frames, if all were counted.
        """
        # MP4 counts frames that it then leaves out; but what is missing at its end cannot be read without an error.
        if count is not None and count < self._frame_count and "mp4" not in self._format:
            self._note(f"only {count} of its {self._frame_count} frames can be decoded")
        elif self._tagged_duration is not None:
            missing = self.start + self._tagged_duration - last - self.step
            if missing > max(self.step, Fraction(1, 2)):
                self._note(f"its last {float(missing):.1f} seconds are missing")

    # Passes over the file ----------------------------------------------------------------------------------------

    def times(self) -> list[int]:
        """Times of the frames in units of the time base, ascending. Nothing is decoded."""
        packets = [packet for packet in self._packets(self._rewind(self._video_index)) if packet.size > 0]
        times = sorted(time for time in map(timestamp, packets) if time is not None)
        # A stream without a container has no times; its frames follow each other at its rate.
        return times or [round((self.start + i * self.step) / self.time_base) for i in range(len(packets))]

    def extent(self) -> tuple[Fraction, Fraction]:
        """Times of the first and of the last frame that the file has, in seconds."""
        times: list[int] = []
        if self._stated_end is not None:
            stream = self._seek(self._video_index, self._stated_end)
            if stream is not None:
                stamps = (timestamp(packet) for packet in self._packets(stream))
                times = [time for time in stamps if time is not None]
        if not times:
            times = self.times()
        if not times:
            return self.start, self.start
        last = max(max(times) * self.time_base, self.start)
        self.check_end(last)
        return self.start, last

    def frames(self, start: Fraction | None = None) -> Generator[TimedFrame]:
        """Frames with their times, from the last that does not come after ``start``, or from the first.

        Args:
            start: A time in seconds. Default: the beginning.
        """
        # A seek may end up too late, where the index of the file or its key frames are not what they should be.
        for back in (0, 5, 60, None):
            if start is None or back is None:
                stream = self._rewind(self._video_index)
            elif start - back <= self.start:
                continue
            else:
                sought = self._seek(self._video_index, start - back)
                if sought is None:
                    continue
                stream = sought
            decoded = self._decoded(stream)
            shown = next(decoded, None)
            if start is not None and back is not None and (shown is None or shown[0] > start):
                continue
            if shown is None:
                return
            self.landed = shown[0]
            for item in decoded:
                if start is None or item[0] > start:
                    yield shown
                shown = item
            yield shown
            return

    def _decoded(self, stream: Any) -> Iterator[TimedFrame]:
        previous: Fraction | None = None
        for frame in self._frames_of(stream):
            if self._is_too_large(frame.width, frame.height):
                self._note("some frames are larger than the header says, and too large")
                continue
            time = None if frame.pts is None else frame.pts * self.time_base
            if time is None or (previous is not None and time <= previous):
                time = self.start if previous is None else previous + self.step
            if frame.is_corrupt:
                self._note("some frames are incomplete")
            previous = time
            yield time, frame

    def samples(self, start: Fraction, end: Fraction | None) -> Tensor:
        """The sound of some time: float32 Tensor[channels, samples], in [-1, 1] unless it was recorded too loud.

        Args:
            start: Time of the first sample, in seconds.
            end: Time of the last sample; ``None`` for the end of the file.
        """
        rate = self.audio_rate or 1
        resampler = av.AudioResampler(format="fltp")
        parts: list[Tensor] = []
        channels = 1
        index = self._audio_index or 0
        # Decoders need some of what comes before.
        stream = self._seek(index, start - 1) or self._rewind(index)
        base = Fraction(stream.time_base or Fraction(1, rate))
        time: Fraction | None = None
        for decoded in self._frames_of(stream):
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

    def _rewind(self, index: int) -> Any:
        """Begins a pass at the beginning of the file. Returns the stream.

        A file that was read from already is opened anew: not all formats can be wound back.
        """
        self._pass += 1
        if not self._is_at_start:
            self._opened().close()
            self._open()
            self._configure(self._opened().streams[self._video_index])
        return self._opened().streams[index]

    def _seek(self, index: int, time: Fraction) -> Any:
        """Begins a pass at the key frame before a time. Returns the stream; ``None`` where that is not possible."""
        self._pass += 1
        container = self._opened()
        stream: Any = container.streams[index]
        self._is_at_start = False
        try:
            container.seek(math.floor(time / Fraction(stream.time_base or 1)), stream=stream, backward=True)
        except (av.FFmpegError, OverflowError):
            return None
        return stream

    def sound_packets(self) -> "Iterator[av.Packet]":
        """The packets of all streams of sound, undecoded, from the beginning; damaged ones are left out."""
        stream = self._rewind(self._video_index)
        if hasattr(av.stream, "Discard"):  # only faster
            stream.discard = av.stream.Discard.all
        audio = self.sounds
        if audio:
            yield from (packet for packet in self._packets(*audio) if packet.size)

    def _packets(self, stream: Any, *others: Any) -> "Iterator[av.Packet]":
        """The packets of streams; damaged ones are left out."""
        container, current = self._opened(), self._pass
        self._is_at_start = False
        failures = 0
        heard = self.sounds if self._listener is not None and stream.type == "video" else []
        packets = container.demux(stream, *others, *heard)
        while failures < _MAX_FAILURES and self._pass == current:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                failures += 1
                self._note_failure(error)
                packets = container.demux(stream, *others, *heard)
            else:
                failures = 0
                if heard and packet.stream.index != stream.index:
                    if self._listener is not None and packet.size:
                        self._listener(packet)
                    continue
                if packet.is_corrupt:
                    self._note("parts of it are incomplete")
                yield packet

    def _frames_of(self, stream: Any) -> Iterator[Any]:
        """What the packets of a stream decode to; what cannot be decoded is left out."""
        is_flushed = False
        for packet in self._packets(stream):
            is_flushed = packet.size == 0
            yield from self._decode(stream, packet)
        if not is_flushed:
            yield from self._decode(stream, None)

    def _decode(self, stream: Any, packet: "av.Packet | None") -> list[Any]:
        try:
            return list(stream.codec_context.decode(packet))
        except EOFError:
            return []
        except av.FFmpegError:
            self._note("parts of it cannot be decoded")
            return []

    def pixels(self, frame: "av.VideoFrame") -> Tensor:
        """The pixels of a frame: uint8 RGB Tensor[H, W, 3] in 0..255, upright; all frames of a file in one size."""
        if self._size is None:
            self._size = frame.width, frame.height
        pixels = self._rgb(frame, *self._size)  # a stream may change its size on the way
        self.shape = (pixels.shape[0], pixels.shape[1], 3)
        return pixels

    def image(self, frame: "av.VideoFrame") -> Image.Image:
        """A frame as RGB image, upright and in its own size."""
        pixels = self._rgb(frame, frame.width, frame.height)
        return Image.frombytes("RGB", (pixels.shape[1], pixels.shape[0]), tensor_bytes(pixels))

    def _rgb(self, frame: "av.VideoFrame", width: int, height: int) -> Tensor:
        """A copy of its pixels, uint8 Tensor[H, W, 3], upright."""
        # A frame's own reformat() makes a converter for each frame, with threads that stay for a while.
        plane = self._reformatter.reformat(frame, width=width, height=height, format="rgb24").planes[0]
        rows = torch.frombuffer(plane, dtype=torch.uint8).view(height, abs(plane.line_size))
        stored = rows[:, : 3 * width].reshape(height, width, 3)
        if plane.line_size < 0:  # from the bottom to the top
            stored = stored.flip(0)
        return upright(stored.permute(2, 0, 1), frame).permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
