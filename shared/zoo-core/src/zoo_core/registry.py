"""Models by name: what there is, and how to build it."""

import inspect
import os
from typing import Any

from torch import nn

from zoo_core.registration import (
    Builder,
    get_model_builder,
    get_model_weights,
    get_weight,
    list_models,
    register_model,
    takes_old_calls,
    weights_enums,
)

__all__ = [
    "Builder",
    "get_model",
    "get_model_builder",
    "get_model_weights",
    "get_weight",
    "list_models",
    "register_model",
    "takes_old_calls",
    "weights_enums",
]


def get_model(name: str | None = None, *, checkpoint: str | os.PathLike[str] | None = None, **config: Any) -> nn.Module:
    """Builds a model: ``get_model("resnet50", weights="DEFAULT")`` is ``resnet50(weights="DEFAULT")``.

    Args:
        name: name of the model, as :func:`list_models` gives it. A checkpoint that says what it is needs none.
        checkpoint: a file with parameters of your own, ``get_model("resnet50", checkpoint="mine.pth")``; see
            :func:`zoo_core.specs.find` for what it may be. The number of classes is read off it, and nothing in it is
            executed.
        **config: arguments of its builder.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has the model, or it has no weights of that name.
        zoo_core.checkpoints.CheckpointError: the weights or the checkpoint cannot be had, or do not fit the model; the
            message names the first differences, and the models that the file is like.
        ValueError, TypeError: the builder does not take an argument, or both weights and a checkpoint are given.
    """
    if checkpoint is None:
        if name is None:
            raise TypeError("get_model() needs the name of a model, or a checkpoint that says what it is")
        return get_model_builder(name)(**config)
    from zoo_core import specs  # every package imports this module for its builders, few need specs then

    progress = config.pop("progress", True)
    weights = config.pop("weights", None)
    spec = specs.find(name, weights=weights, checkpoint=checkpoint, arguments=config)
    return specs.build(spec, train=True, progress=progress)


# Code that looks at the signature finds torchvision's, of which both additions are calls.
get_model.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("name", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str),
        inspect.Parameter("config", inspect.Parameter.VAR_KEYWORD, annotation=Any),
    ],
    return_annotation=nn.Module,
)
