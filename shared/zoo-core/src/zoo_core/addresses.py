"""Which words mean a camera or a stream instead of a file."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from zoo_core.declarations import VIDEO_SUFFIXES

__all__ = ["is_stream", "stem_of"]

_CAMERA = re.compile(r"\d{1,2}|/dev/video\d+")
_SCHEMES = ("rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
# Endings of streams by HTTP, beside those of videos.
_WEB_SUFFIXES = (".cgi", ".m3u8", ".mjpeg", ".mjpg", ".mpd")


def is_stream(word: str) -> bool:
    """Whether a word means a camera, by its number or its device, or an address of a video.

    An address of the web is one if it ends as videos and playlists do, or in no ending. A file of the very name goes
    before a camera's number.
    """
    if _CAMERA.fullmatch(word):
        return word.startswith("/") or not Path(word).exists()
    if "://" not in word:
        return False
    parts = urlsplit(word)
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        suffix = Path(parts.path).suffix.lower()
        return not suffix or suffix in VIDEO_SUFFIXES or suffix in _WEB_SUFFIXES
    return scheme in _SCHEMES


def stem_of(word: str) -> str:
    """The beginning of the name of a file that is written for a camera or a stream: ``"camera0"``, ``"live"``."""
    if _CAMERA.fullmatch(word):
        return f"camera{word.removeprefix('/dev/video')}"
    parts = urlsplit(word)
    name = Path(parts.path).stem or parts.hostname or "stream"
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "stream"
