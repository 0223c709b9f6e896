"""Calls as torchvision deprecated them, for functions whose parameters are keyword-only: they work, with a warning.

Taken are positional arguments, ``pretrained=True`` (``pretrained_backbone``) instead of weights, and a bool in the
place of weights. The warnings are of torchvision's category, which Python shows by default.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core import user_warnings
from zoo_core.weights import WeightsEnum

Pretrained = Callable[[str, Mapping[str, Any]], WeightsEnum | None]
"""Takes the name of a weights parameter and the other arguments; gives what ``pretrained=True`` stood for."""


@dataclass(frozen=True)
class OldCalls:
    """What a function took, and how it takes it now.

    Attributes:
        function: its name.
        keywords: its keyword-only parameters, in order.
        weights: those of them that take weights: ``"weights"``, and what begins with ``"weights_"``.
        pretrained: what ``pretrained=True`` stands for.
    """

    function: str
    keywords: tuple[str, ...]
    weights: tuple[str, ...]
    pretrained: Pretrained

    @classmethod
    def of(cls, function: Callable[..., Any], pretrained: Pretrained) -> "OldCalls":
        """Those of a function, from its signature."""
        parameters = inspect.signature(function).parameters.values()
        keywords = tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        weights = tuple(k for k in keywords if k == "weights" or k.startswith("weights_"))
        return cls(function.__name__, keywords, weights, pretrained)

    def modern(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by their present names.

        Raises:
            TypeError: there are too many, or one is given twice.
        """
        arguments = self._named(args, kwargs) if args else dict(kwargs)
        for parameter in self.weights:
            self._replace_flag(parameter, arguments)
        return arguments

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self.keywords):
            raise TypeError(
                f"{self.function}() takes the arguments {', '.join(self.keywords)} by name, but {len(args)} were given"
            )
        named = dict(zip(self.keywords, args, strict=False))
        twice = named.keys() & kwargs.keys()
        if twice:
            raise TypeError(f"{self.function}() got {', '.join(sorted(twice))} both by position and by name")
        user_warnings.warn(
            f"positional arguments of {self.function}() are deprecated; write "
            f"{', '.join(f'{key}={value!r}' for key, value in named.items())}"
        )
        return named | dict(kwargs)

    def _replace_flag(self, parameter: str, arguments: dict[str, Any]) -> None:
        """Turns ``pretrained``, or a bool in the place of weights, into the weights that it stood for."""
        legacy = parameter.replace("weights", "pretrained", 1)
        if legacy in arguments:
            if parameter in arguments:
                raise TypeError(f"{self.function}() got both {parameter} and the deprecated {legacy}; give {parameter}")
            value, given = arguments.pop(legacy), legacy
        elif _is_flag(arguments.get(parameter)):
            value, given = arguments[parameter], parameter
        else:
            return
        hint = ""
        if value and isinstance(value, str | WeightsEnum):
            arguments[parameter] = value
        elif value:
            arguments[parameter] = self.pretrained(parameter, arguments)
            hint = f' or {parameter}="DEFAULT" for the most accurate ones'
        else:
            arguments[parameter] = None
        user_warnings.warn(f"{given}={value!r} is deprecated; write {parameter}={arguments[parameter]!r}{hint}")


def _is_flag(value: Any) -> bool:
    """Whether a value is True or False, written as such, as 1 or 0, or as numpy has it."""
    is_numpys = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    return is_numpys or (isinstance(value, int) and value in (0, 1))
