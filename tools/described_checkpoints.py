"""Checkpoints that say what they are, as ``zoo train`` writes them, for tests, benchmarks and examples."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_core import specs


def save(path: Path, model: nn.Module, spec: specs.ModelSpec) -> Path:
    """Writes the parameters of a model and what describes it, and returns the path."""
    torch.save({"model": model.state_dict(), "spec": spec.as_dict()}, path)
    return path


def save_fresh(path: Path, name: str, **fields: Any) -> Path:
    """Writes a checkpoint of a model with fresh parameters, the same each time.

    Args:
        path: where it goes.
        name: of the model.
        **fields: of the spec, to replace those of the model's default weights.
    """
    spec = dataclasses.replace(specs.find(name), **{"weights": None, "file": None, "facts": {}, **fields})
    torch.manual_seed(0)
    return save(path, specs.build(spec), spec)
