"""Runs a model on many files, so that one that fails does not stop the others."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo_core.catalog import Checkpoint, Model
from zoo_core.inference import optimize_for_inference
from zoo_core.registry import get_model_weights
from zoo_core.tasks import Task

# What inputs that cannot be read, or do not suit the model, raise.
_INPUT_ERRORS = (OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Prediction:
    """What the model made of one input.

    Args:
        group: position of the files that the input came from, among all groups.
        index: which of the inputs in these files it is, from 0 on.
        input, result: the task's own.
    """

    group: int
    index: int
    input: Any
    result: Any


@dataclass(frozen=True)
class Failure:
    """A group of files that could not be read, or that the model does not take. The message names the file."""

    group: int
    message: str


def choose_device(name: str, task: type[Task[Any, Any]]) -> torch.device:
    """The device that a user's word means for a task: ``"auto"`` is a CUDA GPU where there is one, or else the CPU.

    Raises:
        ValueError: there is no such device here, or the task's models do not run on it.
    """
    supported = task.device_types
    if name == "auto":
        has_cuda = torch.cuda.is_available() and (supported is None or "cuda" in supported)
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:
        # A build of torch without CUDA raises AssertionError, others RuntimeError.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"the device {name!r} cannot be used here ({reason}); --device cpu always can") from error
    if supported is not None and device.type not in supported:
        raise ValueError(f"these models run on {' or '.join(sorted(supported))} only, not on {name}")
    return device


def load(
    model: Model, checkpoint: Checkpoint, task: type[Task[Any, Any]], device: torch.device, options: dict[str, Any]
) -> Task[Any, Any]:
    """Builds the model with a checkpoint, and what shows its results."""
    weights = get_model_weights(model.name)[checkpoint.name]
    return task(optimize_for_inference(task.build(model.name, weights)).to(device), weights, device, options)


def predictions(
    task: Task[Any, Any], groups: Sequence[tuple[Path, ...]], batch_size: int
) -> Iterator[Prediction | Failure]:
    """Reads and runs the inputs of all groups of files, in batches. Results come in the order of the files."""
    batch: list[_Item] = []
    for group, paths in enumerate(groups):
        inputs = task.inputs(paths)
        for index in itertools.count():
            try:
                batch.append(_Item(group, index, next(inputs)))
            except StopIteration:
                break
            except _INPUT_ERRORS as error:
                yield from _run(task, groups, batch)
                batch = []
                yield Failure(group, _explain(paths, error))
                break
            if len(batch) >= batch_size:
                yield from _run(task, groups, batch)
                batch = []
    yield from _run(task, groups, batch)


@dataclass(frozen=True)
class _Item:
    group: int
    index: int
    input: Any


def _run(
    task: Task[Any, Any], groups: Sequence[tuple[Path, ...]], batch: Sequence[_Item]
) -> Iterator[Prediction | Failure]:
    if not batch:
        return
    try:
        with torch.inference_mode():
            results = task.run([item.input for item in batch])
    except _INPUT_ERRORS as error:
        if len(batch) == 1:
            yield Failure(batch[0].group, _explain(groups[batch[0].group], error))
            return
        # One of them is at fault, or all are too much at a time.
        for item in batch:
            yield from _run(task, groups, [item])
        return
    for item, result in zip(batch, results, strict=True):
        yield Prediction(item.group, item.index, item.input, result)


def _explain(paths: tuple[Path, ...], error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    named = any(str(path) in text for path in paths)
    return text if named else f"{' and '.join(map(str, paths))}: {text}"
