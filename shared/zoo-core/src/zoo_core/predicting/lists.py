"""Lists of files, read piece by piece: names one a line, or with null bytes between, as `find -print0` writes them."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from zoo_core.addresses import STANDARD_INPUT
from zoo_core.declarations import VIDEO_SUFFIXES
from zoo_core.images import image_suffixes
from zoo_core.predicting.fetched import standard_input

__all__ = ["names_in"]

_PIECE = 64 * 1024
_LONGEST = 64 * 1024


def names_in(file: str | os.PathLike[str]) -> Iterator[str]:
    """The names in a list, in its order. Empty lines are left out.

    If there is a null byte in its first 64 KB, names end with null bytes and may hold line ends; or else they end with
    lines, whose white space at the end and the beginning is part of the name, but for a carriage return.

    Args:
        file: path of the list; ``"-"`` for standard input.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no list.
    """
    path = os.fspath(file)
    suffix = Path(path).suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in image_suffixes():
        raise ValueError(f"{path}: a list of files is expected, names one a line, and this is called like one of them")
    with closing(standard_input() if path == STANDARD_INPUT else open(path, "rb")) as stream:
        yield from _names(path, stream)


def _names(path: str, stream: IO[bytes]) -> Iterator[str]:
    rest = _piece(stream).removeprefix(b"\xef\xbb\xbf")
    ends = b"\0" if b"\0" in rest else b"\n"
    count = 0
    is_last = False
    while not is_last:
        *names, rest = rest.split(ends)
        if len(rest) > _LONGEST:
            raise ValueError(f"{path}: line {count + len(names) + 1} is no name of a file: it does not end")
        for name in names:
            count += 1
            yield from _name(path, count, name, ends)
        piece = _piece(stream)
        rest += piece
        is_last = not piece
    yield from _name(path, count + 1, rest, ends)


def _piece(stream: IO[bytes]) -> bytes:
    """What is there, at least a byte unless the list ends: a list may be made while it is read."""
    read = getattr(stream, "read1", stream.read)
    piece: bytes = read(_PIECE)
    return piece


def _name(path: str, number: int, name: bytes, ends: bytes) -> Iterator[str]:
    if ends == b"\n":
        name = name.removesuffix(b"\r")
        if b"\0" in name:
            raise ValueError(f"{path}: line {number} holds a null byte, which no name of a file has")
    if name:
        yield os.fsdecode(name)
