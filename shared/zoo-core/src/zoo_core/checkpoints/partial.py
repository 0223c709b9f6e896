"""A file that is still arriving."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zoo_core.checkpoints import urls
from zoo_core.checkpoints.cache import hash_matches, partial_note_path, partial_path
from zoo_core.checkpoints.errors import (
    CacheWriteError,
    CheckpointError,
    DownloadError,
    HashMismatchError,
    explaining_write_errors,
)
from zoo_core.checkpoints.files import kind_of, open_regular, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Follows no link, and does not wait for the other end of a pipe. Windows has none of these.
_SAFE = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
_READ_SIZE = 1024 * 1024
_MAX_NOTE_SIZE = 64 * 1024
# What may be sent back to a server: a strong ETag, or a date.
_VALIDATOR = re.compile(r'"[\x21\x23-\x7e]*"|[A-Za-z0-9:, +-]+')


def usable_validator(value: object) -> str | None:
    """A server's name for a version of a file, if it can be sent back to it in a header."""
    return value if isinstance(value, str) and _VALIDATOR.fullmatch(value) else None


class PartialFile:
    """The part of a file that has arrived, kept beside the place where the whole file will lie.

    A note beside it says which url the bytes are from (without secrets) and how the server calls this version of the
    file, so that a later process can go on where this one stopped. Where that place is taken (by another user's file, a
    link, a directory), the part lies in a file of another name, which nobody resumes. What cannot be resumed is
    removed. To be used in a ``with`` statement, by one process at a time.

    Args:
        target: where the whole file will lie. Its directory exists.
        url: where the bytes come from.
        apart: use a file of another name in any case, since another process may be writing to the usual one.
        what: what the file is, for messages: ``"checkpoint"`` for one that was published, which may come from a mirror.
        max_size: the most bytes that it may have; ``None`` for any number.

    Attributes:
        size: number of bytes that have arrived.
        total: size of the whole file, if known.
        validator: the server's ETag or Last-Modified of the version that the bytes belong to, if known.
        shown_url: the url for messages.
    """

    def __init__(
        self, target: Path, url: str, *, apart: bool = False, what: str = "checkpoint", max_size: int | None = None
    ) -> None:
        self.target = target
        self.what = what
        self.max_size = max_size
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None
        self.shown_url = urls.shown_url(url)
        self._origin = urls.origin(url)
        self._is_apart = apart
        self._path = partial_path(target)
        self._note_path = partial_note_path(target)
        self._sha256 = hashlib.sha256()
        self._descriptor = -1

    def __enter__(self) -> Self:
        with explaining_write_errors(self.target):
            self._check_target()
        if not self._is_apart:
            self._is_apart = not self._open_shared()
        if self._is_apart:
            self._path = self.target.with_name(f"{self.target.name}.apart-{secrets.token_hex(4)}.partial")
            with explaining_write_errors(self._path):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _SAFE, 0o666)
            if fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so that nobody clears it away
        else:
            self._read_note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor >= 0 and (self._is_apart or not self.is_resumable):
            self._discard()
        self._close()

    def _check_target(self) -> None:
        try:
            mode = os.lstat(self.target).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            raise CacheWriteError(
                f"{shown(self.target)} is {kind_of(mode)}, in the place of the file to download: remove it, or set "
                f"TORCH_HOME to another directory"
            )

    def _open_shared(self) -> bool:
        """Opens the usual place; ``False`` where it is taken."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _SAFE, 0o666)
        except OSError as error:
            if os.path.lexists(self._path) and error.errno in (
                *(errno.ELOOP, errno.EISDIR, errno.ENXIO),
                *(errno.EACCES, errno.EPERM),
            ):
                return False
            with explaining_write_errors(self._path):
                raise
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return True
        self._close()
        return False

    def _read_note(self) -> None:
        note = self._note()
        validator, total = usable_validator(note.get("validator")), note.get("total")
        noted_origin = {key: note[key] for key in ("url", "query_sha256") if key in note}
        if noted_origin != self._origin or validator is None or not isinstance(total, int | None):
            return
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while chunk := os.read(self._descriptor, _READ_SIZE):
            self._sha256.update(chunk)
            self.size += len(chunk)
        self.validator = validator
        self.total = total

    def _note(self) -> dict[str, Any]:
        try:
            if os.path.islink(self._note_path):
                return {}
            with open_regular(self._note_path) as file:
                note = json.loads(file.read(_MAX_NOTE_SIZE))
        except (CheckpointError, OSError, ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    @property
    def is_published(self) -> bool:
        """Whether a mirror may have it, and a place in the cache awaits it."""
        return self.what == "checkpoint"

    @property
    def check_url(self) -> str:
        """What the user should look at if the server has another file than expected."""
        return "check the url, or the mirror if one is set" if self.is_published else "check the address"

    @property
    def is_resumable(self) -> bool:
        """Whether it makes sense to ask the server for the rest only."""
        return self.validator is not None and 0 < self.size <= (self.total or self.size)

    def restart(self, *, validator: str | None, total: int | None) -> None:
        """Forgets what has arrived, to begin with another version of the file."""
        self.size = 0
        self.validator = validator
        self.total = total
        self._sha256 = hashlib.sha256()
        with explaining_write_errors(self._path):
            os.ftruncate(self._descriptor, 0)
        if not self._is_apart:
            self._write_note()

    def _write_note(self) -> None:
        with suppress(OSError):  # without a note it cannot be resumed, and that is all
            self._note_path.unlink(missing_ok=True)
            if self.validator is not None:
                note = self._origin | {"validator": self.validator, "total": self.total}
                descriptor = os.open(self._note_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o666)
                with open(descriptor, "w", encoding="utf-8") as file:
                    json.dump(note, file)

    def touch(self) -> None:
        """Shows those who wait that the download is still under way."""
        with suppress(OSError):
            os.utime(self._path)

    def append(self, chunk: bytes) -> None:
        """Adds the bytes that come next."""
        with explaining_write_errors(self._path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._sha256.update(chunk)
        self.size += len(chunk)

    def commit(self, sha256_prefix: str | None) -> None:
        """Gives the complete file its final name, at once and for good, if it is the published one.

        From then on it can be read only: models map it into memory, so it may be replaced, but not be written to.

        Args:
            sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.

        Raises:
            HashMismatchError: the hash is another. Nothing of the file is kept.
            DownloadError: the file is empty.
        """
        if self.size == 0:
            self._discard()
            raise DownloadError(f"{self.shown_url} is an empty file, no {self.what}: {self.check_url}")
        sha256 = self._sha256.hexdigest()
        if sha256_prefix and not hash_matches(sha256, sha256_prefix):
            self._discard()
            raise HashMismatchError(
                f"{self.shown_url} did not arrive as published: its SHA-256 should begin with {sha256_prefix} but is "
                f"{sha256}. The file was damaged or exchanged on its way and was not kept as {shown(self.target)}; try "
                f"again"
            )
        with explaining_write_errors(self.target):
            if self.is_published:
                os.fsync(self._descriptor)
            if os.name != "nt":  # where what is read-only cannot be replaced either
                os.fchmod(self._descriptor, stat.S_IMODE(os.fstat(self._descriptor).st_mode) & ~0o222)
            self._close()
            os.replace(self._path, self.target)
        if not self._is_apart:
            with suppress(OSError):
                self._note_path.unlink(missing_ok=True)

    def _discard(self) -> None:
        self._close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            if not self._is_apart:
                self._note_path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
