"""A dict whose values may be looked up late."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self


class LateDict(dict[str, Any]):
    """A dict of which some values are looked up when they are first read.

    Whoever reads it, compares, copies, prints or pickles it sees an ordinary dict; copies are ordinary dicts.

    Args:
        values: the values; those of the late keys are what they are looked up by.
        late: key -> what looks the value up. Keys that ``values`` does not have are ignored.
    """

    def __init__(self, values: Mapping[str, Any], late: Mapping[str, Callable[[Any], Any]]) -> None:
        super().__init__(values)
        self._late = {key: look_up for key, look_up in late.items() if key in values}

    def _settle(self, key: object = None) -> Self:
        """Looks up one value, or all."""
        for late in [late for late in self._late if key is None or late == key]:
            super().__setitem__(late, self._late[late](super().__getitem__(late)))
            del self._late[late]
        return self

    def __getitem__(self, key: str) -> Any:
        self._settle(key)
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._late.pop(key, None)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._late.pop(key, None)

    # As this is here, dict(), {**x} and update() read by item and not from the memory of the dict.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __repr__(self) -> str:
        return repr(dict(self))

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return dict(self) != other

    __hash__ = None  # as for any dict

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def get(self, key: str, default: Any = None) -> Any:
        self._settle(key)
        return super().get(key, default)

    def values(self) -> Any:
        return dict.values(self._settle())

    def items(self) -> Any:
        return dict.items(self._settle())

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def pop(self, key: str, *default: Any) -> Any:
        self._settle(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        return dict.popitem(self._settle())

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._settle(key)
        return super().setdefault(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def clear(self) -> None:
        self._late.clear()
        super().clear()
