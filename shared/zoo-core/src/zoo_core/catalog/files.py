"""Reads the small files that a catalogue is made of, whatever lies there under their names."""

import stat
from pathlib import Path

MAX_BYTES = 2**20
"""The size of the largest file that is read; the largest of ours has 20 KB."""


def read(path: Path) -> bytes:
    """All of a small file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (a pipe would be waited for, a device has no end), or it is too large.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return content
