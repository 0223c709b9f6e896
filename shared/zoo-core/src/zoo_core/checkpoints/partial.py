"""A file that is still arriving."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from zoo_core.checkpoints.cache import hash_matches, partial_note_path, partial_path
from zoo_core.checkpoints.errors import DownloadError, HashMismatchError, explaining_write_errors


class PartialFile:
    """The part of a file that has arrived, kept beside the place where the whole file will lie.

    A note beside it says which url the bytes are from and how the server calls this version of the file, so that a
    later process can go on where this one stopped. To be used in a ``with`` statement, by one process at a time.

    Args:
        target: where the whole file will lie. Its directory exists.
        url: where the bytes come from.

    Attributes:
        size: number of bytes that have arrived.
        total: size of the whole file, if known.
        validator: the server's ETag or Last-Modified of the version that the bytes belong to, if known.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.url = url
        self.size = 0
        self.total: int | None = None
        self.validator: str | None = None
        self._path = partial_path(target)
        self._note_path = partial_note_path(target)
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        with explaining_write_errors(self._path):
            self._file = self._path.open("ab")
            self._read_note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else explaining_write_errors(self._path):
            self._file.close()

    def _read_note(self) -> None:
        try:
            note = json.loads(self._note_path.read_bytes())
            url, validator, total = note["url"], note["validator"], note["total"]
        except (OSError, ValueError, LookupError, TypeError):
            return
        if url == self.url and isinstance(validator, str) and isinstance(total, int | None):
            with self._path.open("rb") as file:
                self._sha256 = hashlib.file_digest(file, hashlib.sha256)
                self.size = file.tell()
            self.validator = validator
            self.total = total

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
            self._note_path.unlink(missing_ok=True)
            self._file.close()
            self._file = self._path.open("wb")
            if validator is not None:
                note = {"url": self.url, "validator": validator, "total": total}
                self._note_path.write_text(json.dumps(note), encoding="utf-8")

    def append(self, chunk: bytes) -> None:
        """Adds the bytes that come next."""
        with explaining_write_errors(self._path):
            self._file.write(chunk)
        self._sha256.update(chunk)
        self.size += len(chunk)

    def commit(self, sha256_prefix: str | None) -> None:
        """Gives the complete file its final name, at once and for good, if it is the published one.

        Args:
            sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.

        Raises:
            HashMismatchError: the hash is another. Nothing of the file is kept.
            DownloadError: the file is empty.
        """
        if self.size == 0:
            self._discard()
            raise DownloadError(
                f"{self.url} is an empty file, no checkpoint: check the url, or the mirror if one is set"
            )
        sha256 = self._sha256.hexdigest()
        if sha256_prefix and not hash_matches(sha256, sha256_prefix):
            self._discard()
            raise HashMismatchError(
                f"{self.url} did not arrive as published: its SHA-256 should begin with {sha256_prefix} but is "
                f"{sha256}. The file was damaged or exchanged on its way and was not kept as {self.target}; try again"
            )
        with explaining_write_errors(self.target):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._path, self.target)
        with suppress(OSError):
            self._note_path.unlink(missing_ok=True)

    def _discard(self) -> None:
        self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)
