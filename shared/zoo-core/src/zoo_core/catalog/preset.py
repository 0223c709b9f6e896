"""The preprocessing that a catalogue names: a class of :mod:`zoo_core.presets` and its arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core import preset_arguments
from zoo_core.catalog import values
from zoo_core.catalog.values import WrongValueError


@dataclass(frozen=True)
class Preset:
    """Preprocessing.

    Attributes:
        name: class in :mod:`zoo_core.presets`.
        arguments: its keyword arguments.
    """

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"

    def as_dict(self) -> dict[str, Any]:
        """As a catalogue has it: the class under ``preset``, and the arguments."""
        return {"preset": self.name, **self.arguments}

    @classmethod
    def read(cls, value: Any) -> "Preset":
        """Reads the table ``transforms`` of a catalogue.

        Raises:
            ValueError: there is no such preset, or it does not take the arguments.
        """
        if not isinstance(value, dict):
            raise WrongValueError("must be dict")
        given = dict(value)
        name = given.pop("preset", None)
        if not isinstance(name, str) or name not in preset_arguments.PRESETS:
            known = ", ".join(preset_arguments.PRESETS)
            raise WrongValueError(f".preset = {values.shown(name)} must be one of {known}", after_key=True)
        parsers = {key: _parser(check) for key, check in preset_arguments.PRESETS[name].items()}
        arguments = values.table(given, parsers, preset_arguments.REQUIRED[name])
        try:
            preset_arguments.check(arguments)
        except ValueError as error:
            raise WrongValueError(f": {error}", after_key=True) from error
        return cls(name, arguments)


def _parser(check: Callable[[Any], None]) -> values.Parse:
    def parse(value: Any) -> Any:
        try:
            check(value)
        except ValueError as error:
            raise WrongValueError(str(error)) from error
        return tuple(value) if isinstance(value, list) else value

    return parse
