"""Which words mean something else than a file: a camera, a stream, an image of the web, standard input."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo_core.declarations import VIDEO_SUFFIXES

__all__ = ["STANDARD_INPUT", "is_stream", "is_web", "stem_of", "suffix_of"]

STANDARD_INPUT = "-"
"""The word for what is piped in."""

_CAMERA = re.compile(r"\d{1,2}|/dev/video\d+")
_LONGEST_STEM = 100
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
    try:
        parts = urlsplit(word)
    except ValueError:  # it is no address at all, which whoever goes there says
        return False
    scheme = parts.scheme.lower()
    if scheme in ("http", "https"):
        suffix = Path(parts.path).suffix.lower()
        return not suffix or suffix in VIDEO_SUFFIXES or suffix in _WEB_SUFFIXES
    return scheme in _SCHEMES


def is_web(word: str) -> bool:
    """Whether a word is an address of the web, of an image or a video."""
    return word[:8].lower().startswith(("https://", "http://"))


def stem_of(word: str) -> str:
    """The beginning of the name of a file that is written for a camera, a stream or an address: ``"camera0"``,
    ``"live"``.
    """
    if _CAMERA.fullmatch(word):
        return f"camera{word.removeprefix('/dev/video')}"
    parts = urlsplit(word)
    name = Path(unquote(parts.path)).stem or parts.hostname or "stream"
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:_LONGEST_STEM] or "stream"


def suffix_of(address: str) -> str:
    """How the name in an address of the web ends: ``".jpg"``, or an empty string."""
    suffix = Path(urlsplit(address).path).suffix
    return suffix if re.fullmatch(r"\.\w{1,8}", suffix) else ""
