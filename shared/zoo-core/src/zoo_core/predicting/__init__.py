"""What a model sees in files.

``zoo predict`` and ``zoo demo`` are thin faces over this::

    from zoo_core.predicting import predict

    for found in predict("resnet50", ["photo.jpg", "holiday/"], options={"topk": 3}):
        print(found.source, found.describe())
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from zoo_core import specs
from zoo_core.engines import EagerEngine, Engine, choose_device, device_name
from zoo_core.engines.exported import open_exported
from zoo_core.predicting.failures import Failure
from zoo_core.predicting.files import find_files, make_output_directory
from zoo_core.predicting.loop import Prediction, run
from zoo_core.predicting.saving import Saver
from zoo_core.predicting.shards import Share
from zoo_core.predicting.sources import NothingFoundError, Source, Sources, estimate, find_sources
from zoo_core.predicting.videos import Moment, until_interrupted
from zoo_core.processes import available_processors
from zoo_core.sampling import Sampling
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Task, task_class

__all__ = [
    "Failure",
    "Moment",
    "NothingFoundError",
    "Prediction",
    "Sampling",
    "Saver",
    "Share",
    "Source",
    "Sources",
    "default_workers",
    "estimate",
    "find_files",
    "find_sources",
    "load",
    "make_output_directory",
    "predict",
    "run",
    "until_interrupted",
    "with_problems",
]


def predict(
    model: str | os.PathLike[str] | ModelSpec | None,
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    engine: str | None = None,
    precision: str = "fp32",
    batch_size: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[Prediction | Failure]:
    """Runs a model on files, batch by batch as results are asked for. One file that fails does not stop the others.

    Args:
        model: its name, the path of a checkpoint, or its spec; see :func:`zoo_core.specs.find`.
        files: paths, shell patterns and folders; cameras (``"0"``) and addresses of streams.
        weights: which published weights; by default the best.
        checkpoint, labels: parameters of your own for the model that is named, and the names of its classes.
        options: of the task, by key, as ``zoo predict MODEL --help`` shows them: ``{"threshold": 0.7}``.
        device: ``"cpu"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU if there is one.
        engine, precision: what runs the model, see :func:`zoo_core.engines.compile_for`.
        batch_size: how many inputs run at a time; by default as many as suit the task.
        sampling: which frames of videos are looked at; by default all.

    Returns:
        What was predicted for each input, and what failed (see :func:`zoo_core.predicting.loop.run`), in the order of
        the files, which are found meanwhile. Words that name no file are failures as well.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has the model.
        zoo_core.checkpoints.CheckpointError: its weights cannot be had.
        ValueError: an option, the device or the number of files does not suit the task.
    """
    spec = specs.find(model, weights=weights, checkpoint=checkpoint, labels=labels)
    task = task_class(spec.task)(spec, options)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    problems: deque[str] = deque()
    stream = sources_of(task, files, sampling, problems)
    try:
        stream.start()
    except NothingFoundError as error:
        if not problems:
            problems.append(str(error))
        return with_problems(problems, iter(()))
    place = choose_device(device_name(device, engine), task.declaration.devices)
    loaded = load(task, place, engine=engine, precision=precision)
    return with_problems(problems, run(task, loaded, stream, batch_size))


def sources_of(
    task: Task[Any, Any],
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    sampling: Sampling | None,
    problems: deque[str],
) -> Sources:
    """What a task reads of files, as :func:`predict` takes them.

    Args:
        task: of the model.
        files, sampling: see :func:`predict`.
        problems: gets what is wrong with the words, while the files are found.
    """
    words = [files] if isinstance(files, str | os.PathLike) else files
    return Sources(
        task.declaration,
        [os.fspath(word) for word in words],
        named=True,
        on_problem=problems.append,
        sampling=sampling or Sampling(),
    )


def with_problems(problems: deque[str], outcomes: Iterator[Prediction | Failure]) -> Iterator[Prediction | Failure]:
    """Outcomes, and what was wrong with the words that mean files: each as soon as it is known, as a failure.

    Args:
        problems: grows while the files are found.
        outcomes: of these files.
    """
    while True:
        outcome = next(outcomes, None)
        while problems:
            yield Failure(None, None, problems.popleft())
        if outcome is None:
            return
        yield outcome


def load(
    task: Task[Any, Any],
    device: Any = "cpu",
    *,
    engine: str | None = None,
    precision: str = "fp32",
    tell: Callable[[str], None] | None = None,
) -> Engine:
    """The model of a task, ready to run: built, or opened in its runtime if it is an exported file.

    Args:
        task: of the model.
        device: where it runs.
        engine, precision, tell: what runs it, see :func:`zoo_core.engines.compile_for`; by default torch, and what an
            exported file is for.

    Raises:
        zoo_core.checkpoints.CheckpointError: its weights cannot be obtained, read, or do not fit.
        zoo_core.extras.MissingExtraError: the engine is not installed.
        ValueError: the file is none that its runtime takes, or was exported with other options of the task; or engine,
            precision and device do not go together.
    """
    if task.spec.format != "state_dict":
        return open_exported(task.spec, device, engine=engine, precision=precision, arguments=task.forward_arguments)
    if engine not in (None, "torch") or precision != "fp32":
        from zoo_core.engines import compile_for

        return compile_for(
            task.spec, engine or "torch", precision, device=device, arguments=task.forward_arguments, tell=tell
        )
    model = specs.build(task.spec)
    return EagerEngine(model, device, task.eager_arguments(model))


def default_workers() -> int:
    """How many threads prepare inputs where nobody says: as many as there are processors to use, up to 8."""
    return min(available_processors(), 8)
