"""Runs a task's model on the files of a line: what `zoo predict` and `zoo embed` have in common."""

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from zoo_core.cli import choosing, output, task_options
from zoo_core.cli.engine_options import device_option
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Function, complete_models, together
from zoo_core.cli.results import Problems, ResultOptions, Writer, share_of
from zoo_core.declarations import Declaration, declaration
from zoo_core.specs import ModelSpec

if TYPE_CHECKING:
    import torch

    from zoo_core.engines import Engine
    from zoo_core.predicting import Failure, Prediction, Share
    from zoo_core.tasks import Task

__all__ = [
    "Chosen",
    "InputOptions",
    "choose",
    "declared",
    "input_options",
    "place_of",
    "run_on_files",
    "words_argument",
]


def _complete_words(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The name of a model first, then files."""
    models = [] if context.params.get("words") else complete_models(context, parameter, incomplete)
    return models or [CompletionItem(incomplete, type="file")]


def declared(parsed: Mapping[str, Any]) -> Declaration:
    """What the task of a line declares, as far as the line is parsed; see
    :class:`~zoo_core.cli.task_options.TaskCommand`.
    """
    words, tasks, checkpoint = (parsed.get(name) for name in ("words", "tasks", "checkpoint"))
    return choosing.declaration_of(
        # What the line does not say is absent, None or a mark of click's own, by its version.
        [word for word in words if isinstance(word, str)] if isinstance(words, tuple | list) else [],
        tasks[0] if isinstance(tasks, tuple | list) and tasks else None,
        Path(checkpoint) if isinstance(checkpoint, str | Path) else None,
    )


def words_argument(function: Function) -> Function:
    """Adds the argument ``words``: the name of a model and files."""
    return click.argument(
        "words",
        nargs=-1,
        cls=Argument,
        metavar="[MODEL] FILE...",
        help="Name of a model, and files, shell patterns, folders, or addresses; - is an image on standard input. "
        "Without a name, a model whose weights ship in an installed package is used.",
        shell_complete=_complete_words,
    )(function)


def input_options(function: Function) -> Function:
    """Adds the options of :class:`InputOptions` to a command, under its names."""
    return together(
        click.option(
            "--files-from",
            "lists",
            multiple=True,
            type=click.Path(allow_dash=True),
            metavar="FILE",
            help="A list of files to look at, one a line or with null bytes between; - is standard input. May be "
            "repeated.",
        ),
        device_option,
        click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="How many inputs run at a time."),
        click.option(
            "--workers",
            type=click.IntRange(min=0),
            metavar="N",
            help="How many threads read and prepare inputs ahead; by default as many as there are processors, up to 8.",
        ),
        click.option(
            "--every",
            type=click.IntRange(min=1),
            metavar="N",
            help="Of videos, look at one of N frames, from the first on.",
        ),
        click.option(
            "--fps",
            type=click.FloatRange(min=0, min_open=True),
            metavar="N",
            help="Of videos, look at N frames in each second at the most.",
        ),
    )(function)


@dataclass(frozen=True)
class InputOptions:
    """What a line says about its inputs and how they are run. Raises :class:`UsageError` where that makes no sense."""

    lists: Sequence[str]
    device: str
    batch_size: int | None
    workers: int | None
    every: int | None
    fps: float | None

    def __post_init__(self) -> None:
        if self.every is not None and self.fps is not None:
            raise UsageError("--every counts frames and --fps goes by their times; give one of them")


@dataclass(frozen=True)
class Chosen:
    """What a line says, checked.

    Attributes:
        spec: the model.
        files: the words that mean files.
        options: of the model's task, by key.
        share: of this process.
    """

    spec: ModelSpec
    files: Sequence[str]
    options: Mapping[str, Any]
    share: "Share"


def choose(
    context: click.Context,
    words: Sequence[str],
    tasks: Sequence[str],
    inputs: InputOptions,
    results: ResultOptions,
    given: Mapping[str, Any],
    *,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
) -> Chosen:
    """What a line says about its model, its files and the options of its task.

    Args:
        context: of the command.
        words: the model's name and files.
        tasks: of ``--task``.
        inputs, results: what the line says about these.
        given: words for the options of all tasks, see :func:`~zoo_core.cli.task_options.convert`.
        weights, checkpoint, labels: see :func:`~zoo_core.cli.choosing.choose_with_files`.

    Raises:
        UsageError: the line makes no sense.
    """
    if not words and not inputs.lists:
        raise UsageError("give the name of a model and files for it to look at, or files alone")
    spec, files = choosing.choose_with_files(
        words,
        task=choosing.only(tasks),
        weights=weights,
        checkpoint=checkpoint,
        labels=labels,
        more_files=bool(inputs.lists),
    )
    options = task_options.convert(context, declaration(spec.task), given, spec.name)
    _reuse_memory()
    return Chosen(spec, files, options, share_of(results))


def run_on_files(
    context: click.Context,
    task: "Task[Any, Any]",
    chosen: Chosen,
    inputs: InputOptions,
    *,
    writer: Callable[[], Writer],
    load: "Callable[[], Engine]",
    doing: str,
    directory: Path | None = None,
    save: str | None = None,
) -> int:
    """Runs a model on files, writes what comes out, and tells what fails. Returns an exit code.

    Args:
        context: of the command.
        task: made with its options.
        chosen: what the line says.
        inputs: what it says about its inputs.
        writer: makes what takes what comes out.
        load: makes the engine, once there is something to run.
        doing: what the progress bar says.
        directory: where images with the results drawn on them go.
        save: format of these.
    """
    from zoo_core import predicting

    with contextlib.ExitStack() as stack:
        stack.enter_context(predicting.until_interrupted())
        problems = Problems()
        sources = predicting.Sources(
            task.declaration,
            chosen.files,
            lists=inputs.lists,
            output=directory,
            share=chosen.share,
            on_problem=lambda message: problems.tell(message, sources.count),
            sampling=predicting.Sampling(inputs.every or 1, inputs.fps),
        )
        stack.callback(sources.close)
        taking = stack.enter_context(writer())
        if taking.is_complete_part:
            return taking.finish()
        todo = taking.remaining(sources, whole=directory is not None)
        first = next(todo, None)
        outcomes: Iterator[Prediction | Failure] = iter(())
        if first is not None:  # which a share that is done has not
            if directory is not None:
                predicting.make_output_directory(directory)
            outcomes = predicting.run(
                task,
                load(),
                (source for source, _ in itertools.chain([first], todo)),
                inputs.batch_size,
                workers=predicting.default_workers() if inputs.workers is None else inputs.workers,
                keep_inputs=directory is not None,
                skip=first[1],
            )
            if output.shows_progress():
                sources.count_ahead(task)
        advance = stack.enter_context(output.progress(doing, lambda: sources.total, done=taking.inputs))
        for outcome, written in stack.enter_context(contextlib.closing(_saved(outcomes, directory, save))):
            advance(1)
            if isinstance(outcome, predicting.Failure):
                problems.tell_failure(outcome, with_traceback=context.obj.debug)
            problems.write(taking, before=outcome.source)
            taking.write(outcome, written)
        problems.write(taking)
    if left_out := str(sources.skipped):
        output.note(f"left out of folders: {left_out}")
    return max(taking.finish(), 1 if problems.count else 0)


def place_of(task: "Task[Any, Any]", device: str, engine: str | None) -> "torch.device":
    """Where this process runs a task's model, by ``--device`` and ``--engine``; torchrun's have a GPU each."""
    from zoo_core.engines import choose_device, device_name
    from zoo_core.processes import world

    return choose_device(device_name(device, engine), task.declaration.devices, local_rank=world().gpu_rank)


def _reuse_memory() -> None:
    """Has Pillow use the memory of images again, 16 blocks of 16 MB at most: the system need not clear it each time.

    Takes effect only before Pillow is imported, as whatever imports torch here does.
    """
    os.environ.setdefault("PILLOW_BLOCKS_MAX", "16")


def _saved(
    outcomes: Iterable["Prediction | Failure"], directory: Path | None, save: str | None
) -> Generator[tuple["Prediction | Failure", list[Path]], None, None]:
    """Each outcome with the files that were written for it."""
    from zoo_core.predicting import Saver

    if directory is None:
        for outcome in outcomes:
            yield outcome, []
        return
    with Saver(directory, save=save) as saver:
        yield from saver.follow(outcomes)
