"""What is wrong with a data set, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo_core.data.samples import Dataset

__all__ = ["DataError", "Fault", "MissingSplitError"]

_SHOWN = 10


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set.

    Args:
        path: the file or folder.
        message: what is wrong there.
        line: number of the line, from 1 on, in a text file.
    """

    path: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.path}{line}: {self.message}"


class DataError(ValueError):
    """A data set, or a part of it, that cannot be used.

    Args:
        faults: what is wrong with it, at least one.
        rest: the data set without the samples at fault, where it is of use without them.

    Attributes:
        faults, rest: the same. The message shows the first ten faults.
    """

    def __init__(self, faults: Fault | Iterable[Fault], rest: "Dataset | None" = None) -> None:
        self.faults: Sequence[Fault] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        self.rest = rest
        shown = "\n  ".join(str(fault) for fault in self.faults[:_SHOWN])
        more = len(self.faults) - _SHOWN
        super().__init__(shown if more <= 0 else f"{shown}\n  and {more} more")


class MissingSplitError(DataError):
    """A data set that has splits, but not the one that was asked for."""
