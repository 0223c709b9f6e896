"""Opening files that may be anything, and noticing when they change."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from zoo_core.checkpoints.errors import CheckpointNotFoundError, UnreadableCheckpointError, another_users
from zoo_core.text import printable

# A pipe in the place of a file would otherwise block until somebody writes to it.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_ISDIR: "a directory",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISLNK: "a link",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def shown(path: Path | str) -> str:
    """A path as it stands in messages."""
    return printable(str(path))


def kind_of(mode: int) -> str:
    """What a file that is no regular one is called."""
    return next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "no regular file")


def open_regular(path: Path) -> BufferedReader:
    """Opens a file to read. Never waits, whatever lies there.

    Raises:
        CheckpointNotFoundError: there is no such file.
        UnreadableCheckpointError: it may not be read, or is a directory, a pipe or the like.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointNotFoundError(f"there is no file {shown(path)}") from error
    except PermissionError as error:
        owner = another_users(path)
        advice = f": {owner}; have it made readable for you, or use another" if owner else ""
        raise UnreadableCheckpointError(f"cannot read {shown(path)} ({error.strerror}){advice}") from error
    except (OSError, ValueError) as error:  # the latter for a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableCheckpointError(f"cannot read {shown(path)} ({reason})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else f"it is {kind_of(mode)}"
        raise UnreadableCheckpointError(f"cannot read {shown(path)} ({reason}): expected a file")
    return open(descriptor, "rb")


class Version(NamedTuple):
    """What tells whether a file is still the one that it was."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: BinaryIO | Path) -> "Version":
        """That of an open file, or of what lies at a path now."""
        status = os.stat(file) if isinstance(file, Path) else os.fstat(file.fileno())
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
