"""A model's parameters as a checkpoint file that says what it is: what ``zoo convert`` does."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo_core import specs
from zoo_core.specs import ModelSpec
from zoo_core.tasks import task_class
from zoo_core.training import recipes
from zoo_core.training.saving import write_checkpoint

__all__ = ["convert"]


def convert(model: str | os.PathLike[str] | ModelSpec, path: str | os.PathLike[str], **options: Any) -> ModelSpec:
    """Writes the parameters of a model, and what is known of it, as a whole or not at all.

    Args:
        model: its name, a checkpoint, or its spec.
        path: the file. One that ends in ``.safetensors`` is of that format, others of :func:`torch.save`'s.
        **options: of :func:`zoo_core.specs.find`: ``weights``, ``checkpoint``, ``labels``.

    Returns:
        What the file says of itself.

    Raises:
        zoo_core.checkpoints.CheckpointError: the parameters cannot be had, or do not fit the model.
        TypeError: safetensors has no place for one of them (int8 ones).
        OSError: the file cannot be written; one that was there is as it was.
        ValueError: the model is an exported one.
    """
    spec = specs.find(model, **options)
    built = specs.build(spec, train=True)
    # What weights set by themselves, as a checkpoint of a training has it.
    training = task_class(spec.task)(spec).training(recipes.choose(None, spec.task, spec.name))
    written = dataclasses.replace(
        spec, weights=None, file=None, arguments={**spec.arguments, **training.arguments(built)}
    )
    state = built.state_dict()
    for name, value in state.items():
        if isinstance(value, Tensor):
            state[name] = value.contiguous()
    write_checkpoint(Path(path), {"model": state, "spec": written.as_dict()})
    return written
