"""The shares of several processes in a list of inputs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

__all__ = ["Shard"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The share of one of several processes: every ``count``-th input.

    Args:
        number: of the process, from 1 to ``count``.
        count: how many processes there are.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shards are numbered from 1 to their count, 1/4 to 4/4 for instance, not {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """``"3/64"`` is the third of 64.

        Raises:
            ValueError: it is not written so.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal()):
            raise ValueError(f"a shard is written as in 3/64, the third of 64, not {text!r}")
        return cls(int(number), int(count))

    def of(self, items: Iterable[Item]) -> Iterator[tuple[int, Item]]:
        """Its own of the items, each with its position among all, as they come."""
        return islice(enumerate(items), self.number - 1, None, self.count)

    def part(self, path: Path) -> Path:
        """The file for its share of the results that are to be in ``path``: ``results.part-00003-of-00064.jsonl``."""
        return path.with_name(f"{path.stem}.part-{self.number:05d}-of-{self.count:05d}{path.suffix}")
