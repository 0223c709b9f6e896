"""A data set as a sequence of samples, and the share of it that one process takes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.data.faults import DataError, Fault

__all__ = ["Dataset", "LabelledSample", "share"]


@dataclass(frozen=True)
class LabelledSample:
    """One input of a task, and what is true of it.

    Args:
        name: path of its first file below the data set's folder, with ``/`` between parts; unique in the data set.
        files: what the input is read from: one image, the two of a pair, a video.
        truth: in the form that the task's score takes.
    """

    name: str
    files: tuple[Path, ...]
    truth: Any


class Dataset(ABC, Sequence[LabelledSample]):
    """Samples in a fixed order, which depends on names alone and not on the machine.

    Attributes:
        published_as: name of the data set in the catalogue's metrics (``"ImageNet-1K"``), ``None`` where the samples
            are not known to be such a set.
        labels: name of each class that truths speak of, as the model has them; empty for tasks without classes.
        options: values of the task's options with which figures on this data set are published, by key; they hold
            where the user gives none.
    """

    published_as: str | None = None
    labels: Sequence[str] = ()
    options: Mapping[str, Any] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int) -> LabelledSample:
        """The sample at a place in ``range(len(self))``.

        Raises:
            DataError: its truth cannot be read, or contradicts itself; the message names file and line.
        """

    def name(self, index: int) -> str:
        """The name of the sample at a place; subclasses that know it without reading the truth say so here."""
        return self.sample(index).name

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.sample(place) for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")
        return self.sample(place)

    def faults(self) -> Iterator[Fault]:
        """Reads every truth, and yields what is wrong. Inputs are the task's to read, and are not looked at here."""
        for place in range(len(self)):
            try:
                self.sample(place)
            except DataError as error:
                yield from error.faults


def share(count: int, rank: int, world_size: int, batch_size: int = 1) -> Sequence[int]:
    """The places of the samples that one of several processes takes: every sample is taken by exactly one.

    Nothing is padded or repeated, so that shares differ by a batch at most. Batches hold the same samples however many
    processes there are: the first ``batch_size``, and so on.

    Args:
        count: how many samples there are.
        rank: number of the process, from 0 on.
        world_size: how many processes there are.
        batch_size: how many samples, which follow each other, are in one batch.

    Raises:
        ValueError: ``rank`` is not in ``range(world_size)``.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..{world_size - 1}, not be {rank}")
    if batch_size == 1:
        return range(rank, count, world_size)
    step = world_size * batch_size
    starts = range(rank * batch_size, count, step)
    return [place for start in starts for place in range(start, min(start + batch_size, count))]
