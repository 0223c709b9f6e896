"""Results of an evaluation that are kept in a file, so that one that was interrupted goes on to the same figure.

The file is that of ``zoo predict`` with JSON lines, see :mod:`zoo_core.predicting.results`: a line for each sample,
with what the model found, and under ``score`` what the sample adds to the score. The score of another run is made of
these lines; numbers in them are exact.

Of several processes each writes a part beside the file, ``results.part-00001-of-00004.jsonl``, and the first one puts
the parts together in the end. All of them must see the same folder. A run that goes on takes the file and all parts
that are there, whatever the number of processes that wrote them.
"""

import heapq
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from zoo_core.data import Dataset, share
from zoo_core.predicting.formats import JsonLines
from zoo_core.predicting.journal import Journal, journal_of
from zoo_core.predicting.merging import parts_of
from zoo_core.predicting.recording import run_of
from zoo_core.predicting.results import (
    ResultFile,
    ResultFileError,
    already_there,
    check_run,
    records_of,
    without_journal,
)
from zoo_core.predicting.shards import Share
from zoo_core.processes import World
from zoo_core.tasks import Score, Task

__all__ = ["KeptResults"]

_FORMAT: Any = JsonLines()


class KeptResults:
    """The results of one process, and those that are there from earlier runs. Made by :meth:`find`.

    Args:
        path: the file of results.
        task, samples: what is evaluated.
        count: how many of the samples are taken.
        batch_size: how many samples, which follow each other, one process takes as they are.
        among: the processes.
        there: the files of results that are there.
        given: what the results depend on beside the task and its options. Plain values.

    Attributes:
        places: of the samples that this process has to do, in ascending order.
    """

    def __init__(
        self,
        path: Path,
        task: Task[Any, Any],
        samples: Dataset,
        count: int,
        batch_size: int,
        among: World,
        there: Sequence[Path],
        given: Mapping[str, Any],
    ) -> None:
        self.path = path
        self.task = task
        self.samples = samples
        self.count = count
        self.batch_size = batch_size
        self.among = among
        self.given = dict(given)
        self.places: list[int] = []
        self._shard = None if among.size == 1 else Share(among.rank, among.size)
        self._own_path = path if self._shard is None else self._shard.part(path)
        self._file: ResultFile | None = None
        # A sample may be in two files: a process was killed while it put parts together.
        self._owner: dict[int, Path] = {}
        for file in there:
            for position in _positions(file):
                self._owner.setdefault(position, file)

    @classmethod
    def find(
        cls,
        path: Path,
        task: Task[Any, Any],
        samples: Dataset,
        count: int,
        batch_size: int,
        among: World,
        *,
        resume: bool,
        given: Mapping[str, Any] | None = None,
    ) -> Self:
        """Looks what is there. Changes nothing, so that all processes find the same.

        Args:
            path, task, samples, count, batch_size, among, given: see above.
            resume: take what is there; without, there may be nothing.

        Raises:
            ResultFileError: there is something, or it cannot be resumed.
        """
        if type(task.score()).contribution is Score.contribution:
            raise ResultFileError(
                f"{path}: results of the task {task.spec.task} cannot be kept, its score does not say how"
            )
        there = [file for file in [*parts_of(path), path] if file.exists()] if path.parent.is_dir() else []
        if there and not resume:
            raise already_there(there[-1])
        for file in there:
            _check_run(file, run_of(task, "evaluate") | dict(given or {}))
        found = cls(path, task, samples, count, batch_size, among, there, given or {})
        if strange := [position for position in found._owner if position >= len(samples)]:
            raise ResultFileError(
                f"{found._owner[strange[0]]} has results of {max(strange) + 1} samples, and the data set has only "
                f"{len(samples)}; name another file"
            )
        return found

    def opened(self) -> Self:
        """Opens this process's own file, and finds what is left to do.

        Raises:
            ResultFileError: it cannot be resumed.
            OSError: it cannot be made.
        """
        file = ResultFile(
            self._own_path,
            _FORMAT,
            run_of(self.task, "evaluate") | self.given,
            about={"labels": list(self.samples.labels), "data_set": self.samples.published_as},
            shard=self._shard,
            resume=self._own_path.exists(),
        )
        try:
            own = set(_positions(self._own_path))
            mine = share(self.count, self.among.rank, self.among.size, self.batch_size)
            left = {place for place in mine if place not in self._owner}
            named = ((place, (self.samples.name(place),), place) for place in sorted(own | left))
            self.places = [place for _, place, records in file.remaining(named) if not records]
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def restored(self) -> tuple[Score[Any], list[str]]:
        """What earlier runs have found, as far as this process speaks for it: the score, and the faults of samples.

        Raises:
            ResultFileError: a line has no score, or is of another sample than the data set has at its place.
        """
        score: Score[Any] = self.task.score()
        bad: list[str] = []
        others = {Share(index, self.among.size).part(self.path) for index in range(1, self.among.size)}
        for file in dict.fromkeys(self._owner.values()):
            if file == self._own_path or (self.among.is_first and file not in others):
                for position, record in records_of(file):
                    if self._owner[position] == file and position < self.count:
                        self._restore(file, position, record, score, bad)
        return score, bad

    def _restore(self, file: Path, position: int, record: Mapping[str, Any], score: Score[Any], bad: list[str]) -> None:
        name = self.samples.name(position)
        if record.get("sample") != name:
            raise ResultFileError(
                f"{file}: as sample {position + 1} it has {record.get('sample')}, and the data set has {name}; give "
                "the same data, or name another file"
            )
        if "error" in record:
            bad.append(str(record["error"]))
            return
        try:
            score.add(position, record.get("score"))
        except ValueError as error:
            raise ResultFileError(f"{file}: sample {name}: {error}") from error

    def write(self, place: int, record: Mapping[str, Any]) -> None:
        """Keeps the record of one sample.

        Raises:
            ResultFileError: it cannot be written.
        """
        assert self._file is not None
        name = self.samples.name(place)
        self._file.write(place, (name,), {"sample": name, **record})

    def finish(self) -> None:
        """Says that this process has done its share."""
        assert self._file is not None
        self._file.finish()

    def put_together(self) -> None:
        """Makes one file of all there are, if all samples are in them, and removes the parts. For the first process,
        when all have done their share.

        Raises:
            ResultFileError: it cannot be written; the parts stay as they were.
        """
        parts = parts_of(self.path)
        if not parts:
            return
        files = [file for file in [*parts, self.path] if file.exists()]
        there = {position for file in files for position in _positions(file)}
        if not there.issuperset(range(self.count)):
            return
        self.__exit__()
        beside = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        journal = Journal.read(journal_of(files[0]))
        try:
            with ResultFile(beside, _FORMAT, journal.run, about=journal.about) as whole:
                last = -1
                for position, record in heapq.merge(*map(records_of, files), key=lambda found: found[0]):
                    if position > last:
                        whole.write(position, (self.samples.name(position),), record)
                    last = position
                whole.finish()
            # A part of the same lines may be there, of which the new journal says the truth as well.
            journal_of(beside).replace(journal_of(self.path))
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)
            journal_of(beside).unlink(missing_ok=True)
        for part in parts:
            part.unlink()
            journal_of(part).unlink(missing_ok=True)


def _check_run(file: Path, run: Mapping[str, Any]) -> None:
    path = journal_of(file)
    if not path.exists():
        raise without_journal(file)
    if path.stat().st_size:
        check_run(file, Journal.read(path).run, run, show=str)


def _positions(file: Path) -> list[int]:
    """The positions of the records that a file has whole."""
    path = journal_of(file)
    if not path.exists() or not path.stat().st_size:
        return []
    size = file.stat().st_size
    return [entry.position for entry in Journal.read(path).entries() if entry.end <= size]
