"""What is known about the use of weights and of the data that they were trained on, with its source."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from zoo_core.catalog.schema import Checkpoint


@dataclass(frozen=True)
class Terms:
    """Under what something may be used.

    Attributes:
        terms: a statement in a few words.
        source: address of the page that says so, ``None`` where it is the catalogue's own word.
    """

    terms: str
    source: str | None

    def __str__(self) -> str:
        return self.terms if self.source is None else f"{self.terms} ({self.source})"


_NOTHING = Terms("nothing is known", None)


@functools.cache
def _tables() -> Mapping[str, Mapping[str, Terms]]:
    text = files("zoo_core").joinpath("licences.toml").read_text(encoding="utf-8")
    return {
        table: {name: Terms(entry["terms"], entry["source"]) for name, entry in entries.items()}
        for table, entries in tomllib.loads(text).items()
    }


def of_weights(checkpoint: Checkpoint) -> Terms:
    """What is known about the licence of the weights: the entry's word, else the publisher's."""
    if checkpoint.license is not None:
        return _tables()["licences"].get(checkpoint.license, Terms(checkpoint.license, None))
    return next(
        (terms for address, terms in _tables()["publishers"].items() if checkpoint.url.startswith(address)), _NOTHING
    )


def of_data(checkpoint: Checkpoint) -> Mapping[str, Terms]:
    """Data set -> what is known about its use, for each that the weights were trained on."""
    return {name: _tables()["data_sets"].get(name, _NOTHING) for name in checkpoint.trained_on or ()}
