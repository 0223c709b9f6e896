"""What can go wrong with a checkpoint. Every message names the file or url, and says what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo_core.text import printable


class CheckpointError(RuntimeError):
    """A checkpoint cannot be obtained, read, or used."""


class CheckpointNotFoundError(CheckpointError):
    """There is no such file: not on the server, not in the mirror, not on disk, or not in the package."""


class OfflineError(CheckpointError):
    """The file would have to be downloaded, but ``ZOO_OFFLINE`` is set."""


class DownloadError(CheckpointError):
    """The server could not be reached, refused, or broke off again and again."""


class HashMismatchError(CheckpointError):
    """The file is not the published one: its SHA-256 differs."""


class CacheWriteError(CheckpointError):
    """The cache cannot be written to."""


class NoSpaceError(CacheWriteError):
    """The disk that holds the cache is full."""


class UnreadableCheckpointError(CheckpointError):
    """The file is not a checkpoint, is damaged, or holds what is not safe to load."""


class StateDictError(CheckpointError):
    """The tensors of a checkpoint do not fit the model."""


@contextmanager
def explaining_write_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's errors on writing ``path`` into :class:`CacheWriteError`."""
    try:
        yield
    except OSError as error:
        name = printable(str(path))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(
                f"no space left on the disk while writing {name}: free some (`zoo cache` shows what takes it), or set "
                f"TORCH_HOME to a directory on another disk; the download then goes on where it stopped"
            ) from error
        in_the_way = another_users(path)
        if in_the_way is not None:
            raise CacheWriteError(
                f"cannot write {name} ({error.strerror or error}): {in_the_way}. Have it removed by that user or by "
                f"root, or set TORCH_HOME to a directory of your own"
            ) from error
        raise CacheWriteError(
            f"cannot write {name} ({error.strerror or error}): make {printable(str(path.parent))} a directory that you "
            f"may write to, or set TORCH_HOME to another one"
        ) from error


def another_users(path: Path) -> str | None:
    """Whose file is in the way, if it is another user's."""
    if not hasattr(os, "geteuid"):  # Windows
        return None
    import pwd

    try:
        owner = os.lstat(path).st_uid
    except OSError:
        return None
    if owner == os.geteuid():
        return None
    try:
        return f"it belongs to the user {printable(pwd.getpwuid(owner).pw_name)}"
    except KeyError:
        return f"it belongs to the user with the number {owner}"
