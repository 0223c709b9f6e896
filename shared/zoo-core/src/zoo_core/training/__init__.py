"""Training: recipes as data, one loop for every task, files from which a run goes on.

``zoo train`` is a thin face over this::

    from zoo_core.training import train

    train("resnet50", "flowers/", recipe="finetune", output="run/")

Reading in this order tells the whole: :mod:`~zoo_core.training.recipes` (what may be set),
:mod:`~zoo_core.training.contract` (what a task brings), :mod:`~zoo_core.training.job` (model, data and classes put
together), :mod:`~zoo_core.training.loop` (the training itself).

The names below are resolved when they are first used: recipes are read without importing torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_core.training.contract import Batch, Training
    from zoo_core.training.job import Job, prepare
    from zoo_core.training.loop import NonFiniteLossError, Outcome, fit, train
    from zoo_core.training.observer import Observer
    from zoo_core.training.recipes import Recipe, RecipeError

_HOMES = {
    "Batch": "contract",
    "Job": "job",
    "NonFiniteLossError": "loop",
    "Observer": "observer",
    "Outcome": "loop",
    "Recipe": "recipes",
    "RecipeError": "recipes",
    "Training": "contract",
    "fit": "loop",
    "prepare": "job",
    "train": "loop",
}

__all__ = [
    "Batch",
    "Job",
    "NonFiniteLossError",
    "Observer",
    "Outcome",
    "Recipe",
    "RecipeError",
    "Training",
    "fit",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
