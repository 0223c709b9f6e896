"""Holds a package to what `torchvision.models` and `.ops` offer, as `tools/torchvision_names.py` recorded it."""

import contextlib
import functools
import importlib
import inspect
import json
import re
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import pytest

from support.reference import ASSETS
from tools.torchvision_names import AskedError
from zoo_core.weights import WeightsEnum


@functools.cache
def recorded() -> dict[str, Any]:
    return json.loads((ASSETS / "torchvision_models.json").read_text())


def _modules(theirs: str) -> Iterator[tuple[str, str]]:
    """The modules of a package of torchvision, and the parts of their names below it."""
    others = [name for name in recorded()["names"] if name.startswith(f"{theirs}.") and _is_package(name)]
    for name in recorded()["names"]:
        if name == theirs or (name.startswith(f"{theirs}.") and not name.startswith(tuple(others))):
            yield name, name.removeprefix(theirs)


def _is_package(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in recorded()["names"])


def assert_names(theirs: str, ours: str, left_out: Mapping[str, str]) -> None:
    """Every public name is in the module of the same name.

    Args:
        theirs: package of torchvision, `torchvision.models.detection`.
        ours: the package that takes its place, `zoo_detection`.
        left_out: `module.name`, or `module` for all of it, below the package -> why it is not there. What is there may
            not be in this table.
    """
    missing = set()
    for module, below in _modules(theirs):
        try:
            counterpart = importlib.import_module(f"{ours}{below}")
        except ModuleNotFoundError:
            missing.add(below[1:])
            continue
        missing |= {f"{below}.{name}"[1:] for name in recorded()["names"][module] if not hasattr(counterpart, name)}
    assert missing == left_out.keys()
    assert all(left_out.values())


def assert_calls(theirs: str, ours: str, left_out: Mapping[str, str]) -> None:
    """Every call of a function, class or method that torchvision's takes, ours takes: by position and by name.

    Args:
        theirs, ours: see :func:`assert_names`.
        left_out: `module.function`, `module.Class` or `module.Class.method` -> why it is called otherwise, or is not
            there. What takes every call may not be in this table.
    """
    otherwise = set()
    for module, below in _modules(theirs):
        try:
            counterpart = importlib.import_module(f"{ours}{below}")
        except ModuleNotFoundError:
            continue
        for name, parameters in recorded()["calls"].get(module, {}).items():
            first, _, method = name.partition(".")
            if not hasattr(counterpart, first):
                continue
            function = getattr(counterpart, first)
            if method:
                # Without the module itself.
                function = functools.partial(getattr(function, method), None) if hasattr(function, method) else None
            if function is None or not _takes(inspect.signature(function), parameters):
                otherwise.add(f"{below}.{name}"[1:])
    assert otherwise == left_out.keys(), sorted(otherwise ^ left_out.keys())
    assert all(left_out.values())


def _takes(signature: inspect.Signature, parameters: list[list[Any]]) -> bool:
    """Whether every call that parameters of theirs allow fits a signature."""
    ours = list(signature.parameters.values())
    rest = {p.kind for p in ours} & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    by_name = {p.name: p for p in ours}
    for place, (name, kind, optional) in enumerate(parameters):
        if kind.startswith("VAR_"):
            fits = getattr(inspect.Parameter, kind) in rest
        elif name not in by_name:
            fits = inspect.Parameter.VAR_KEYWORD in rest and (kind == "KEYWORD_ONLY" or optional)
        else:
            own = by_name[name]
            in_place = kind == "KEYWORD_ONLY" or (ours.index(own) == place and own.kind.name == kind)
            fits = in_place and not (optional and own.default is own.empty)
        if not fits:
            return False
    known = {name for name, _, _ in parameters}
    return all(p.default is not p.empty or p.kind.name.startswith("VAR_") or p.name in known for p in ours)


def assert_enums(theirs: str, ours: str) -> None:
    """Every enum of weights has the members of torchvision's, in their order, with the same keys in `meta`.

    `_docs` is prose, which ours has where there is something to say; `categories` is there for all models, and of
    videos ours says more.
    """
    below = dict(_modules(theirs))
    enums = {name: entry for name, entry in recorded()["enums"].items() if entry["module"] in below}
    assert enums
    for name, entry in enums.items():
        enum = getattr(importlib.import_module(f"{ours}{below[entry['module']]}"), name)
        assert issubclass(enum, WeightsEnum)
        assert getattr(importlib.import_module(ours), name) is enum
        members = [alias if alias == m.name else f"{alias} = {m.name}" for alias, m in enum.__members__.items()]
        assert [member for member in members if member in entry["members"]] == entry["members"], name
        for member, keys in entry["meta"].items():
            ours_, theirs_ = set(enum[member].meta) - {"_docs"}, set(recorded()["keys"][keys]) - {"_docs"}
            assert theirs_ <= ours_, f"{name}.{member}"
            assert ours_ - theirs_ <= {"categories", "clip_length", "clips_per_video", "frame_rate"}, f"{name}.{member}"


@contextlib.contextmanager
def asks_for(file: str) -> Iterator[None]:
    """What runs in the ``with`` block is to load a published file, and stops there."""

    def ask(url: str, *args: Any, **kwargs: Any) -> None:
        raise AskedError(url.rpartition("/")[2])

    with (
        mock.patch("zoo_core.checkpoints.get_state_dict", ask),
        pytest.raises(AskedError, match=f"^{re.escape(file)}$"),
    ):
        yield


def assert_old_calls(names: Mapping[str, Any], refused: Mapping[str, str] = types.MappingProxyType({})) -> None:
    """Each builder takes `pretrained=True` and the like, warns, and loads the file that it loads in torchvision.

    Args:
        names: builders by their names in the registry.
        refused: those that torchvision refuses, and what ours load.
    """
    for name, builder in names.items():
        for call, file in recorded()["old_calls"][name].items():
            assert file.endswith(".pth") != (name in refused), file
            kwargs = dict.fromkeys([argument.partition("=")[0] for argument in call.split(", ")], True)
            with asks_for(refused.get(name, file)), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                builder(**kwargs)
            said = [w for w in caught if "is deprecated; write weights" in str(w.message)]
            assert [(w.category, w.filename) for w in said] == [(UserWarning, __file__)], f"{name}({call})"
