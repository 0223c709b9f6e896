"""The compatibility reference: what the models must be equal to.

`tests/assets/reference` holds the published catalogue, signatures, state-dict manifests and sampled outputs.
"""

import enum
import functools
import gzip
import inspect
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools.reference_values import fill_parameters as fill_parameters
from tools.reference_values import image as image
from tools.reference_values import no_random_init as no_random_init

ASSETS = Path(__file__).parent.parent / "assets" / "reference"


@functools.cache
def catalog() -> dict[str, Any]:
    """The 121 builders by name."""
    return json.loads((ASSETS / "catalog.json").read_text())


def model_names(task: str) -> list[str]:
    return [name for name, entry in catalog().items() if entry["task"] == task]


@functools.cache
def labels() -> dict[str, list[str]]:
    return json.loads((ASSETS / "labels.json").read_text())


def signatures(section: str) -> dict[str, list[list[Any]]]:
    """Public classes and functions -> [parameter, kind, default]."""
    return json.loads((ASSETS / "constructors.json").read_text())[section]


def manifest(name: str, form: str = "default") -> list[tuple[str, str, list[int]]]:
    """The state dict in order: (key, dtype, shape)."""
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
    return json.loads((ASSETS / "golden" / f"{name}.json").read_text())["cases"]


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
