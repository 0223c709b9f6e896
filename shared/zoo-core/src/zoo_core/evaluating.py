"""How good a model is on a data set.

``zoo evaluate`` is a thin face over this::

    from zoo_core.evaluating import evaluate

    print(evaluate("resnet50", "imagenet/").metrics)  # {"acc@1": ..., "acc@5": ...}
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core import specs
from zoo_core.data import DataError, Dataset, share
from zoo_core.data.ahead import ahead
from zoo_core.engines import Engine, choose_device
from zoo_core.predicting import Failure, Source, load, run
from zoo_core.predicting.sources import inputs
from zoo_core.processes import World, available_processors, gathered, joined
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Score, Task, task_class

__all__ = ["Evaluation", "check", "evaluate", "score_share"]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        metrics: by name, as the task's score has them.
        published: the same as the catalogue has them for these weights; empty unless this is that data set, whole.
        data_set: name of the data set in the catalogue, if it is one of those.
        samples: how many samples the metrics are of.
        bad: for each sample that could not be scored, what is wrong with it.
    """

    metrics: Mapping[str, float]
    published: Mapping[str, float]
    data_set: str | None
    samples: int
    bad: Sequence[str] = field(default=())


def evaluate(
    model: str | os.PathLike[str] | ModelSpec,
    data: str | os.PathLike[str] | Dataset,
    *,
    weights: str | None = None,
    split: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    limit: int | None = None,
    on_progress: Callable[[int, int, Score[Any]], None] | None = None,
) -> Evaluation | None:
    """Runs a model on a data set and compares its results with what is true.

    Under torchrun each process takes a share of the samples, and the first one has the outcome. No sample is padded,
    repeated or left out, and scores add up exactly, so that the figure does not depend on the number of processes.

    Args:
        model: its name, the path of a checkpoint, or its spec; see :func:`zoo_core.specs.find`.
        data: the folder of a data set that the task can read, or an open data set.
        weights: which published weights; by default the best.
        split: which part of the data set; by default ``"val"``, or what the task has in its place.
        annotations: a file of annotations that does not lie where the data set has it.
        options: of the task, by key.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        batch_size: how many inputs run at a time; by default as many as suit the task.
        workers: how many threads read and prepare inputs ahead of the model; by default as many as there are
            processors to use, up to 8.
        limit: take the first so many samples only.
        on_progress: called after each sample of this process with how many are done, how many there are, and the score
            so far.

    Returns:
        What came out; ``None`` in processes that are not the first.

    Raises:
        zoo_core.data.DataError: the data set cannot be used. Single samples at fault are counted in
            :attr:`Evaluation.bad` instead.
        zoo_core.catalog.UnknownModelError, zoo_core.checkpoints.CheckpointError: the model cannot be had.
        ValueError: an option or the device does not suit the task, or no sample could be scored.
    """
    spec = specs.find(model, weights=weights)
    task = task_class(spec.task)(spec, options, scoring=True)
    if isinstance(data, Dataset):
        samples = data
    else:
        samples = task.samples(Path(data), split=split, annotations=None if annotations is None else Path(annotations))
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    count = len(samples) if limit is None else min(limit, len(samples))
    with joined() as world:
        engine = load(task, _device(device, task, world))
        own = score_share(
            task, engine, samples, share(count, world.rank, world.size), batch_size, workers, on_progress=on_progress
        )
        found = gathered(own, world)
    if found is None:
        return None
    score = task.score()
    bad: list[str] = []
    for part, faults in found:
        score.merge(part)
        bad += faults
    if not len(score):
        raise ValueError(f"no sample could be scored; the first of {len(bad)} faults: {bad[0]}")
    whole = count == len(samples) and not bad
    published = spec.facts.get("metrics", {}).get(samples.published_as, {}) if whole else {}
    return Evaluation(score.compute(), published, samples.published_as, len(score), tuple(bad))


def score_share(
    task: Task[Any, Any],
    engine: Engine,
    samples: Dataset,
    places: Sequence[int],
    batch_size: int | None = None,
    workers: int | None = None,
    *,
    on_progress: Callable[[int, int, Score[Any]], None] | None = None,
) -> tuple[Score[Any], list[str]]:
    """Scores some samples of a data set, those of one process for instance.

    Args:
        task: made for scoring.
        engine: what runs the model.
        samples: the data set.
        places: of the samples to take.
        batch_size, workers, on_progress: see :func:`evaluate`.

    Returns:
        The score; and, for each sample that could not be scored, what is wrong with it.
    """
    score = task.score()
    bad: list[str] = []
    truths: dict[str, Any] = {}

    def sources() -> Iterator[Source]:
        for place in places:
            try:
                sample = samples.sample(place)
            except DataError as error:
                bad.append(str(error))
                continue
            truths[str(place)] = sample.truth
            yield Source(sample.files, False, str(place))

    for outcome in run(task, engine, sources(), batch_size, workers=default_workers() if workers is None else workers):
        assert outcome.source is not None
        truth = truths.pop(outcome.source.stem)
        if isinstance(outcome, Failure):
            bad.append(outcome.message)
        else:
            try:
                score.update(int(outcome.source.stem), outcome.result, truth)
            except ValueError as error:
                bad.append(f"{outcome.source}: {error}")
        if on_progress is not None:
            on_progress(len(score) + len(bad), len(places), score)
    return score, bad


def default_workers() -> int:
    """How many threads prepare inputs where nobody says: as many as there are processors to use, up to 8."""
    return min(available_processors(), 8)


def _device(name: str, task: Task[Any, Any], among: World) -> Any:
    """The device of one process: of several on a machine with GPUs, each has its own."""
    device = choose_device(name, task.declaration.devices)
    if name == "auto" and device.type == "cuda" and among.size > 1:
        import torch

        return torch.device("cuda", among.local_rank % torch.cuda.device_count())
    return device


def check(task: Task[Any, Any], samples: Dataset, workers: int | None = None) -> Iterator[list[str]]:
    """Reads every sample of a data set, its truth and its input, without running a model.

    Args:
        task: what inputs mean.
        samples: the data set.
        workers: how many threads read.

    Yields:
        For each sample, what is wrong with it: nothing as a rule.
    """

    def faults(place: int) -> list[str]:
        found: list[str] = []
        try:
            files = samples.sample(place).files
            for input in inputs(task, Source(files, False, "")):
                for _ in task.prepare(input):
                    pass
        except DataError as error:
            found += [str(fault) for fault in error.faults]
        except (ValueError, OSError) as error:
            found.append(str(error))
        return found

    for _, found in ahead(faults, range(len(samples)), default_workers() if workers is None else workers):
        yield found()
