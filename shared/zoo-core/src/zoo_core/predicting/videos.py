"""The frames of videos, cameras and streams as inputs of a task."""

import contextlib
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from PIL import Image

from zoo_core.extras import require
from zoo_core.sampling import Sampling

if TYPE_CHECKING:
    from zoo_core.videos import Playback, VideoFile

__all__ = ["Moment", "count_frames", "frames_of", "open_video", "until_interrupted"]

_live: "WeakSet[Playback]" = WeakSet()


@dataclass(frozen=True, eq=False)
class Moment:
    """Where in a video an input is from; its first frame, if it has several.

    Args:
        index: the frame's number among all of the video, from 0 on.
        time: when it is shown, in seconds after the beginning.
        size: width and height of the frame, upright.
        playback: what it is from.
        address: of the stream, or the camera; ``None`` for a file.
    """

    index: int
    time: Fraction
    size: tuple[int, int]
    playback: "Playback" = field(repr=False)
    address: str | None = None


def open_video(path: Path, address: str | None, package: str = "zoo-core") -> "VideoFile":
    """Opens a file, a camera or a stream.

    Args:
        path: of the file.
        address: of the stream, or the camera; ``None`` for a file.
        package: the distribution whose extra ``video`` the user is told to install.

    Raises:
        zoo_core.extras.MissingExtraError: PyAV is not installed.
        OSError, ValueError: it cannot be opened.
    """
    require("av", extra="video", purpose="to read videos", distribution=package)
    from zoo_core.videos import VideoFile, VideoStream

    if address is None:
        with path.open("rb"):  # for the usual errors, before a library gives its own
            pass
        return VideoFile(path, frame_threads=True)
    return _apart(lambda: VideoStream(address))


def _apart(function: Any) -> Any:
    """Calls a function that may take its time in a thread, so that Ctrl-C need not wait for it."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append((function(), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, name="opening", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def frames_of(
    path: Path, address: str | None, sampling: Sampling, package: str = "zoo-core"
) -> Generator[tuple[Moment, Image.Image], None, None]:
    """The frames that are looked at, decoded ahead of the caller.

    Raises:
        zoo_core.extras.MissingExtraError, OSError, ValueError: see :func:`open_video`.
    """
    video = open_video(path, address, package)
    from zoo_core.videos import Playback

    with Playback(video, sampling) as playback:
        if playback.is_live:
            _live.add(playback)
        try:
            for shown in playback:
                yield Moment(shown.index, shown.time, shown.image.size, playback, address), shown.image
        finally:
            _live.discard(playback)


def count_frames(path: Path, sampling: Sampling, package: str = "zoo-core") -> int:
    """How many frames of a file are going to be looked at, as far as its header tells; 0 where it does not.

    Raises:
        zoo_core.extras.MissingExtraError: PyAV is not installed.
    """
    try:
        with open_video(path, None, package) as video:
            return sampling.count(video.stated_count, video.rate)
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Within it, Ctrl-C ends a camera or a stream that is being read as if it ended by itself; what was written of it
    is finished. Where none is read, and when it is pressed again, it interrupts as always.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        live = list(_live)
        _live.clear()
        for playback in live:
            playback.stop()
        if not live:
            signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
