"""Runs a task's model on many inputs, so that one that fails does not stop the others."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from zoo_core.data.ahead import ahead
from zoo_core.engines import Engine
from zoo_core.images.bands import shown
from zoo_core.images.released import ReleasedImage
from zoo_core.predicting.balance import Balance
from zoo_core.predicting.failures import Failure, located
from zoo_core.predicting.saving import Saver
from zoo_core.predicting.sources import Source, located_inputs
from zoo_core.predicting.videos import Moment
from zoo_core.tasks import Sample, Task

__all__ = ["Failure", "Prediction", "run"]

# After so many inputs that all failed in a way that a broken model would fail in too, there is no use in going on.
_PATIENCE = 8

# What files that cannot be read, and inputs that the model does not take, raise.
_INPUT_ERRORS = (OSError, ValueError)
# RuntimeErrors that no input causes.
_PROGRAM_ERRORS = (NotImplementedError, RecursionError)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of one input.

    Args:
        task: the task of the model.
        source: the files that the input came from.
        index: which of the inputs in these files it is, from 0 on; of a video, the number of the frame.
        input, result: the task's own.
        moment: where in a video it is from.
    """

    task: Task[Any, Any] = field(repr=False)
    source: Source
    index: int
    input: Any = field(repr=False)
    result: Any
    moment: Moment | None = field(default=None, repr=False)

    @property
    def stem(self) -> str:
        """The beginning of the names of the files that :meth:`save` writes."""
        return f"{self.source.stem}.{self.index:05d}" if self.source.numbered else self.source.stem

    def describe(self) -> list[str]:
        """The result in words, a line for each thing found."""
        return self.task.describe(self.result)

    def record(self) -> dict[str, Any]:
        """The result as plain data, with the files that it is of."""
        return located(self.source, self.index, self.moment) | self.task.record(self.result)

    def draw(self) -> Image.Image:
        """The result as an image."""
        return self.task.draw(self._shown(), self.result)

    def draw_frame(self) -> Image.Image:
        """The result as a frame of a video, in the same size as those of the video's other inputs."""
        return self.task.draw_frame(self._shown(), self.result)

    def _shown(self) -> Any:
        """The input as tasks draw on it: without alpha; of many bands, three."""
        return shown(self.input)

    def save(self, directory: Path, save: str | None = None) -> list[Path]:
        """Writes the image, and what else the options ask for, into a folder. Returns the paths.

        Each frame of a video gets an image of its own; :class:`~zoo_core.predicting.saving.Saver` makes a video of
        them.

        Raises:
            OSError: a file cannot be written.
        """
        return Saver(directory, save=save).save_image(self)


def run(
    task: Task[Any, Any],
    engine: Engine,
    sources: Iterable[Source],
    batch_size: int | None = None,
    *,
    workers: int = 0,
    keep_inputs: bool = True,
    skip: int = 0,
    together: Callable[[Source], object] | None = None,
    call: Callable[[Sequence[Sample], Sequence[Source]], list[Any]] | None = None,
) -> Iterator[Prediction | Failure]:
    """Reads and runs the inputs of all sources, in batches. What comes out is in their order.

    What an input can cause becomes a :class:`Failure`, and the other inputs go on; whatever else goes wrong comes
    through:

    - ``OSError`` while a file is read, and ``ValueError`` anywhere, are how files and models refuse an input. The
      inputs of a batch that raises one are run one by one.
    - Too little memory (``MemoryError``, torch's own errors) halves the batch, and batches stay as small; only an
      input that does not fit by itself is a failure.
    - Any other ``RuntimeError`` may be an input that a model does not check, such as an image too small for its
      strides, or a mistake in the program. The model is the witness: if it takes another input of this call, the ones
      that failed are failures; if it takes none, the first error is raised, after all inputs or the first eight.
    - ``TypeError``, ``KeyError``, ``NotImplementedError`` and all others are mistakes in the program, and raised.

    Args:
        task: what inputs and outputs mean.
        engine: what runs the model.
        sources: where the inputs are.
        batch_size: how many inputs run at a time; by default as many as the task declares.
        workers: how many threads read files and prepare inputs ahead of the model; with 0, the caller's does. Videos
            have a thread of their own, which decodes.
        keep_inputs: leave the pixels of inputs in memory as long as their predictions are. If not, images are read anew
            when somebody looks at ``Prediction.input``.
        skip: how many inputs of the first source to leave out, frames of a video for instance.
        together: what it gives for a source must be the same for all that run in one batch. With it, batches hold the
            same inputs whichever sources a process has of them, and so give the same outputs to the last bit.
        call: gives the outputs of a batch's samples, of which it gets the sources too, in the place of ``task.run``.
    """
    size = batch_size or task.declaration.batch_size
    balance = Balance(getattr(engine, "device", None), workers)
    reading = _Reading(task, size, workers, keep_inputs, skip, together or (lambda source: None), balance)
    call = call or (lambda samples, sources: task.run(engine, samples))
    return _with_a_witness(_outcomes(_Runner(task, call, balance), sources, reading))


def _with_a_witness(outcomes: Iterator["Prediction | Failure"]) -> Iterator[Prediction | Failure]:
    """Holds failures back that a broken model would cause too, until the model has taken an input."""
    held: list[Failure] = []
    for outcome in outcomes:
        if isinstance(outcome, Prediction):
            yield from held
            yield outcome
            yield from outcomes
            return
        held.append(outcome)
        suspicious = sum(map(_is_suspicious, held))
        if not suspicious:
            yield held.pop()
        elif suspicious == _PATIENCE:
            break
    if held:
        yield from (failure for failure in held if not _is_suspicious(failure))
        raise next(failure.error for failure in held if failure.error is not None and _is_suspicious(failure))


def _is_suspicious(failure: Failure) -> bool:
    return isinstance(failure.error, RuntimeError) and not _is_out_of_memory(failure.error)


@dataclass(frozen=True)
class _Item:
    """An input, with the sample that was made of it, or the error that came of trying."""

    source: Source
    index: int
    input: Any
    sample: Sample | Exception
    moment: Moment | None = None


@dataclass(frozen=True)
class _Reading:
    """How inputs are read ahead of the model; see :func:`run`."""

    task: Task[Any, Any]
    batch_size: int
    workers: int
    keep_inputs: bool
    skip: int
    together: Callable[[Source], object]
    balance: Balance

    def items(self, source: Source, skip: int) -> Generator[_Item, None, None]:
        """The inputs of a source, read and prepared one after the other, without the first ones."""
        with closing(located_inputs(self.task, source)) as found:
            for index, (moment, input) in itertools.islice(enumerate(found), skip, None):
                sample: Sample | Exception
                try:
                    with torch.inference_mode():
                        sample = self.task.prepare(input)
                except Exception as error:
                    sample = error
                kept = input if self.keep_inputs else _released(input, source)
                yield _Item(source, index if moment is None else moment.index, kept, sample, moment)


def _released(input: Any, source: Source) -> Any:
    """The input without its pixels, if it can be read anew."""
    images = input if isinstance(input, tuple) else (input,)
    if source.numbered or len(images) != len(source.paths) or not all(isinstance(i, Image.Image) for i in images):
        return input
    released = tuple(ReleasedImage(image, path) for image, path in zip(images, source.paths, strict=True))
    return released if isinstance(input, tuple) else released[0]


def _outcomes(runner: "_Runner", sources: Iterable[Source], reading: _Reading) -> Iterator[Prediction | Failure]:
    batch_size, workers = reading.batch_size, reading.workers

    def read(item: tuple[Source, int]) -> Iterable[_Item]:
        source, skip = item
        # Of a video, frames are made when they are asked for.
        found = reading.items(source, skip)
        if source.numbered:
            return found
        with reading.balance.reading():
            return list(found)

    def each(outcome: Callable[[], Iterable[_Item]]) -> Generator[_Item, None, None]:
        yield from outcome()

    batch: list[_Item] = []
    skips = itertools.chain([reading.skip], itertools.repeat(0))
    for (source, _), outcome in ahead(read, zip(sources, skips, strict=False), workers, depth=workers + batch_size):
        if batch and reading.together(source) != reading.together(batch[0].source):
            yield from runner.run(batch)
            batch = []
        with closing(each(outcome)) as found:
            while True:
                try:
                    batch.append(next(found))
                except StopIteration:
                    break
                except (*_INPUT_ERRORS, MemoryError) as error:
                    yield from runner.run(batch)
                    batch = []
                    yield Failure(source, None, _explain(source, error), error)
                    break
                if len(batch) >= batch_size:
                    yield from runner.run(batch)
                    batch = []
    yield from runner.run(batch)


class _Runner:
    """Runs batches, and remembers how large they may be."""

    def __init__(
        self, task: Task[Any, Any], call: Callable[[Sequence[Sample], Sequence[Source]], list[Any]], balance: Balance
    ) -> None:
        self.task = task
        self.call = call
        self.balance = balance
        self.most: int | None = None

    def run(self, batch: Sequence[_Item]) -> Iterator[Prediction | Failure]:
        start = 0
        while start < len(batch):
            size = self.most or len(batch)
            yield from self._run(batch[start : start + size])
            start += size

    def _run(self, batch: Sequence[_Item]) -> Iterator[Prediction | Failure]:
        # Not in the except block: there, the error keeps alive what filled the memory.
        results, error = self._results(batch)
        if error is None:
            for item, result in zip(batch, results, strict=True):
                yield Prediction(self.task, item.source, item.index, item.input, result, item.moment)
        elif len(batch) == 1:
            (item,) = batch
            yield Failure(item.source, item.index, _explain(item.source, error), error, item.moment)
        elif _is_out_of_memory(error):
            del error
            torch.cuda.empty_cache()
            self.most = max(1, len(batch) // 2)
            yield from self.run(batch)
        else:
            for item in batch:
                yield from self._run([item])

    def _results(self, batch: Sequence[_Item]) -> tuple[list[Any], Exception | None]:
        try:
            samples = []
            for item in batch:
                if isinstance(item.sample, Exception):
                    raise item.sample
                samples.append(item.sample)
            with self.balance.running(), torch.inference_mode():
                outputs = self.call(samples, [item.source for item in batch])
                return [self.task.result(o, i.input) for o, i in zip(outputs, batch, strict=True)], None
        except _PROGRAM_ERRORS:
            raise
        except (*_INPUT_ERRORS, RuntimeError, MemoryError) as error:
            return [], error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch has no class for a CPU without memory.
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def _explain(source: Source, error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if _is_out_of_memory(error):
        text = f"takes more memory than there is ({text.partition(chr(10))[0] or type(error).__name__})"
    named = any(name in text for name in source.names)
    return text if named else f"{' and '.join(source.names)}: {text}"
