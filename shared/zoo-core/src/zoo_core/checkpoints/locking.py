"""A lock among the processes of a machine: a file that one of them holds at a time."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from zoo_core.checkpoints.errors import CacheWriteError
from zoo_core.checkpoints.files import kind_of, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_POLL_S = 0.05
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LockUnavailableError(CacheWriteError):
    """There can be no lock: something lies in its place, or the file system has none."""


class FileLock:
    """A lock that is free again when its process ends, however that happens.

    Another user's lock file serves as well as an own one. Links are not followed. In contrast to the package filelock,
    which this builds on where there is no ``flock``, the file can be removed while it is held: who gets hold of a
    removed one tries again.

    Args:
        path: the file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if nobody holds it.

        Raises:
            LockUnavailableError: something else lies in its place, or the file system has no locks.
            OSError: the file cannot be made.
        """
        if fcntl is None:
            return self._try_filelock()
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                raise LockUnavailableError(f"cannot lock {shown(self.path)} ({error.strerror})") from error
            if self._is_in_place(descriptor):
                self._descriptor = descriptor
                return True
            os.close(descriptor)  # its holder has removed it in the meantime

    def acquire(self, give_up: Callable[[], bool]) -> bool:
        """Waits for the lock until ``give_up``, which is asked again and again, says to stop."""
        while not self.try_acquire():
            if give_up():
                return False
            time.sleep(_POLL_S)
        return True

    def release(self, *, remove: bool = True) -> None:
        """Gives the lock back, and removes its file."""
        if self._descriptor is None:
            return
        if remove:
            with contextlib.suppress(OSError):  # another user's, or Windows
                self.path.unlink(missing_ok=True)
        if fcntl is None:
            self._filelock.release()
        else:
            os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
        except PermissionError:
            # Another user's file is good enough to be locked; what cannot be made at all is reported.
            try:
                descriptor = os.open(self.path, os.O_RDONLY | _FLAGS)
            except FileNotFoundError:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.path)) from None
            except PermissionError as error:
                raise LockUnavailableError(f"{shown(self.path)} may not be opened ({error.strerror})") from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                kind = kind_of(os.lstat(self.path).st_mode)
                raise LockUnavailableError(f"{shown(self.path)} is {kind}, in a lock's place: remove it") from error
            raise
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise LockUnavailableError(f"{shown(self.path)} is {kind_of(mode)}, in a lock's place: remove it")
        return descriptor

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _try_filelock(self) -> bool:
        import filelock

        self._filelock = filelock.FileLock(self.path)
        try:
            self._filelock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        self._descriptor = -1
        return True
