"""What is known of a file of results: the file beside it, see :mod:`zoo_core.predicting.results`."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from zoo_core.predicting.shards import Share

__all__ = ["Entry", "Journal", "ResultFileError", "entry_line", "journal_of"]

_VERSION = 1


class ResultFileError(ValueError):
    """A file of results cannot be made, resumed, written or merged. The message names it."""


@dataclass(frozen=True)
class Entry:
    """A record in a file of results.

    Args:
        start, end: where its text is, in bytes.
        position: of its input in the list of all.
        checksum: of the names of the input's files.
        failed: whether it says that the input failed.
        ended: whether it says so of the whole source, not of one frame of it: nothing of that source comes behind it.
        line_end: where its line in the journal ends, in bytes.
    """

    start: int
    end: int
    position: int
    checksum: str
    failed: bool
    ended: bool
    line_end: int

    def line(self, end: int) -> bytes:
        """Its line in the journal of a file in which it ends there."""
        return entry_line(end, self.position, self.checksum, failed=self.failed, ended=self.ended)


@dataclass(frozen=True)
class Journal:
    """What is known of a file of results.

    Args:
        path: of the journal.
        format: name of the file's format.
        run, about, shard: see the head of this module.
        head: what stands before the first record.
    """

    path: Path
    format: str
    run: Mapping[str, Any]
    about: Mapping[str, Any]
    shard: Share | None
    head: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the head of a journal.

        Raises:
            ResultFileError: it is none, or another version's.
        """
        with path.open("rb") as file:
            line = file.readline()
        try:
            values = json.loads(line)
            if not line.endswith(b"\n") or values["zoo_results"] != _VERSION:
                raise ValueError
            shard = None if values["shard"] is None else Share(values["shard"][0] - 1, values["shard"][1])
            return cls(path, values["format"], values["run"], values["about"], shard, values["head"])
        except (ValueError, TypeError, KeyError) as error:
            raise ResultFileError(
                f"{path}: this is no journal of results that this version can read; remove it and the results beside "
                "it, or write to another file"
            ) from error

    def first_line(self) -> bytes:
        """What the journal begins with."""
        values = {
            "zoo_results": _VERSION,
            "format": self.format,
            "run": self.run,
            "about": self.about,
            "shard": None if self.shard is None else [self.shard.number, self.shard.count],
            "head": self.head,
        }
        return json.dumps(values, allow_nan=False).encode() + b"\n"

    def last_line(self, inputs: int, failed: int) -> bytes:
        """What it ends with when all is done."""
        return json.dumps({"complete": True, "inputs": inputs, "failed": failed}).encode() + b"\n"

    @property
    def start(self) -> int:
        """Where the first record is, in bytes."""
        return len(self.head.encode())

    def entries(self) -> Iterator[Entry]:
        """The records, in order, as far as they were written whole."""
        start = self.start
        with self.path.open("rb") as file:
            line_end = len(file.readline())
            for line in file:
                fields = line.decode("ascii", "replace").split()
                if not line.endswith(b"\n") or len(fields) < 3 or not (fields[0] + fields[1]).isdecimal():
                    return
                line_end += len(line)
                end = int(fields[0])
                yield Entry(start, end, int(fields[1]), fields[2], len(fields) > 3, fields[3:] == ["!!"], line_end)
                start = end

    def completed(self) -> int | None:
        """How many inputs there are, if all was done."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
            lines = file.read().split(b"\n")
        try:
            closing = json.loads(lines[-2]) if len(lines) > 1 and not lines[-1] else None
            return int(closing["inputs"]) if isinstance(closing, dict) and closing.get("complete") is True else None
        except ValueError:
            return None


def journal_of(path: Path) -> Path:
    """Where the journal of a file of results is."""
    return path.with_name(f"{path.name}.journal")


def entry_line(end: int, position: int, checksum: str, *, failed: bool, ended: bool) -> bytes:
    """A line of a journal; see :class:`Entry`."""
    return f"{end} {position} {checksum}{' !!' if failed and ended else ' !' if failed else ''}\n".encode()
