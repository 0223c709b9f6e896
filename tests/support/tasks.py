"""Runs tasks on inputs that are at hand, and divides scores as processes and machines do."""

import json
import pickle
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo_core.engines import EagerEngine
from zoo_core.tasks import Score, Task


def run(task: Task[Any, Any], model: nn.Module, *inputs: Any) -> list[Any]:
    """The results of a batch of inputs."""
    engine = EagerEngine(model, "cpu", task.forward_arguments)
    with torch.inference_mode():
        outputs = task.run(engine, [task.prepare(input) for input in inputs])
        return [task.result(output, input) for output, input in zip(outputs, inputs, strict=True)]


def save(task: Task[Any, Any], input: Any, result: Any, directory: Path, stem: str) -> list[Path]:
    """Writes what is drawn of a result, and what belongs to it."""
    paths = [directory / f"{stem}.png"]
    task.draw(input, result).save(paths[0])
    for ending, write in task.files(result).items():
        paths.append(directory / f"{stem}{ending}")
        write(paths[-1])
    return paths


def check_pickles(task: Task[Any, Any], *inputs: Any) -> None:
    """Worker processes prepare inputs with a copy of the task."""
    again = pickle.loads(pickle.dumps(task))
    assert (again.spec, again.options, again.declaration) == (task.spec, task.options, task.declaration)
    for input in inputs:
        for ours, theirs in zip(task.prepare(input), again.prepare(input), strict=True):
            assert torch.equal(ours, theirs)


def check_score(new_score: Callable[[], Score[Any]], samples: Sequence[tuple[Any, Any]], rounds: int = 12) -> None:
    """Any order of samples, divided in any way and merged in any order, gives the same figures to the last bit."""
    whole = new_score()
    for index, (result, truth) in enumerate(samples):
        whole.update(index, result, truth)
    expected = whole.compute()
    assert len(whole) == len(samples)

    generator = random.Random(0)
    for _ in range(rounds):
        parts = [new_score() for _ in range(generator.randint(1, 5))]
        order = list(range(len(samples)))
        generator.shuffle(order)
        for index in order:
            generator.choice(parts).update(index, *samples[index])
        generator.shuffle(parts)
        merged = new_score()
        for part in parts:
            merged.merge(part)
        assert merged.compute() == expected
        assert len(merged) == len(samples)

    # Contributions that were written to a file and read again add up to the same.
    kept = new_score()
    for index, sample in enumerate(samples):
        kept.add(index, json.loads(json.dumps(kept.contribution(*sample), allow_nan=False)))
    assert kept.compute() == expected
    for wrong in (None, [], {}, "score", 3):
        with pytest.raises(ValueError, match="no contribution"):
            kept.add(len(samples), wrong)
    assert kept.compute() == expected
    kept.merge(new_score())
    assert kept.compute() == expected

    # What was scored already changes nothing, whichever way it comes a second time.
    for again in (lambda: whole.update(0, *samples[0]), lambda: whole.merge(merged)):
        try:
            again()
        except ValueError as error:
            assert "scored" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a sample was scored twice")
    assert whole.compute() == expected


def save_video(task: Task[Any, Any], model: nn.Module, video: Path, directory: Path) -> list[Any]:
    """Runs a task on a video, and writes what is drawn of it. Returns the records of its frames."""
    from zoo_core import predicting

    engine = EagerEngine(model, "cpu", task.forward_arguments)
    sources, problems = predicting.find_sources(task.declaration, [str(video)])
    assert not problems
    with predicting.Saver(directory) as saver:
        outcomes = saver.follow(predicting.run(task, engine, sources))
        return [outcome.record() | {"output": paths} for outcome, paths in outcomes]


def frames_of(video: Path) -> list[Any]:
    """The frames of a video, as PIL images."""
    import av

    with av.open(str(video)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]
