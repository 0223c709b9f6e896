"""Files of results that grow as results come, and that an interrupted run resumes.

``FILE`` holds the records and nothing else, in one of the formats of :mod:`zoo_core.predicting.formats`: of JSON lines
a line is :meth:`zoo_core.predicting.Prediction.record`, with what a verb adds to it. Beside it lies ``FILE.journal``,
from which a later run knows what is there. Its first line is a JSON object:

- ``zoo_results``: the version of this layout, 1;
- ``format``: of ``FILE``, ``"jsonl"`` or ``"csv"``;
- ``run``: what the results depend on. A run with other values is refused;
- ``about``: what is worth knowing beside;
- ``shard``: ``[3, 64]`` of the third of 64 processes that share the work, or null;
- ``head``: what stands in ``FILE`` before the first record, the titles of columns.

Then comes a line for each record: where it ends in ``FILE`` in bytes, the position of its input in the list of all
inputs from 0 on, a checksum of the names of the input's files, and a mark where it is a failure: ``!`` of a frame,
``!!`` of all of the input. The last line, once all is done, is a JSON object that says so: ``{"complete": true,
"inputs": 1000, "failed": 2}``. Records of one position (the frames of a video) follow each other, and positions go up.

A record is written to ``FILE`` first, then into the journal. What ``FILE`` has beyond the journal's last line is the
record that was being written when the process was killed: it is cut off, as a torn last line of the journal is. So a
killed process loses what the model had not given yet, and a full disk too. Both files are handed to the disk (fsync)
when five seconds have passed since the last time, and at the end: that is what a power failure costs.
"""

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from zoo_core.predicting.formats import Format
from zoo_core.predicting.journal import Entry, Journal, ResultFileError, entry_line, journal_of
from zoo_core.predicting.shards import Share
from zoo_core.text import plain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ResultFile", "ResultFileError", "difference", "records_of"]

_SYNC_S = 5.0

Item = TypeVar("Item")


class ResultFile:
    """A file of results to write to; see the head of this module. Use it in a ``with`` block, then :meth:`finish` it.

    Args:
        path: the file.
        format: of what is written.
        run: what the results depend on: the model, its options, ... Plain values.
        about: what is worth knowing beside.
        shard: of several processes, which this is; the file is this one's own.
        resume: go on with what is there. Without, there may be no such file.

    Raises:
        ResultFileError: there is a file already; or it cannot be resumed: it has no journal, was written by another
            run, or another process is writing to it.
        OSError: the files cannot be made.

    Attributes:
        inputs: how many inputs there are results of.
        failed: how many records say that an input failed.
        is_complete: whether an earlier run has done all.
    """

    def __init__(
        self,
        path: Path,
        format: Format,
        run: Mapping[str, Any],
        *,
        about: Mapping[str, Any] | None = None,
        shard: Share | None = None,
        resume: bool = False,
    ) -> None:
        self.path = path
        self.format = format
        self.inputs = self.failed = 0
        self.is_complete = False
        self._last: int | None = None
        self._end = 0
        self._next_sync = time.monotonic() + _SYNC_S
        self.journal = Journal(journal_of(path), format.name, _plain(run), _plain(about or {}), shard, format.head)
        is_new = not path.exists()
        if not is_new and not resume and not self._holds_nothing():
            raise already_there(path)
        if not is_new and not self.journal.path.exists():
            raise without_journal(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._data = self._records = -1
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._records = os.open(self.journal.path, flags, 0o666)
            self._lock()
            self._data = os.open(path, flags, 0o666)
            if is_new or not resume:
                self._begin()
            else:
                self._go_on()
        except BaseException:
            self.close()
            raise

    def _holds_nothing(self) -> bool:
        """Whether a run has made the file, and came to no result."""
        with contextlib.suppress(OSError, ResultFileError):
            return self.path.stat().st_size <= Journal.read(self.journal.path).start
        return False

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._records, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ResultFileError(f"{self.path}: another process is writing to it") from error
            # The file system has no locks.

    def _begin(self) -> None:
        self._cut(0, 0)
        self._append(self._records, self.journal.path, self.journal.first_line())
        self._append(self._data, self.path, self.journal.head.encode())
        self._end = self.journal.start

    def _go_on(self) -> None:
        size = self._written()
        if not size and not os.fstat(self._records).st_size:  # killed before there was anything
            self._begin()
            return
        self._check(Journal.read(self.journal.path))
        if size < self.journal.start:
            self._begin()
            return
        last_line = self._take(size)
        if self._end and self._read(self._end - 1, 1) != b"\n":
            raise ResultFileError(
                f"{self.path} is not as {self.journal.path.name} says; was it changed? It cannot be gone on with: "
                "remove it, or name another file"
            )
        self.is_complete = self.journal.completed() == self.inputs
        self._cut(os.fstat(self._records).st_size if self.is_complete else last_line, self._end)

    def _read(self, start: int, length: int) -> bytes:
        os.lseek(self._data, start, os.SEEK_SET)
        return os.read(self._data, length)

    def _written(self) -> int:
        """The file's size without the zeros that a power failure may leave where content was to be."""
        size = os.fstat(self._data).st_size
        while size:
            start = max(0, size - 4096)
            kept = len(self._read(start, size - start).rstrip(b"\0"))
            if kept:
                return start + kept
            size = start
        return 0

    def _take(self, size: int, before: int | None = None) -> int:
        """Takes from the journal what a file of so many bytes has, of inputs before a position.

        Returns:
            The length of the journal up to there, in bytes.
        """
        self.inputs = self.failed = 0
        self._last, self._end = None, self.journal.start
        with self.journal.path.open("rb") as file:
            line_end = len(file.readline())
        for entry in self.journal.entries():
            if entry.end > size or (before is not None and entry.position >= before):
                break
            self.inputs += entry.position != self._last
            self.failed += entry.failed
            self._last, self._end, line_end = entry.position, entry.end, entry.line_end
        return line_end

    def _cut(self, records: int, data: int) -> None:
        for descriptor, length in ((self._records, records), (self._data, data)):
            os.ftruncate(descriptor, length)
            os.lseek(descriptor, length, os.SEEK_SET)

    def _check(self, there: Journal) -> None:
        """Refuses what another run has written."""
        now = self.journal
        if now.format != there.format:
            raise ResultFileError(f"{self.path} is of the format {there.format}, and this run writes {now.format}")
        if now.shard != there.shard:
            raise ResultFileError(f"{self.path} is shard {there.shard}, and this run is shard {now.shard}")
        check_run(self.path, {**there.run, "columns": there.head}, {**now.run, "columns": now.head})

    def remaining(self, sources: Iterable[tuple[int, Sequence[str], Item]]) -> Iterator[tuple[int, Item, int]]:
        """What is still to be done, after a look at the names of what is.

        Args:
            sources: position, names of files, and anything, of each input, in order.

        Yields:
            The position of each that is left, the thing, and how many records of it are there already. That is more
            than 0 only for the first, if it is the last that there are records of: some frames of a video, or all
            there is of it.

        Raises:
            ResultFileError: the files are not those that there are results of.
        """
        entries = self.journal.entries() if self._last is not None else iter(())
        entry = next(entries, None)
        for position, files, item in sources:
            if entry is None:
                yield position, item, 0
                continue
            if entry.position != position or entry.checksum != _checksum(files):
                raise self._other_file(entry, position, files)
            count, ended = 0, False
            while entry is not None and entry.position == position:
                count, ended = count + 1, entry.ended
                entry = next(entries, None)
            if entry is None and not ended and not self.is_complete:
                yield position, item, count
        if entry is not None:
            raise ResultFileError(
                f"{self.path} has results of {self.inputs} inputs, and {self._name(entry)} and those behind it are no "
                "longer given; give the same files, or name another file"
            )

    def _other_file(self, entry: Entry, position: int, files: Sequence[str]) -> ResultFileError:
        return ResultFileError(
            f"{self.path}: as input {entry.position + 1} it has {self._name(entry)}, and now {' '.join(files)} is "
            f"input {position + 1}; give the same files in the same order, or name another file"
        )

    def _name(self, entry: Entry) -> str:
        text = self._read(entry.start, entry.end - entry.start).decode(errors="replace")
        try:
            return " ".join(self.format.files(text))
        except (ValueError, StopIteration):  # it was changed since
            return "another"

    def write(self, position: int, files: Sequence[str], record: Mapping[str, Any]) -> None:
        """Appends a record.

        Args:
            position: of its input in the list of all: that of the record before, or a later one.
            files: names of the input's files.
            record: plain data. One with an ``"error"`` is a failure.

        Raises:
            ResultFileError: it cannot be written; what was written before is kept.
        """
        if self.is_complete:  # by an earlier run, which had fewer inputs
            self.is_complete = False
            self._cut(self._take(self._end), self._end)
        text = self.format.text(record).encode(errors="backslashreplace")
        self._append(self._data, self.path, text)
        end = self._end + len(text)
        failed = "error" in record
        line = entry_line(end, position, _checksum(files), failed=failed, ended="index" not in record)
        self._append(self._records, self.journal.path, line)
        self.inputs += position != self._last
        self.failed += failed
        self._last, self._end = position, end
        if time.monotonic() > self._next_sync:
            self._sync()

    def restart(self, position: int) -> None:
        """Drops the records of the last input, which is that at ``position``, so that it can be done anew."""
        self._cut(self._take(self._end, before=position), self._end)
        self.is_complete = False

    def finish(self) -> None:
        """Writes that all is done, and hands everything to the disk."""
        if not self.is_complete:
            self._append(self._data, self.path, self.format.tail.encode())
            self._append(self._records, self.journal.path, self.journal.last_line(self.inputs, self.failed))
            self.is_complete = True
        self._sync()

    def _append(self, descriptor: int, path: Path, content: bytes) -> None:
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError as error:
            # Of a line that does not fit, a part may be there.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, start)
                os.lseek(descriptor, start, os.SEEK_SET)
            raise self._unwritable(path, error) from error

    def _sync(self) -> None:
        try:
            os.fsync(self._data)
            os.fsync(self._records)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a device or a pipe
                raise self._unwritable(self.path, error) from error
        self._next_sync = time.monotonic() + _SYNC_S

    def _unwritable(self, path: Path, error: OSError) -> ResultFileError:
        done = f"{self.inputs} input{'' if self.inputs == 1 else 's'}"
        return ResultFileError(
            f"{path}: {error.strerror}; the results of {done} are in {self.path.name}, and --resume goes on behind them"
        )

    def close(self) -> None:
        """Closes the files, as they are."""
        for descriptor in (self._data, self._records):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._records = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they come back from JSON."""
    read: dict[str, Any] = json.loads(json.dumps(plain(values)))
    return read


def _checksum(files: Sequence[str]) -> str:
    return f"{zlib.crc32(chr(0).join(files).encode(errors='surrogatepass')):08x}"


_DEFAULT = "the default"


def _shown(value: Any) -> str:
    """A value of :func:`difference` in a message."""
    return _DEFAULT if value is _DEFAULT else json.dumps(value)


def difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value in which two nested mappings differ: its name, ``"options.topk"``, and both values.

    What a mapping lacks is as good as ``None``, and called "the default".
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            found = difference(before.get(key), now.get(key), f"{name}.{key}" if name else key)
            if found is not None:
                path, *values = found
                old, new = (
                    _DEFAULT if value is None and key not in mapping else value
                    for value, mapping in zip(values, (before, now), strict=True)
                )
                return path, old, new
        return None
    return None if before == now else (name, before, now)


def already_there(path: Path) -> ResultFileError:
    """The error for a file of results where there may be none."""
    return ResultFileError(f"{path} is there already: --resume goes on with it; or remove it, or name another file")


def without_journal(path: Path) -> ResultFileError:
    """The error for a file of results whose journal is missing."""
    return ResultFileError(
        f"{path}: there is no {journal_of(path).name} beside it that tells what is in it, so it cannot be gone on "
        "with; remove it, or name another file"
    )


def check_run(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, show: Callable[[Any], str] = _shown
) -> None:
    """Checks that a file of results is of this run.

    Args:
        path: the file.
        before: what the results in it depend on.
        now: what those of this run depend on.
        show: writes a value in the message; by default as JSON.

    Raises:
        ResultFileError: they differ; the message names the first difference.
    """
    found = difference(before, now)
    if found is not None:
        name, old, new = found
        raise ResultFileError(
            f"{path} was written with {name} = {show(old)}, and this run has {show(new)}; give the same, or name "
            "another file"
        )


def records_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records that a file of JSON lines has whole, each with the position of its input."""
    journal = Journal.read(journal_of(path))
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(journal.start)
        for entry in journal.entries():
            if entry.end > size:
                return
            yield entry.position, json.loads(file.read(entry.end - entry.start))
