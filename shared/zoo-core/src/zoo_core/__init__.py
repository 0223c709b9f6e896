"""What the packages of the zoo share: weights, the registry of models, preprocessing, images and the ``zoo`` command.

The names below are resolved when they are first used, so that importing this package does not import torch.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.registry import (
        get_model,
        get_model_builder,
        get_model_weights,
        get_weight,
        list_models,
        register_model,
    )
    from zoo_core.weights import Weights, WeightsEnum

__version__ = "0.1.0"

# torch says so where NumPy is not installed, at whatever line first needs to know, and nothing here needs NumPy.
warnings.filterwarnings("ignore", "Failed to initialize NumPy", UserWarning)

_HOMES = {
    "Weights": "weights",
    "WeightsEnum": "weights",
    "get_model": "registry",
    "get_model_builder": "registry",
    "get_model_weights": "registry",
    "get_weight": "registry",
    "list_models": "registry",
    "register_model": "registry",
}
_MODULES = (
    "catalog",
    "checkpoints",
    "declarations",
    "drawing",
    "engines",
    "exporting",
    "features",
    "images",
    "inference",
    "layers",
    "predicting",
    "presets",
    "specs",
    "tasks",
)

__all__ = [
    "Weights",
    "WeightsEnum",
    "get_model",
    "get_model_builder",
    "get_model_weights",
    "get_weight",
    "list_models",
    "register_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
