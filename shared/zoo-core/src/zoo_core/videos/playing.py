"""Frames of a video for those who take them slower than they are decoded, or who want only some of them."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from PIL import Image

from zoo_core.sampling import Sampling
from zoo_core.videos.files import VideoFile
from zoo_core.videos.pyav import timestamp
from zoo_core.videos.streams import VideoStream

if TYPE_CHECKING:
    import av

__all__ = ["FileSound", "Playback", "Shown"]

# Of a live stream's sound, so many bytes at most wait for the one who takes it.
_MOST_SOUND = 8 * 2**20


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

    A live stream does not wait: of frames that come while the caller is busy, the oldest are left out. Its sound is at
    hand in :meth:`take_sound`; that of a file can be had from :class:`FileSound`. A live stream with sound stays open
    until the last of its frames is forgotten.

    Args:
        video: what is played; it is closed with the playback.
        sampling: which frames.
        depth: how many frames are decoded ahead.
    """

    def __init__(self, video: VideoFile, sampling: Sampling | None = None, *, depth: int = 4) -> None:
        self.video = video
        self.sampling = sampling or Sampling()
        self.is_live = isinstance(video, VideoStream) and video.is_live
        self.is_finished = False
        """Whether the last frame was taken, because no more come."""
        self._sound: deque[av.Packet] | None = deque() if self.is_live and video.sounds else None
        self._sound_bytes = 0
        self._has_begun = False
        self._lock = threading.Lock()
        self._ready: queue.Queue[Shown | Exception | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        if self._sound is not None:
            video.listen(self._hear)
        self._thread = threading.Thread(target=self._read, name="playback", daemon=True)

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
            self._has_begun = True
            yield item
        self.is_finished = True
        if not self.is_live:  # which loses parts now and then
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
        while not self._stopped.is_set():
            # The first frame of a live stream is never left out: its time is the beginning.
            waits = not (self.is_live and self._has_begun and isinstance(item, Shown))
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
            while self._sound_bytes > _MOST_SOUND:
                self._sound_bytes -= self._sound.popleft().size

    def take_sound(self, until: Fraction | None = None) -> "Iterator[av.Packet]":
        """Packets of a live stream's sound that were read and not yet taken, in their order.

        Args:
            until: those that begin up to that time, in seconds after the beginning; ``None`` for all.
        """
        while True:
            with self._lock:
                if not self._sound or (until is not None and _begin(self._sound[0], self.video) > until):
                    return
                packet = self._sound.popleft()
                self._sound_bytes -= packet.size
            yield packet


class FileSound:
    """The sound of a video file, read beside its frames: memory stays the same, however they are interleaved.

    Args:
        video: opened for this; it is closed with the sound.
    """

    def __init__(self, video: VideoFile) -> None:
        self.video = video
        self._packets = video.sound_packets()
        self._next: av.Packet | None = None

    def take_sound(self, until: Fraction | None = None) -> "Iterator[av.Packet]":
        """The next packets; see :meth:`Playback.take_sound`."""
        while True:
            packet = self._next or next(self._packets, None)
            self._next = packet
            if packet is None or (until is not None and _begin(packet, self.video) > until):
                return
            self._next = None
            yield packet

    def close(self) -> None:
        """Closes the file."""
        self.video.close()


def _begin(packet: "av.Packet", video: VideoFile) -> Fraction:
    """When the sound of a packet begins, in seconds after the beginning of the video."""
    time = timestamp(packet)
    return Fraction(0) if time is None or packet.time_base is None else time * packet.time_base - video.origin
