"""Records what `torchvision.models` and `torchvision.ops` offer by name, for the tests that hold the packages to it.

    python -m tools.torchvision_names

Writes `tests/assets/reference/torchvision_models.json`:

- `names`: module -> the public names that are defined in it, and for packages those that they re-export;
- `calls`: module -> a function, or a class and its public methods as `Class.method` -> parameters, as
  `[name, kind, whether it may be left out]`;
- `enums`: weights enum -> its module, its members (aliases last, as `NAME = MEMBER`), and the keys of each member's
  `meta`, as a position in `keys`;
- `old_calls`: builder or function -> what `pretrained=True` and the like load: the last part of the url, or the error.

Only facts are recorded: names, and files that calls ask for.
"""

import contextlib
import dataclasses
import importlib
import inspect
import json
import pkgutil
import types
import typing
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch import nn

from tools import oracle
from tools.distributions import ROOT

FILE = ROOT / "tests" / "assets" / "reference" / "torchvision_models.json"


def modules(package: Any) -> Iterator[Any]:
    """A package, and the public modules in it."""
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def public_names(module: Any) -> list[str]:
    """Those that are defined in a module; of a package, all that it has."""
    is_package = hasattr(module, "__path__")
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType | typing.TypeVar)
        and (is_package or getattr(value, "__module__", None) == module.__name__)
    )


def calls(module: Any) -> dict[str, list[list[Any]]]:
    """How the public functions and classes that are defined in a module are called, and methods of the latter."""
    found = {}
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        if not inspect.isclass(value):
            found[name] = _parameters(value)
        elif issubclass(value, nn.Module) or dataclasses.is_dataclass(value):
            found[name] = _parameters(value)
            own = [base for base in value.__mro__ if base.__module__.partition(".")[0] == "torchvision"]
            for method in sorted({key for base in own for key in vars(base) if not key.startswith("_")}):
                if inspect.isfunction(getattr(value, method)):
                    found[f"{name}.{method}"] = _parameters(getattr(value, method))[1:]
    return found


def _parameters(function: Any) -> list[list[Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [[p.name, p.kind.name, p.default is not p.empty] for p in parameters]


def enums(found: list[Any], keys: list[list[str]]) -> dict[str, Any]:
    """The weights enums of modules; adds to the lists of `meta` keys."""
    weights_enum: Any = oracle.torchvision().models.WeightsEnum
    recorded = {}
    for module in found:
        for name, value in vars(module).items():
            if not (inspect.isclass(value) and issubclass(value, weights_enum) and value.__module__ == module.__name__):
                continue
            enum: Any = value
            members = [
                alias if alias == member.name else f"{alias} = {member.name}"
                for alias, member in enum.__members__.items()
            ]
            meta = {}
            for member in enum:
                if sorted(member.meta) not in keys:
                    keys.append(sorted(member.meta))
                meta[member.name] = keys.index(sorted(member.meta))
            recorded[name] = {"module": module.__name__, "members": members, "meta": meta}
    return recorded


class AskedError(Exception):
    """A file was asked for."""


@contextlib.contextmanager
def no_downloads() -> Iterator[None]:
    def ask(url: str, *args: Any, **kwargs: Any) -> None:
        raise AskedError(url.rpartition("/")[2])

    api = importlib.import_module("torchvision.models._api")
    with mock.patch.object(api, "load_state_dict_from_url", ask), warnings.catch_warnings(action="ignore"):
        yield


def outcome(function: Any, *args: Any, **kwargs: Any) -> str | None:
    """The file that a call asks for, the type of its error, or `None` if it just works."""
    try:
        function(*args, **kwargs)
    except AskedError as asked:
        return str(asked)
    except Exception as error:
        return type(error).__name__
    return None


def old_calls() -> dict[str, dict[str, str | None]]:
    """Builders by name -> a call -> the file that it asks for."""
    models = oracle.torchvision().models
    recorded: dict[str, dict[str, str | None]] = {}
    with no_downloads():
        for name in models.list_models():
            builder = models.get_model_builder(name)
            calls: dict[str, dict[str, Any]] = {"pretrained=True": {"pretrained": True}}
            if "weights_backbone" in inspect.signature(builder).parameters:
                calls["pretrained_backbone=True"] = {"pretrained_backbone": True}
            if "quantize" in inspect.signature(builder).parameters:
                calls["pretrained=True, quantize=True"] = {"pretrained": True, "quantize": True}
            recorded[name] = {text: outcome(builder, **kwargs) for text, kwargs in calls.items()}
    return recorded


def main() -> None:
    found = [*modules(oracle.torchvision().models), *modules(oracle.torchvision().ops)]
    keys: list[list[str]] = []
    recorded = {
        "version": oracle.torchvision().__version__,
        "names": {module.__name__: public_names(module) for module in found},
        "calls": {module.__name__: calls(module) for module in found if calls(module)},
        "enums": enums(found, keys),
        "keys": keys,
        "old_calls": old_calls(),
    }
    FILE.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")
    print(f"written: {FILE}")


if __name__ == "__main__":
    main()
