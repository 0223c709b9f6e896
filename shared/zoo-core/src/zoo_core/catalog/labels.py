"""Labels: in the catalogue itself, or in a text file of a line each that several models share."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core.catalog import files, values
from zoo_core.catalog.values import WrongValueError
from zoo_core.text import printable

_SHARED = Path(__file__).parents[1] / "labels"

BACKGROUND = "__background__"
"""The label of what is none of the classes, where a model has one for that."""


def is_background(label: str) -> bool:
    """Whether a label says that something is none of the classes, as data sets of other people write it as well.

    >>> is_background("__background__"), is_background("Background"), is_background("backpack")
    (True, True, False)
    """
    return label.strip("_").lower() == "background"


def read(value: Any, directory: Path) -> tuple[str, ...]:
    """The labels that a catalogue gives or names.

    Args:
        value: a list of labels, or the name of a file, without its suffix.
        directory: the folder of the catalogue. A package's own label sets come first; zoo-core has those that two
            packages use.

    Raises:
        WrongValueError: there is no such file, or something else than labels.
    """
    if isinstance(value, list):
        if not value or not all(isinstance(label, str) for label in value):
            raise WrongValueError(" must be a list of strings, or the name of a label file", after_key=True)
        return _checked(tuple(value))
    if not isinstance(value, str):
        raise WrongValueError("must be str or list")
    for path in _candidates(directory, values.name(value)):
        if path.is_file():
            return read_file(path)
    tried = " nor ".join(map(str, _candidates(directory, value)))
    raise WrongValueError(f"is no label set: there is neither {tried}")


def _candidates(directory: Path, name: str) -> Iterator[Path]:
    yield directory / "labels" / f"{name}.txt"
    yield _SHARED / f"{name}.txt"


@functools.cache
def read_file(path: Path) -> tuple[str, ...]:
    """The labels of a file, UTF-8, a line each.

    Raises:
        WrongValueError: it cannot be read, or a line is no label.
    """
    try:
        content = files.read(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise WrongValueError(f": {path} cannot be read as UTF-8: {error}", after_key=True) from error
    return _checked(tuple(content.removesuffix("\n").replace("\r\n", "\n").split("\n")))


def _checked(labels: tuple[str, ...]) -> tuple[str, ...]:
    for label in labels:
        if len(label) > values.MAX_NAME or printable(label) != label:
            raise WrongValueError(
                f" must be labels of at most {values.MAX_NAME} characters without control characters, not "
                f"{values.shown(label)}",
                after_key=True,
            )
    return labels
