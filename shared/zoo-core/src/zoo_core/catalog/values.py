"""What the values in a catalogue file must be: one small function for each kind of value.

Each takes the value as TOML has it and gives the value as Python code sees it, or raises :class:`WrongValueError`.
"""

import difflib
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from zoo_core.checkpoints import CheckpointError, CheckpointNotFoundError, locate
from zoo_core.text import printable

Parse = Callable[[Any], Any]

URL_SCHEMES = ("https:", "http:", "file:", "package:")

MAX_WHOLE = 2**63 - 1
MAX_NUMBER = 1e15
MAX_TEXT = 10_000
MAX_NAME = 200

_NAME = re.compile(r"\w[\w.+-]*")
_SHA256_PREFIX = re.compile(r"[0-9a-f]{6,64}")


class WrongValueError(ValueError):
    """A value is not what it must be.

    Args:
        what: how the message goes on after ``key = value``: ``"must be str"``.
        after_key: it goes on after the key alone, without a space: ``".Kinetics must be a table of numbers"``.
    """

    def __init__(self, what: str, *, after_key: bool = False) -> None:
        super().__init__(what)
        self.after_key = after_key


class _Short(reprlib.Repr):
    """Values in messages: whatever a file holds, a line will do."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MAX_NAME
        self.maxlist = self.maxdict = 8

    def repr_int(self, x: int, level: int) -> str:
        # To write all digits of a giant takes long, or is refused.
        return repr(x) if x.bit_length() <= 64 else f"<a number of {x.bit_length()} bits>"


shown = _Short().repr


def printed(key: str) -> str:
    """A key in a message."""
    return printable(key[:MAX_NAME])


def table(value: Any, keys: Mapping[str, Parse], required: frozenset[str]) -> dict[str, Any]:
    """A table whose keys are known, each value as its function gives it.

    Args:
        value: what TOML has.
        keys: what there may be, and what reads it.
        required: what there must be.

    Raises:
        WrongValueError: it is no table, or a key is unknown, missing or has a wrong value.
    """
    if not isinstance(value, dict):
        raise WrongValueError(f" must be a table, not {shown(value)}", after_key=True)
    found = {}
    for key, item in value.items():
        if key not in keys:
            near = difflib.get_close_matches(key[:MAX_NAME], keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(keys) or 'none'}"
            raise WrongValueError(f": unknown key {shown(key)}; {hint}", after_key=True)
        try:
            found[key] = keys[key](item)
        except WrongValueError as wrong:
            space = "" if wrong.after_key else f" = {shown(item)} "
            raise WrongValueError(f": {key}{space}{wrong}", after_key=True) from wrong
    if missing := sorted(required - found.keys()):
        raise WrongValueError(f": the key {missing[0]!r} is missing", after_key=True)
    return found


def text(value: Any) -> str:
    """A text without control characters; line ends and tabs are allowed."""
    if not isinstance(value, str):
        raise WrongValueError("must be str")
    if len(value) > MAX_TEXT:
        raise WrongValueError(f"must have at most {MAX_TEXT} characters")
    if printable(value, keep="\n\t") != value:
        raise WrongValueError("must not hold control characters")
    return value


def name(value: Any) -> str:
    """A name as users write it on a command line."""
    if not isinstance(value, str):
        raise WrongValueError("must be str")
    if not _NAME.fullmatch(value) or len(value) > MAX_NAME:
        raise WrongValueError(f"must be made of letters, digits and _ . + -, at most {MAX_NAME} of them")
    return value


def identifier(value: Any) -> str:
    """A name as Python has it."""
    if not isinstance(value, str):
        raise WrongValueError("must be str")
    if not value.isidentifier() or len(value) > MAX_NAME:
        raise WrongValueError(f"must be a Python name of at most {MAX_NAME} characters")
    return value


def builder(value: Any) -> tuple[str, str]:
    """``"package.module:function"`` as module and function."""
    module, colon, function = text(value).partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), function)):
        raise WrongValueError('is not of the form "package.module:function"')
    return module, function


def url(value: Any) -> str:
    """Where a file is, in a form that :func:`zoo_core.checkpoints.locate` takes."""
    address = text(value)
    if not address.startswith(URL_SCHEMES):
        raise WrongValueError(f"must begin with one of {', '.join(URL_SCHEMES)}")
    try:
        locate(address)
    except CheckpointNotFoundError:  # in a package that is not installed
        pass
    except CheckpointError as error:
        raise WrongValueError(f"cannot be used: {error}") from error
    return address


def sha256_prefix(value: Any) -> str:
    """The first hex digits of a SHA-256."""
    if not isinstance(value, str):
        raise WrongValueError("must be str")
    if not _SHA256_PREFIX.fullmatch(value):
        raise WrongValueError("must be 6 to 64 lower-case hex digits")
    return value


def flag(value: Any) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise WrongValueError("must be bool")
    return value


def whole(value: Any) -> int:
    """An integer from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValueError("must be int")
    if not 0 < value <= MAX_WHOLE:
        raise WrongValueError(f"must be from 1 to {MAX_WHOLE}")
    return value


def number(value: Any) -> float:
    """A number from 0 on."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WrongValueError("must be int or float")
    if not 0 <= value <= MAX_NUMBER:
        raise WrongValueError(f"must be from 0 to {MAX_NUMBER:g}")
    return value


def size(value: Any) -> tuple[int, int]:
    """Height and width."""
    if not isinstance(value, list):
        raise WrongValueError("must be list")
    if len(value) != 2 or not all(type(side) is int and 0 < side <= MAX_WHOLE for side in value):
        raise WrongValueError("must be [height, width] in pixels")
    return value[0], value[1]


def metrics(value: Any) -> Mapping[str, Mapping[str, float]]:
    """Data set -> metric -> value, NaN where it was not measured."""
    if not isinstance(value, dict):
        raise WrongValueError("must be dict")
    for data_set, figures in value.items():
        _title(data_set)
        if not isinstance(figures, dict) or not all(map(_is_figure, figures.values())):
            raise WrongValueError(f".{data_set} must be a table of numbers", after_key=True)
        for metric in figures:
            _title(metric)
    return value


def titles(value: Any) -> tuple[str, ...]:
    """Names of data sets, at least one."""
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise WrongValueError("must be a list of names")
    for name in value:
        _title(name)
    return tuple(value)


def _title(key: str) -> None:
    if not key or len(key) > MAX_NAME or printable(key) != key:
        raise WrongValueError(
            f" must have names of 1 to {MAX_NAME} characters without control characters, not {shown(key)}",
            after_key=True,
        )


def _is_figure(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= MAX_NUMBER or value != value
