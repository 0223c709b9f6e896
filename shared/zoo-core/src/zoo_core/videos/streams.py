"""Videos that come from elsewhere than a file: cameras, and addresses of streams.

FFmpeg gets to use only the protocols that go with the address that the user gave, so that no playlist that a server
sends has it open files of this machine; and it waits for a server for a limited time.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zoo_core.extras import require
from zoo_core.text import redacted
from zoo_core.videos.files import TimedFrame, VideoFile, VideoReadError

if TYPE_CHECKING:
    import av
else:
    av = require("av", extra="video", purpose="to read videos")

__all__ = ["VideoStream"]

_WEB = "http,https,httpproxy,tls,tcp,crypto"
# What FFmpeg may use for an address, by its scheme.
_PROTOCOLS = {
    "http": _WEB,
    "https": _WEB,
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tls,tcp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtp": "rtp,srtp,udp",
    "srt": "srt,udp",
    "tcp": "tcp",
    "udp": "udp",
}
_OPTIONS = {"rtsp": {"rtsp_flags": "prefer_tcp"}, "rtsps": {"rtsp_flags": "prefer_tcp"}}
# Streams of images that carry no times.
_UNTIMED = ("image2pipe", "jpeg_pipe", "mjpeg", "mpjpeg", "png_pipe", "webp_pipe")
_CLOCK = Fraction(1, 90_000)
# Of so many seconds of a stream FFmpeg finds out what is in it.
_LISTENING = 2
# Seconds to wait for an answer, and for the next piece of a stream.
_TIMEOUTS = (15.0, 30.0)

_REASONS: dict[type[Exception], str] = {
    av.error.HTTPBadRequestError: "the server takes the request for a bad one (400)",
    av.error.HTTPUnauthorizedError: "the server wants a name and a password (401)",
    av.error.HTTPForbiddenError: "the server does not allow it (403)",
    av.error.HTTPNotFoundError: "the server has nothing under this address (404)",
    av.error.HTTPServerError: "the server failed (5xx)",
    av.error.ProtocolNotFoundError: "this build of FFmpeg does not know the protocol, or it is none to use here",
    av.error.ExitError: "nothing came for too long",
    av.error.InvalidDataError: "what comes is no video that FFmpeg can read",
}


class VideoStream(VideoFile):
    """A camera, or what a server sends; see :class:`~zoo_core.videos.files.VideoFile`.

    Its times count from its first frame.

    Args:
        address: ``"rtsp://..."``, ``"https://..."``, or a camera: its number or its device, ``"/dev/video0"``.
        frame_threads: decode several frames at a time.

    Raises:
        VideoReadError: it cannot be reached, or sends no video.

    Attributes:
        is_live: whether it goes on without waiting for those who look at it, as cameras do and files on a server
            do not.
    """

    def __init__(self, address: str, *, frame_threads: bool = False) -> None:
        self._address = address
        super().__init__(redacted(address), frame_threads=frame_threads)
        container = self._opened()
        self.is_live = not container.duration
        self._is_untimed = self.is_live and container.format.name in _UNTIMED
        if self._is_untimed:
            self.time_base = _CLOCK

    def _connect(self) -> "av.container.InputContainer":
        scheme = urlsplit(self._address).scheme.lower() if "://" in self._address else ""
        if scheme and scheme not in _PROTOCOLS:
            raise VideoReadError(f"{self.name}: streams come by {', '.join(_PROTOCOLS)}, and not by {scheme}")
        options = {"protocol_whitelist": _PROTOCOLS.get(scheme, "file"), **_OPTIONS.get(scheme, {})}
        options["analyzeduration"] = str(_LISTENING * 10**6)
        arguments: dict[str, Any] = {"file": self._address, "options": options}
        if not scheme:
            arguments = _camera(self._address)
        try:
            return av.open(metadata_errors="ignore", timeout=_TIMEOUTS, **arguments)
        except (av.FFmpegError, OSError, ValueError) as error:
            what = "cannot be opened" if scheme else "no camera that can be opened"
            raise VideoReadError(f"{self.name}: {what}: {_reason(error)}") from error

    def _note_failure(self, error: Exception) -> None:
        """Ends a stream that broke off, unlike one of which a part is damaged."""
        if not isinstance(error, av.error.InvalidDataError):
            raise VideoReadError(f"{self.name}: broke off: {_reason(error)}") from error
        super()._note_failure(error)

    def _decoded(self, stream: Any) -> Iterator[TimedFrame]:
        begin: Fraction | None = None
        clock = time.monotonic()
        for moment, frame in super()._decoded(stream):
            if self._is_untimed:
                moment = Fraction(round((time.monotonic() - clock) / _CLOCK)) * _CLOCK
            if begin is None:
                begin = moment
                if self.is_live:
                    self.origin = begin
            yield moment, frame


def _camera(name: str) -> dict[str, Any]:
    """How a camera is opened: the first by the number 0."""
    number = name if re.fullmatch(r"\d+", name) else None
    if sys.platform == "darwin":
        return {"file": name, "format": "avfoundation", "options": {"framerate": "30"}}
    if sys.platform == "win32":
        return {"file": number or name, "format": "vfwcap" if number else "dshow"}
    return {"file": f"/dev/video{number}" if number else os.fspath(name), "format": "v4l2"}


def _reason(error: Exception) -> str:
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error)
