"""Frames of a video for those who take them slower than they are decoded, or who want only some of them."""

import contextlib
import math
import queue
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from PIL import Image

from zoo_core.videos.files import VideoFile
from zoo_core.videos.pyav import timestamp
from zoo_core.videos.streams import VideoStream

if TYPE_CHECKING:
    import av

__all__ = ["Playback", "Sampling", "Shown"]

# Of a video with sound that goes on long after the last frame, so many bytes at most are kept.
_MOST_SOUND = 64 * 2**20


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at.

    Args:
        every: one of so many, beginning with the first.
        rate: so many in a second at the most: of each part of a second the first frame. ``None`` for all.
    """

    every: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, not {self.every}")
        if self.rate is not None and not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"the rate must be above 0, not {self.rate}")
        if self.rate is not None and self.every != 1:
            raise ValueError("frames are chosen by their number or by their rate, and not by both")

    def count(self, frames: int, rate: Fraction | None) -> int:
        """How many of so many frames are looked at, as far as the rate of the video tells."""
        if self.rate is not None and rate:
            return min(frames, math.ceil(frames / rate * Fraction(self.rate)))
        return -(-frames // self.every)

    def effective_rate(self, rate: Fraction | None) -> Fraction | None:
        """Frames per second that are looked at, of a video with that rate."""
        if rate is None:
            return None if self.rate is None else Fraction(self.rate).limit_denominator(1000)
        if self.rate is not None:
            return min(rate, Fraction(self.rate).limit_denominator(1000))
        return rate / self.every

    def chooser(self) -> Callable[[int, Fraction], bool]:
        """A function that takes number and time of each frame in turn, and tells whether it is looked at."""
        if self.rate is None:
            return lambda index, time: index % self.every == 0
        rate = Fraction(self.rate)
        due = Fraction(0)

        def is_due(index: int, time: Fraction) -> bool:
            nonlocal due
            # Times are rounded to milliseconds in some formats.
            ticks = (time + Fraction(1, 1000)) * rate
            if index and ticks < due:
                return False
            due = Fraction(math.floor(ticks) + 1)
            return True

        return is_due


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame of a video that is being played.

    Args:
        index: its number among all frames of the video, from 0 on.
        time: when it is shown, in seconds after the beginning.
        image: in RGB, upright.
        playback: what it is from.
    """

    index: int
    time: Fraction
    image: Image.Image
    playback: "Playback"


class Playback:
    """Decodes a video in a thread, ahead of the one who iterates over it; a fixed number of frames is in memory.

    A live stream does not wait: of frames that come while the caller is busy, the oldest are left out.

    With ``sound``, the file stays open until the last frame of it is forgotten, so that its streams of sound can be
    copied; else it is closed with the playback.

    Args:
        video: what is played; it is closed with the playback.
        sampling: which frames.
        depth: how many frames are decoded ahead.
        sound: whether :meth:`take_sound` is wanted.
    """

    def __init__(
        self, video: VideoFile, sampling: Sampling | None = None, *, depth: int = 4, sound: bool = False
    ) -> None:
        self.video = video
        self.sampling = sampling or Sampling()
        self.is_live = isinstance(video, VideoStream) and video.is_live
        self.is_finished = False
        """Whether the last frame was taken, because no more come."""
        self._sound: deque[av.Packet] | None = deque() if sound and video.sounds else None
        self._sound_bytes = 0
        self._lock = threading.Lock()
        self._ready: queue.Queue[Shown | Exception | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        if self._sound is not None:
            video.listen(self._hear)
        self._thread = threading.Thread(target=self._read, name="playback", daemon=True)

    @property
    def has_sound(self) -> bool:
        """Whether there is sound, and was asked for."""
        return self._sound is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def stop(self) -> None:
        """Ends the playback as if the video ended now. May be called from a signal handler."""
        self._wanted.set()

    def close(self) -> None:
        """Ends the thread, and closes the file unless someone still copies its sound."""
        self._stopped.set()
        with contextlib.suppress(queue.Empty):  # one who waits for room sees that there is no use
            while True:
                self._ready.get_nowait()
        if self._thread.ident is not None:
            # What waits for a server cannot be woken; it ends by itself, or with the program.
            self._thread.join(timeout=1.0 if self.is_live else None)
        if self._sound is None and not self._thread.is_alive():
            self.video.close()

    def __iter__(self) -> Iterator[Shown]:
        self._thread.start()
        while not self._wanted.is_set():
            try:
                item = self._ready.get(timeout=0.1)
            except queue.Empty:
                if self._stopped.is_set():
                    return
                continue
            if item is None:
                break
            if isinstance(item, Exception):
                raise item
            yield item
        self.is_finished = True
        self.video.warn()

    def _read(self) -> None:
        end: Exception | None = None
        try:
            is_chosen = self.sampling.chooser()
            for index, (time, frame) in enumerate(self.video.frames()):
                if self._stopped.is_set():
                    return
                since = time - self.video.origin
                if is_chosen(index, since):
                    self._put(Shown(index, since, self.video.image(frame), self))
        except Exception as error:
            end = error
        self._put(end)

    def _put(self, item: "Shown | Exception | None") -> None:
        waits = not self.is_live or not isinstance(item, Shown)
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1 if waits else 0)
                return
            except queue.Full:
                if not waits:
                    with contextlib.suppress(queue.Empty):
                        self._ready.get_nowait()

    # Sound -------------------------------------------------------------------------------------------------------

    def _hear(self, packet: "av.Packet") -> None:
        assert self._sound is not None
        with self._lock:
            self._sound.append(packet)
            self._sound_bytes += packet.size
            if self._sound_bytes <= _MOST_SOUND:
                return
            while self._sound_bytes > _MOST_SOUND:
                self._sound_bytes -= self._sound.popleft().size
        warnings.warn(f"{self.video.name}: its sound goes on without frames, and some of it is left out", stacklevel=2)

    def take_sound(self, until: Fraction | None = None) -> "list[av.Packet]":
        """Packets of sound that were read and not yet taken, in the order of the file.

        Args:
            until: those that begin up to that time, in seconds after the beginning; ``None`` for all.
        """
        taken: list[av.Packet] = []
        with self._lock:
            while self._sound:
                packet = self._sound[0]
                time = timestamp(packet)
                begin = None if time is None or packet.time_base is None else time * packet.time_base
                if until is not None and begin is not None and begin - self.video.origin > until:
                    break
                self._sound_bytes -= packet.size
                taken.append(self._sound.popleft())
        return taken
