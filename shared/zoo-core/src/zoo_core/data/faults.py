"""What is wrong with a data set, and where."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DataError", "Fault"]

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

    Attributes:
        faults: the same. The message shows the first ten.
    """

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: Sequence[Fault] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        shown = "\n  ".join(str(fault) for fault in self.faults[:_SHOWN])
        rest = len(self.faults) - _SHOWN
        super().__init__(shown if rest <= 0 else f"{shown}\n  and {rest} more")
