"""The shares of several processes in a stream of inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Share"]


@dataclass(frozen=True)
class Share:
    """A part of a stream, by position: every ``count``-th source, beginning with the one at ``index``.

    Each source is in exactly one share, and nobody needs to know how many sources there are. The shares differ by one
    source at most.

    Args:
        index: which part, from 0 on.
        count: how many parts there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a share must be one of 1/{self.count} to {self.count}/{self.count}, not {self}")

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The share that ``"3/64"`` means, the third of 64.

        Raises:
            ValueError: it means none.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal() and int(count) > 0):
            raise ValueError(f"write a share as in 3/64, the third of 64, not {text!r}")
        return cls(int(index) - 1, int(count))

    @property
    def number(self) -> int:
        """Which part, from 1 on."""
        return self.index + 1

    def takes(self, position: int) -> bool:
        """Whether the source at a position is in this share."""
        return position % self.count == self.index

    def part(self, path: Path) -> Path:
        """The file for its results, of those that are to be in ``path``: ``results.part-00003-of-00064.jsonl``."""
        return path.with_name(f"{path.stem}.part-{self.number:05d}-of-{self.count:05d}{path.suffix}")
