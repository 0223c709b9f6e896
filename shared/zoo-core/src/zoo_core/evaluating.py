"""How good a model is on a data set.

``zoo evaluate`` is a thin face over this::

    from zoo_core.evaluating import evaluate

    print(evaluate("resnet50", "imagenet/").metrics)  # {"acc@1": ..., "acc@5": ...}
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core import specs
from zoo_core.data import DataError, Dataset, share
from zoo_core.data.ahead import ahead
from zoo_core.engines import Engine, choose_device, device_name
from zoo_core.kept_results import KeptResults
from zoo_core.predicting import Failure, Source, default_workers, load, run
from zoo_core.predicting.sources import inputs
from zoo_core.processes import World, agreed, gathered, joined
from zoo_core.runtimes import depends_on
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Sample, Score, Task, task_class

__all__ = ["Evaluation", "check", "evaluate", "merged", "open_data", "score_share"]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        metrics: by name, as the task's score has them.
        published: the same as the catalogue has them for these weights; empty unless this is that data set, whole.
        data_set: name of the data set in the catalogue, if it is one of those.
        samples: how many samples the metrics are of.
        bad: for each sample that could not be scored, what is wrong with it.
        options: the value of each of the task's options.
    """

    metrics: Mapping[str, float]
    published: Mapping[str, float]
    data_set: str | None
    samples: int
    bad: Sequence[str] = field(default=())
    options: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    model: str | os.PathLike[str] | ModelSpec,
    data: str | os.PathLike[str] | Dataset,
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    split: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    engine: str | None = None,
    precision: str = "fp32",
    tell: Callable[[str], None] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    results: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_progress: Callable[[int, int, Score[Any]], None] | None = None,
) -> Evaluation | None:
    """Runs a model on a data set and compares its results with what is true.

    Under torchrun each process takes a share of the samples, and the first one has the outcome. No sample is padded,
    repeated or left out, batches hold the same samples whichever process runs them, and scores add up exactly, so that
    the figure does not depend on the number of processes.

    Args:
        model: its name, the path of a checkpoint, or its spec; see :func:`zoo_core.specs.find`.
        data: the folder of a data set that the task can read, or an open data set.
        weights: which published weights; by default the best.
        checkpoint, labels: parameters of your own for the model that is named, and the names of its classes.
        split: which part of the data set; by default ``"val"``, or what the task has in its place.
        annotations: a file of annotations that does not lie where the data set has it.
        options: of the task, by key. What is left out has the value with which figures on this data set and of these
            weights are published.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        engine, precision, tell: what runs the model, see :func:`zoo_core.engines.compile_for`.
        batch_size: how many inputs run at a time; by default as many as suit the task.
        workers: how many threads read and prepare inputs ahead of the model; by default as many as there are
            processors to use, up to 8.
        limit: take the first so many samples only.
        skip_bad: count the samples that a list names and that are not there, instead of an error.
        results: a file for the result of each sample, as it comes; see :mod:`zoo_core.kept_results`. Of several
            processes each has a part beside it, and the first one puts them together in the end.
        resume: go on with that file and its parts, as far as they got; the number of processes may be another.
        on_progress: called after each sample of this process with how many are done, how many there are, and the score
            so far.

    Returns:
        What came out; ``None`` in processes that are not the first.

    Raises:
        zoo_core.data.DataError: the data set cannot be used. Single samples at fault are counted in
            ``Evaluation.bad`` instead.
        zoo_core.catalog.UnknownModelError, zoo_core.checkpoints.CheckpointError: the model cannot be had.
        zoo_core.predicting.results.ResultFileError: the file of results is there already, or belongs to another run.
        zoo_core.processes.FailedElsewhereError: another process has failed, and says why.
        ValueError: an option or the device does not suit the task, or no sample could be scored.
    """
    spec = specs.find(model, weights=weights, checkpoint=checkpoint, labels=labels)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    if resume and results is None:
        raise ValueError("resume goes on with a file of results, so name it")
    with joined() as world:
        task, samples, faults = agreed(
            lambda: open_data(spec, data, split=split, annotations=annotations, options=options, skip_bad=skip_bad),
            world,
        )
        count = len(samples) if limit is None else min(limit, len(samples))
        size = batch_size or task.declaration.batch_size

        def loaded() -> Engine:
            place = choose_device(device_name(device, engine), task.declaration.devices, local_rank=world.gpu_rank)
            return load(task, place, engine=engine, precision=precision, tell=tell)

        if results is None:
            places = share(count, world.rank, world.size, size)
            own = _scored(task, samples, places, world, loaded, size, workers, on_progress, None)
            found = gathered(own, world)
        else:
            path = Path(results)
            given = depends_on(engine, precision)
            there = agreed(
                lambda: KeptResults.find(path, task, samples, count, size, world, resume=resume, given=given), world
            )
            with agreed(there.opened, world) as kept:
                own = _scored(task, samples, kept.places, world, loaded, size, workers, on_progress, kept)
                kept.finish()
                found = gathered(own, world)
                if found is not None:
                    kept.put_together()
    if found is None:
        return None
    score, bad = merged(task, found, [str(fault) for fault in faults])
    whole = count == len(samples) and not bad
    published = spec.facts.get("metrics", {}).get(samples.published_as, {}) if whole else {}
    return Evaluation(score.compute(), published, samples.published_as, len(score), tuple(bad), task.options)


def open_data(
    spec: ModelSpec,
    data: str | os.PathLike[str] | Dataset,
    *,
    split: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
) -> tuple[Task[Any, Any], Dataset, Sequence[Any]]:
    """The task of a model, made for scoring, and a data set of it.

    Args:
        spec: the model.
        data, split, annotations, options, skip_bad: see :func:`evaluate`.

    Returns:
        The task, the data set, and what is wrong with samples that it was opened without.

    Raises:
        zoo_core.data.DataError: the data set cannot be used.
        ValueError: an option does not suit the task.
    """
    task = task_class(spec.task)(spec, options, scoring=True)
    faults: Sequence[Any] = ()
    try:
        if isinstance(data, Dataset):
            samples = data
        else:
            file = None if annotations is None else Path(annotations)
            samples = task.samples(Path(data), split=split, annotations=file)
    except DataError as error:
        if not skip_bad or error.rest is None:
            raise
        samples, faults = error.rest, error.faults
    if samples.options:
        task = type(task)(spec, {**samples.options, **(options or {})}, scoring=True)
    return task, samples, faults


def _scored(
    task: Task[Any, Any],
    samples: Dataset,
    places: Sequence[int],
    world: World,
    loaded: Callable[[], Engine],
    batch_size: int,
    workers: int | None,
    on_progress: Callable[[int, int, Score[Any]], None] | None,
    kept: KeptResults | None,
) -> tuple[Score[Any], list[str]]:
    """What one process contributes: the score, and the faults."""

    def prepared() -> tuple[tuple[Score[Any], list[str]], Engine | None]:
        before = (task.score(), []) if kept is None else kept.restored()
        return before, loaded() if places else None

    before, engine = agreed(prepared, world)
    if engine is None:
        return before
    return score_share(
        task, engine, samples, places, batch_size, workers, on_progress=on_progress, kept=kept, onto=before
    )


def score_share(
    task: Task[Any, Any],
    engine: Engine,
    samples: Dataset,
    places: Sequence[int],
    batch_size: int | None = None,
    workers: int | None = None,
    *,
    on_progress: Callable[[int, int, Score[Any]], None] | None = None,
    kept: KeptResults | None = None,
    onto: tuple[Score[Any], list[str]] | None = None,
    call: Callable[[Sequence[Sample], Mapping[int, Any]], list[Any]] | None = None,
) -> tuple[Score[Any], list[str]]:
    """Scores some samples of a data set, those of one process for instance.

    Args:
        task: made for scoring.
        engine: what runs the model.
        samples: the data set.
        places: of the samples to take, in ascending order; see :func:`zoo_core.data.share`, with its ``batch_size``.
        batch_size, workers, on_progress: see :func:`evaluate`.
        kept: where results are kept.
        onto: a score and a list of faults to go on with.
        call: gives the outputs of a batch's samples, of which it gets the truths too, by their places and in the same
            order; in the place of ``task.run``.

    Returns:
        The score; and, for each sample that could not be scored, what is wrong with it.
    """
    score, bad = (task.score(), []) if onto is None else onto
    size = batch_size or task.declaration.batch_size
    wanted = frozenset(places)
    taken = places if kept is None else _in_whole_batches(places, size, kept.count)
    truths: dict[int, Any] = {}
    without_truth: deque[tuple[int, str]] = deque()
    done = 0

    def sources() -> Iterator[Source]:
        for place in taken:
            try:
                sample = samples.sample(place)
            except DataError as error:
                without_truth.append((place, str(error)))
                continue
            truths[place] = sample.truth
            yield Source(sample.files, False, str(place))

    def settle(place: int, files: Mapping[str, Any], record: Mapping[str, Any], problem: str | None) -> None:
        nonlocal done
        if place not in wanted:  # it was there already, and ran again for the sake of its batch
            return
        done += 1
        if problem is not None:
            bad.append(problem)
            record = {**files, "error": problem}
        if kept is not None:
            kept.write(place, record)
        if on_progress is not None:
            on_progress(done, len(places), score)

    def settle_without_truth(before: int) -> None:
        # Truths are read ahead of the model; results are kept in the order of the samples.
        while without_truth and without_truth[0][0] < before:
            place, problem = without_truth.popleft()
            settle(place, {"file": samples.name(place)} if kept is not None else {}, {}, problem)

    def outputs(batch: Sequence[Sample], sources: Sequence[Source]) -> list[Any]:
        if call is None:
            return task.run(engine, batch)
        return call(batch, {int(source.stem): truths[int(source.stem)] for source in sources})

    threads = default_workers() if workers is None else workers
    outcomes = run(
        task,
        engine,
        sources(),
        size,
        workers=threads,
        together=lambda source: int(source.stem) // size,
        keep_inputs=False,
        call=outputs,
    )
    for outcome in outcomes:
        assert outcome.source is not None
        place = int(outcome.source.stem)
        settle_without_truth(place)
        truth = truths.pop(place)
        if place not in wanted:
            continue
        if isinstance(outcome, Failure):
            settle(place, outcome.record(), {}, outcome.message)
            continue
        record: Mapping[str, Any] = {}
        problem = None
        try:
            task.check_truth(outcome.input, truth)
            if kept is None:
                score.update(place, outcome.result, truth)
            else:
                contribution = score.contribution(outcome.result, truth)
                score.add(place, contribution)
                record = outcome.record() | {"score": contribution}
        except ValueError as error:
            problem = f"{outcome.source}: {error}"
        settle(place, Failure(outcome.source, None, "").record(), record, problem)
    settle_without_truth(len(samples))
    return score, bad


def _in_whole_batches(places: Sequence[int], batch_size: int, count: int) -> list[int]:
    """The places, and what else is in their batches: outputs may depend in the last bit on what runs beside."""
    batches = dict.fromkeys(place // batch_size for place in places)
    return [place for batch in batches for place in range(batch * batch_size, min((batch + 1) * batch_size, count))]


def merged(
    task: Task[Any, Any], parts: Iterable[tuple[Score[Any], list[str]]], faults: Sequence[str] = ()
) -> tuple[Score[Any], list[str]]:
    """What all processes have found, of what :func:`score_share` gave in each of them.

    Args:
        task: made for scoring.
        parts: a score and a list of faults of each process.
        faults: what else is wrong with samples.

    Raises:
        ValueError: no sample could be scored.
    """
    score, bad = task.score(), list(faults)
    for part, problems in parts:
        score.merge(part)
        bad += problems
    if not len(score):
        raise ValueError(f"no sample could be scored; the first of {len(bad)} faults: {bad[0]}")
    return score, bad


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
        named = ""
        try:
            sample = samples.sample(place)
            named = " and ".join(map(str, sample.files))
            for input in inputs(task, Source(sample.files, False, "")):
                for _ in task.prepare(input):
                    pass
                task.check_truth(input, sample.truth)
        except DataError as error:
            found += [str(fault) for fault in error.faults]
        except (ValueError, OSError) as error:
            text = str(error)
            found.append(text if any(str(file) in text for file in sample.files) else f"{named}: {text}")
        return found

    for _, found in ahead(faults, range(len(samples)), default_workers() if workers is None else workers):
        yield found()
