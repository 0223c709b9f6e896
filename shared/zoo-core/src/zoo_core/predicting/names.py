"""What the files that are written for inputs are called: none like another, without a list of all."""

import hashlib
import itertools
from pathlib import PurePath

__all__ = ["Names"]


class Names:
    """Gives names that were not given before: that which is wanted, with a number behind it where that would be taken.

    A task may put a dot and a word behind a name, so none of the names in a folder is another with a dot and more
    behind it. They differ even where upper and lower case are the same. Remembered is a number a name, a hash: where
    two of those meet, which is rare, a name gets a number that it would not need.

    Names depend on those that were given before, and on nothing else: the same list gives the same names each time.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def give(self, folder: PurePath, wanted: str) -> str:
        """A new name for a folder.

        Args:
            folder: relative to that of all.
            wanted: the name, without an ending.
        """
        where = "/".join(part.casefold() for part in folder.parts)
        name = wanted
        if not self._is_free(where, name):
            plain = wanted.replace(".", "-")
            candidates = itertools.chain([plain], (f"{plain}-{number}" for number in itertools.count(2)))
            name = next(candidate for candidate in candidates if self._is_free(where, candidate))
        key = name.casefold()
        self._taken.add(_hash(where, key))
        self._taken.update(_hash(where, beginning, is_beginning=True) for beginning in _beginnings(key))
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
