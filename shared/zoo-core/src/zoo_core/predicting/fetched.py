"""Inputs that are no files: at addresses of the web, and on standard input."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from PIL import Image

from zoo_core.checkpoints import CheckpointError
from zoo_core.checkpoints.fetching import is_offline
from zoo_core.checkpoints.urls import shown_url
from zoo_core.images import ImageReadError, open_image
from zoo_core.images.files import opened

__all__ = ["FetchError", "fetch_file", "fetch_image", "spool_standard_input"]

MAX_IMAGE_BYTES = 512 * 2**20
"""The most that is downloaded of one image."""

MAX_FILE_BYTES = 8 * 2**30
"""The most that is downloaded of one video, or taken from standard input."""

_CHUNK = 2**20
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


class FetchError(ValueError):
    """What an address has could not be read; the message names the address, without secrets in it."""


def fetch_image(address: str, mode: str = "RGB") -> Image.Image:
    """Downloads an image, and reads it as :func:`zoo_core.images.open_image` does.

    Args:
        address: ``https:`` or ``http:``.
        mode: the PIL mode of the result.

    Raises:
        FetchError: it cannot be had, or has more than :data:`MAX_IMAGE_BYTES`.
        zoo_core.images.ImageReadError: it is no image.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = Path(folder, "image")
        _download(address, path, "image", MAX_IMAGE_BYTES)
        return open_called(path, shown_url(address), mode)


def open_called(path: Path, name: str, mode: str = "RGB") -> Image.Image:
    """Reads an image that errors call otherwise than its file."""
    try:
        return open_image(path, mode)
    except ImageReadError as error:
        raise ImageReadError(str(error).replace(str(path), name)) from error


def fetch_file(address: str, suffix: str) -> "tuple[Path, tempfile.TemporaryDirectory[str]]":
    """A file with what an address has, for those who read files whole; and what keeps it.

    Args:
        address: ``https:`` or ``http:``.
        suffix: how its name ends.

    Raises:
        FetchError: it cannot be had, or has more than :data:`MAX_FILE_BYTES`.
    """
    folder = tempfile.TemporaryDirectory(prefix="zoo-")
    path = Path(folder.name, f"file{suffix}")
    _download(address, path, "file", MAX_FILE_BYTES)
    return path, folder


def is_image(address: str) -> bool:
    """Whether a server says that it has an image at an address whose ending does not tell; that is asked for."""
    from zoo_core.checkpoints.download import content_type

    return not is_offline() and (content_type(address) or "").startswith("image/")


def _download(address: str, path: Path, what: str, max_size: int) -> None:
    from zoo_core.checkpoints.download import download

    if is_offline():
        raise FetchError(f"{shown_url(address)} would have to be downloaded, and ZOO_OFFLINE forbids it; unset it")
    try:
        download(address, path, apart=True, what=what, max_size=max_size)
    except CheckpointError as error:
        raise FetchError(str(error)) from None


def spool_standard_input() -> "tuple[Path, tempfile.TemporaryDirectory[str]]":
    """A file with what is on standard input, which can be read once; and what keeps it.

    Returns:
        The file's path, which ends as the image in it wants it; and the folder that it goes with.

    Raises:
        FetchError: there is nothing, or more than :data:`MAX_FILE_BYTES`.
    """
    stream = sys.stdin
    if stream is None or stream.closed:
        raise FetchError("-: there is no standard input to read from")
    if stream.isatty():
        raise FetchError("-: an image is expected on standard input, and that is a terminal; add `< photo.jpg`")
    folder = tempfile.TemporaryDirectory(prefix="zoo-")
    path = Path(folder.name, "stdin")
    with _binary(stream) as source, path.open("wb") as file:
        size = 0
        while chunk := source.read(_CHUNK):
            size += file.write(chunk)
            if size > MAX_FILE_BYTES:
                raise FetchError(f"-: there are more than {MAX_FILE_BYTES / 1e6:,.0f} MB on standard input")
    if not size:
        raise FetchError("-: standard input is empty, it holds no image")
    with contextlib.suppress(ImageReadError), opened(path) as image:
        return path.rename(path.with_suffix(_SUFFIXES.get(image.format or "", ""))), folder
    return path, folder


def _binary(stream: IO[str]) -> IO[bytes]:
    """The bytes of a text stream, under a descriptor that may be closed."""
    return os.fdopen(os.dup(stream.fileno()), "rb")


def standard_input() -> IO[bytes]:
    """The bytes of standard input.

    Raises:
        FetchError: there is none.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise FetchError("-: there is no standard input to read from")
    return _binary(sys.stdin)
