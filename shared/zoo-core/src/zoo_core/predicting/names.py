"""What the files that are written for inputs are called: none like another, without a list of all."""

import hashlib
from array import array
from pathlib import PurePath

__all__ = ["Names"]

_FULLEST = 0.6


class Names:
    """Gives names that were not given before: that which is wanted, with a number behind it where that would be taken.

    A task may put a dot and a word behind a name, so none of the names in a folder is another with a dot and more
    behind it. They differ even where upper and lower case are the same. Of each name a hash of 64 bits is remembered:
    where two of those meet, which is rare, a name gets a number that it would not need.

    Names depend on those that were given before, and on nothing else: the same list gives the same in each process.
    """

    def __init__(self) -> None:
        self._taken = _Hashes()
        # Of names that were taken, the number to try next.
        self._numbers: dict[int, int] = {}

    def give(self, folder: PurePath, wanted: str) -> str:
        """A new name for a folder.

        Args:
            folder: relative to that of all.
            wanted: the name, without an ending.
        """
        where = "/".join(part.casefold() for part in folder.parts)
        name = wanted
        if not self._is_free(where, name):
            name = plain = wanted.replace(".", "-")
            series = _hash(where, f"{plain.casefold()}/")
            number = self._numbers.get(series, 2)
            if plain == wanted or number > 2 or not self._is_free(where, plain):
                while not self._is_free(where, name := f"{plain}-{number}"):
                    number += 1
                self._numbers[series] = number + 1
        key = name.casefold()
        self._taken.add(_hash(where, key))
        for beginning in _beginnings(key):
            self._taken.add(_hash(where, beginning, is_beginning=True))
        return name

    def _is_free(self, where: str, name: str) -> bool:
        key = name.casefold()
        return not (
            _hash(where, key) in self._taken
            or _hash(where, key, is_beginning=True) in self._taken
            or any(_hash(where, beginning) in self._taken for beginning in _beginnings(key))
        )


def _beginnings(name: str) -> list[str]:
    """``"a.b.c"`` -> ``["a", "a.b"]``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _hash(where: str, key: str, *, is_beginning: bool = False) -> int:
    # The same in every process, unlike hash().
    text = f"{where}/{key}{'.' if is_beginning else ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


class _Hashes:
    """A set of integers in 0..2**64-1, in a fifth of the memory that Python's own takes."""

    def __init__(self) -> None:
        self._count = 0
        self._slots = array("Q", bytes(8 * 1024))  # 0 is an empty one

    def __contains__(self, value: int) -> bool:
        return bool(self._slots[self._slot(value or 1)])

    def add(self, value: int) -> None:
        value = value or 1
        slot = self._slot(value)
        if not self._slots[slot]:
            self._slots[slot] = value
            self._count += 1
            if self._count > _FULLEST * len(self._slots):
                self._grow()

    def _slot(self, value: int) -> int:
        """Where a value is, or would be."""
        slots, last = self._slots, len(self._slots) - 1  # a power of two, less one
        slot = value & last
        while slots[slot] not in (0, value):
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(2 * 8 * len(old)))
        for value in old:
            if value:
                self._slots[self._slot(value)] = value
