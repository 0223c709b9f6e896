"""Parts of results, which several processes wrote, put together in the order of the inputs."""

import contextlib
import heapq
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from zoo_core.predicting.journal import Entry, Journal, ResultFileError, journal_of
from zoo_core.predicting.results import difference

__all__ = ["Merged", "merge", "parts_of"]

_PART = re.compile(r"\.part-(\d{5,})-of-(\d{5,})$")


@dataclass(frozen=True)
class Merged:
    """What :func:`merge` has written.

    Args:
        inputs: how many inputs there are results of.
        failed: how many records say that an input failed.
    """

    inputs: int
    failed: int


def parts_of(path: Path) -> list[Path]:
    """The parts of a file of results that lie beside it, by number."""
    found = []
    for other in path.parent.iterdir():
        match = _PART.search(other.stem)
        if match is not None and other.suffix == path.suffix and other.stem[: match.start()] == path.stem:
            found.append((int(match[2]), int(match[1]), other))
    return [other for _, _, other in sorted(found)]


def merge(parts: Sequence[Path], path: Path) -> Merged:
    """Puts parts together. Memory does not grow with what is in them.

    Args:
        parts: files that runs of all shards have written to the end, in any order, each with its journal beside it.
        path: where the whole goes, in the format of the parts. It is written beside and renamed, and has a journal too.

    Raises:
        ResultFileError: a part is missing, is there twice, is not complete, or is another run's; or there is a file at
            ``path``.
        OSError: a file cannot be read or written.
    """
    if path.exists():
        raise ResultFileError(f"{path} is there already; remove it, or name another file")
    if not parts:
        raise ResultFileError(f"{path}: there are no parts to merge; name them, or merge where they lie")
    journals = [_journal(part) for part in parts]
    _check(parts, journals)
    _allow_open_files(2 * len(parts) + 64)
    whole = replace(journals[0], path=journal_of(path), shard=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = [p.with_name(f".{p.name}.{os.getpid()}") for p in (path, whole.path)]
    try:
        with beside[0].open("xb") as data, beside[1].open("xb") as records:
            data.write(whole.head.encode())
            records.write(whole.first_line())
            merged = _write(parts, journals, data, records)
            records.write(whole.last_line(merged.inputs, merged.failed))
            for file in (data, records):
                file.flush()
                os.fsync(file.fileno())
        # A file of results without a journal is whole; a journal without a file is nothing.
        beside[1].replace(whole.path)
        beside[0].replace(path)
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}; the parts are as they were") from error
    finally:
        for file_beside in beside:
            file_beside.unlink(missing_ok=True)
    return merged


def _journal(part: Path) -> Journal:
    """The journal of a part that is complete."""
    if not part.exists():
        raise ResultFileError(f"{part}: no such file")
    path = journal_of(part)
    if not path.exists():
        raise ResultFileError(f"{part}: its journal must lie beside it, {path.name}, which tells what is in it")
    found = Journal.read(path)
    if found.shard is None:
        raise ResultFileError(f"{part} is no part: it has the results of a run that was not divided")
    if found.completed() is None:
        raise ResultFileError(
            f"{part} is not complete; run `--shard {found.shard}` again, which goes on behind what is there"
        )
    return found


def _check(parts: Sequence[Path], journals: Sequence[Journal]) -> None:
    """Checks that the parts are all there are of one run."""
    first = journals[0]
    assert first.shard is not None
    by_number: dict[int, Path] = {}
    for part, journal in zip(parts, journals, strict=True):
        assert journal.shard is not None
        found = difference(
            {**first.run, "format": first.format, "columns": first.head, "number of shards": first.shard.count},
            {**journal.run, "format": journal.format, "columns": journal.head, "number of shards": journal.shard.count},
        )
        if found is not None:
            name, one, other = found
            raise ResultFileError(f"{parts[0]} was written with {name} = {one}, and {part} with {other}: not one run")
        if journal.shard.number in by_number:
            raise ResultFileError(f"{by_number[journal.shard.number]} and {part} are both shard {journal.shard}")
        by_number[journal.shard.number] = part
    missing = [number for number in range(1, first.shard.count + 1) if number not in by_number]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ResultFileError(f"shard {missing[0]}/{first.shard.count}{more} is missing among the parts")


def _allow_open_files(count: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))


def _write(parts: Sequence[Path], journals: Sequence[Journal], data: BinaryIO, records: BinaryIO) -> Merged:
    inputs = failed = 0
    with contextlib.ExitStack() as stack:
        streams = []
        for part, journal in zip(parts, journals, strict=True):
            file = stack.enter_context(part.open("rb"))
            streams.append(_records(file, part, journal))
        last: int | None = None
        end = data.tell()
        for _, entry, text in heapq.merge(*streams, key=lambda record: record[0]):
            if entry.position != last:
                if entry.position != inputs:
                    raise ResultFileError(
                        f"there is no result of input {inputs + 1}, though each part says that it is complete: was the "
                        "list of files another for some of them?"
                    )
                inputs += 1
                last = entry.position
            data.write(text)
            end += len(text)
            failed += entry.failed
            records.write(entry.line(end))
    return Merged(inputs, failed)


def _records(file: BinaryIO, part: Path, journal: Journal) -> Iterator[tuple[int, Entry, bytes]]:
    file.seek(journal.start)
    inputs = 0
    last = None
    for entry in journal.entries():
        text = file.read(entry.end - entry.start)
        if len(text) != entry.end - entry.start or not text.endswith(b"\n"):
            raise ResultFileError(f"{part} is not as its journal says: was it changed, or copied in part?")
        inputs += entry.position != last
        last = entry.position
        yield entry.position, entry, text
    if inputs != journal.completed():
        raise ResultFileError(f"{journal.path} was changed, or copied in part: it does not have all that it says")
