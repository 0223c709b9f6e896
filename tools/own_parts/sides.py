"""The modules of both sides by the same names."""

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from tools import oracle

# The modules of one side by their names.
Family = Callable[[str], Any]
# A name, how a model is made of the modules of one side, and the shape of its input.
Case = tuple[str, Callable[[Family], nn.Module], tuple[int, ...]]


def ours(family: str) -> Any:
    """A module of ours: ``classification.resnet``."""
    return importlib.import_module("zoo_core.layers" if family == "ops.misc" else f"zoo_{family}")


def theirs(family: str) -> Any:
    """The module of torchvision of that name."""
    oracle.torchvision()
    family = family.removeprefix("classification.").replace("quantized.", "quantization.")
    return importlib.import_module(f"torchvision.{'' if family.startswith('ops.') else 'models.'}{family}")
