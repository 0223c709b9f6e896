"""The compatibility reference: what the models that torchvision has must be equal to.

`tests/assets/reference` holds the published catalogue, signatures, state-dict manifests and sampled outputs. Models of
the zoo's own (``torchvision = false`` in their catalogues) are not in it: what holds of any builder takes
:func:`builder_names`, what holds of those that torchvision has :func:`model_names`.
"""

import enum
import functools
import gzip
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo_core
import zoo_core.catalog
from tools.reference_values import arguments as arguments
from tools.reference_values import fill_parameters as fill_parameters
from tools.reference_values import image as image
from tools.reference_values import no_random_init as no_random_init
from tools.reference_values import noise as noise

ASSETS = Path(__file__).parent.parent / "assets" / "reference"
# Of the zoo's own models: outputs of another implementation, and the state dict as it was first published.
ASSETS_OF_OWN = ASSETS.parent / "own"


@functools.cache
def catalog() -> dict[str, Any]:
    """The 121 builders of torchvision by name."""
    return json.loads((ASSETS / "catalog.json").read_text())


def model_names(task: str) -> list[str]:
    """The builders of a task that torchvision has."""
    return [name for name, entry in catalog().items() if entry["task"] == task]


def own_names(task: str | None = None) -> list[str]:
    """The builders of a task, or of all, that are the zoo's own. They are known where their package is installed."""
    models = zoo_core.catalog.models().values()
    return [m.name for m in models if m.source.ours and not m.torchvision and task in (None, m.task)]


def builder_names(task: str) -> list[str]:
    """All builders of a task."""
    return [*model_names(task), *own_names(task)]


@functools.cache
def labels() -> dict[str, list[str]]:
    return json.loads((ASSETS / "labels.json").read_text())


def signatures(section: str) -> dict[str, list[list[Any]]]:
    """Public classes and functions -> [parameter, kind, default]."""
    return json.loads((ASSETS / "constructors.json").read_text())[section]


def manifest(name: str, form: str = "default") -> list[tuple[str, str, list[int]]]:
    """The state dict in order: (key, dtype, shape)."""
    if name not in catalog():
        return [(key, dtype, shape) for key, dtype, shape in _own(name)["state_dict"]]
    with gzip.open(ASSETS / "state_dicts" / f"{name}.json.gz", "rt") as file:
        return [(key, dtype, shape) for key, dtype, shape in json.load(file)[form]]


def manifest_forms(name: str) -> list[str]:
    """The forms of a model whose state dicts are known."""
    with gzip.open(ASSETS / "state_dicts" / f"{name}.json.gz", "rt") as file:
        return list(json.load(file))


def manifest_of(model: nn.Module) -> list[tuple[str, str, list[int]]]:
    return [(k, str(v.dtype).removeprefix("torch."), list(v.shape)) for k, v in model.state_dict().items()]


def golden(name: str) -> dict[str, Any]:
    """Sampled outputs: case -> output -> summary."""
    if name not in catalog():
        return _own(name)["cases"]
    return json.loads((ASSETS / "golden" / f"{name}.json").read_text())["cases"]


def _own(name: str) -> dict[str, Any]:
    return json.loads((ASSETS_OF_OWN / f"{name}.json").read_text())


def assert_matches(output: Tensor, summary: dict[str, Any], tolerance: float = 1e-4) -> None:
    """Compares an output with a sampled one of the reference."""
    assert list(output.shape) == summary["shape"]
    assert str(output.dtype).removeprefix("torch.") == summary["dtype"]
    sampled = output.detach().double().flatten()[torch.tensor(summary["index"])]
    expected = torch.tensor(summary["value"], dtype=torch.float64)
    error = (sampled - expected).abs().max().item()
    assert error <= tolerance * summary["absmax"], f"largest difference {error}, absmax {summary['absmax']}"


def assert_signature(function: Any, expected: list[list[Any]]) -> None:
    """Compares a function's or class's parameters with names, kinds and defaults of the reference.

    The reference writes a default that is a class or an enum member by its name.
    """
    parameters = [p for name, p in inspect.signature(function).parameters.items() if name != "self"]
    ours = [(p.name, p.kind.name, _plain(p.default)) for p in parameters]
    assert ours == [(name, kind, default) for name, kind, default in expected]


def assert_arguments_described(function: Any) -> None:
    """Every parameter has an entry in the docstring, be it one for several of them: `weights, progress: see ...`."""
    entries = re.findall(r"^ +([\w*]+(?:, [\w*]+)*): ", inspect.getdoc(function) or "", re.MULTILINE)
    described = {name.lstrip("*") for entry in entries for name in entry.split(", ")}
    assert set(inspect.signature(function).parameters) <= described


def assert_builder(name: str, package: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Compares a builder, and what all tasks say of its weights, with the catalogue of the reference.

    Returns:
        Each published member of its enum, and what the reference knows of it.
    """
    expected = catalog()[name]
    function = zoo_core.get_model_builder(name)
    assert function.__name__ == expected["function"]
    assert function.__module__ == f"{package.__name__}.{expected['family']}"
    assert_signature(function, expected["signature"])
    assert "https://" in (inspect.getdoc(function) or ""), "a builder names its paper"
    assert_arguments_described(function)

    weights = zoo_core.get_model_weights(name)
    assert weights.__name__ == expected["weights_enum"]
    assert getattr(package, function.__name__) is function
    assert getattr(package, weights.__name__) is weights
    assert expected["default"] == weights["DEFAULT"].name
    published = [member for member in weights if not member.url.startswith("package:")]
    assert [member.name for member in published] == list(expected["weights"])
    for member in published:
        facts = expected["weights"][member.name]
        assert (member.url, member.sha256_prefix) == (facts["url"], facts["sha256_prefix"])
        assert member.meta["min_size"] == tuple(facts["min_size"])
        for key in ("num_params", "recipe"):
            assert member.meta[key] == facts[key]
        for key in ("ops", "file_size"):
            assert member.meta[f"_{key}"] == facts[key]
        ours = member.meta["_metrics"]
        # JSON has no NaN.
        named = {d: {k: None if math.isnan(v) else v for k, v in values.items()} for d, values in ours.items()}
        assert named == facts["metrics"]
    return [(member, expected["weights"][member.name]) for member in published]


def has_initialisation(name: str) -> bool:
    return (ASSETS / "initialisation" / f"{name}.json.gz").exists()


def assert_initialised(model: nn.Module, name: str) -> None:
    """Fresh parameters are distributed as the reference's, as far as one draw of each tells."""
    with gzip.open(ASSETS / "initialisation" / f"{name}.json.gz", "rt") as file:
        expected = json.load(file)
    state = model.state_dict()
    assert {key for key, tensor in state.items() if tensor.is_floating_point()} == set(expected)
    for key, value in expected.items():
        tensor = state[key]
        if isinstance(value, float):
            assert bool((tensor == value).all()), f"{key} should be {value} throughout"
            continue
        mean, std, largest = value
        count = tensor.numel()
        if count < 1000:
            assert float(tensor.std()) > 0, key
            continue
        # Both are estimates from `count` draws.
        noise = 5 / math.sqrt(count)
        assert float(tensor.std()) == pytest.approx(std, rel=max(0.03, noise)), key
        assert float(tensor.mean()) == pytest.approx(mean, abs=2 * noise * std), key
        # Tells uniform (1.7), truncated normal (2.0 or so) and normal distributions (over 4) from each other.
        spread = min(4.0, float(tensor.abs().max()) / float(tensor.std()))
        assert spread == pytest.approx(min(4.0, largest / std), rel=0.25 if count >= 20_000 else 0.45), key


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return "<required>"
    if isinstance(default, tuple | list):
        return [_plain(item) for item in default]
    if isinstance(default, type):
        return default.__name__
    if default is None or isinstance(default, bool | int | float | str):
        return default
    return str(default) if isinstance(default, enum.Enum) else getattr(default, "__name__", type(default).__name__)
