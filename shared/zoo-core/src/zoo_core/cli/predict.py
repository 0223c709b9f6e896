"""``zoo predict``: what does a model see in these files?"""

import contextlib
import itertools
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from zoo_core.cli import choosing, output, task_options
from zoo_core.cli.engine_options import engine_options, tell
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, complete_models, tasks_option
from zoo_core.cli.results import Problems, ResultOptions, result_options, share_of
from zoo_core.cli.task_options import TaskCommand
from zoo_core.declarations import Declaration, declaration

if TYPE_CHECKING:
    from zoo_core.predicting import Failure, Prediction

_EXAMPLES = """\b
Examples:
  zoo predict resnet50 photo.jpg
  zoo predict resnet50 'photos/**/*.jpg' holiday/ --output out/
  zoo predict resnet50 photo.jpg --weights IMAGENET1K_V1 --json
  zoo predict resnet50 photos/ --results found.csv           a table; --resume
                                                             goes on with it
  zoo predict resnet50 photos/ --results found.csv --shard 3/64
  zoo predict resnet50 https://example.org/photo.jpg
  curl -s ... | zoo predict resnet50 -
  find photos -newer last -print0 | zoo predict resnet50 --files-from -
  zoo predict resnet50 photo.jpg --checkpoint mine.pth --labels labels.txt
  zoo predict maskrcnn_resnet50_fpn clip.mp4 --output out/
  zoo predict ssdlite320_mobilenet_v3_large 0 --output out/    the camera, until
                                                               Ctrl-C
  zoo predict resnet50 photos/ --engine auto     the fastest engine that is there
  zoo predict photo.jpg             with weights that ship in a package
  zoo predict resnet50 --help       also the options that its task has (--topk,
                                    --threshold, ...)

A file that cannot be read is reported and does not stop the others; the exit code is 1 then.
"""


def _complete_words(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The name of a model first, then files."""
    models = [] if context.params.get("words") else complete_models(context, parameter, incomplete)
    return models or [CompletionItem(incomplete, type="file")]


def _declared(parsed: Mapping[str, Any]) -> Declaration:
    """What the task of a line declares, as far as the line is parsed."""
    words, tasks, checkpoint = (parsed.get(name) for name in ("words", "tasks", "checkpoint"))
    return choosing.declaration_of(
        # What the line does not say is absent, None or a mark of click's own, by its version.
        [word for word in words if isinstance(word, str)] if isinstance(words, tuple | list) else [],
        tasks[0] if isinstance(tasks, tuple | list) and tasks else None,
        Path(checkpoint) if isinstance(checkpoint, str | Path) else None,
    )


@click.command(cls=TaskCommand, declared=_declared, epilog=_EXAMPLES)
@click.argument(
    "words",
    nargs=-1,
    cls=Argument,
    metavar="[MODEL] FILE...",
    help="Name of a model, and files, shell patterns, folders, or addresses; - is an image on standard input. Without "
    "a name, a model whose weights ship in an installed package is used.",
    shell_complete=_complete_words,
)
@tasks_option("Without MODEL: the task to do, classification for instance.", several=False)
@choosing.model_options
@click.option(
    "--files-from",
    "lists",
    multiple=True,
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="A list of files to look at, one a line or with null bytes between; - is standard input. May be repeated.",
)
@click.option(
    "--device", metavar="NAME", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."
)
@engine_options
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="How many inputs run at a time.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many threads read and prepare inputs ahead; by default as many as there are processors, up to 8.",
)
@click.option(
    "--output",
    "output_directory",
    type=click.Path(path_type=Path, file_okay=True),
    metavar="DIR",
    help="Write images, and videos, with the results drawn on them.",
)
@click.option(
    "--save",
    type=click.Choice(["png", "jpg", "webp"], case_sensitive=False),
    help="Format of these images; by default that of each input.",
)
@click.option(
    "--every", type=click.IntRange(min=1), metavar="N", help="Of videos, look at one of N frames, from the first on."
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Of videos, look at N frames in each second at the most.",
)
@result_options
@click.pass_context
def command(
    context: click.Context,
    words: Sequence[str],
    tasks: Sequence[str],
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    lists: Sequence[str],
    device: str,
    engine: str | None,
    precision: str,
    batch_size: int | None,
    workers: int | None,
    output_directory: Path | None,
    save: str | None,
    every: int | None,
    fps: float | None,
    format_name: str | None,
    as_json: bool,
    results: Path | None,
    resume: bool,
    shard: str | None,
    **given: Any,
) -> int:
    """Run a model on files, and show what it sees."""
    if not words and not lists:
        raise UsageError("give the name of a model and files for it to look at, or files alone")
    if save is not None and output_directory is None:
        raise UsageError("--save is the format of images, which --output DIR asks for")
    if every is not None and fps is not None:
        raise UsageError("--every counts frames and --fps goes by their times; give one of them")
    asked = ResultOptions(format_name, as_json, results, resume, shard)
    spec, files = choosing.choose_with_files(
        words, task=choosing.only(tasks), weights=weights, checkpoint=checkpoint, labels=labels, more_files=bool(lists)
    )
    options = task_options.convert(context, declaration(spec.task), given, spec.name)
    share = share_of(asked)

    # Memory of images is used again, which saves the time in which the system clears it: so many times 16 MB at most.
    os.environ.setdefault("PILLOW_BLOCKS_MAX", "16")
    from zoo_core import predicting
    from zoo_core.engines import choose_device, device_name
    from zoo_core.processes import world
    from zoo_core.tasks import task_class

    chosen = task_class(spec.task)(spec, options)
    among = world()
    found_device = choose_device(device_name(device, engine), chosen.declaration.devices, local_rank=among.gpu_rank)
    depends_on = {"every": every, "fps": fps} | ({"precision": precision} if precision != "fp32" else {})
    with contextlib.ExitStack() as stack:
        stack.enter_context(predicting.until_interrupted())
        problems = Problems()
        sources = predicting.Sources(
            chosen.declaration,
            files,
            lists=lists,
            output=output_directory,
            share=share,
            on_problem=lambda message: problems.tell(message, sources.count),
            sampling=predicting.Sampling(every or 1, fps),
        )
        stack.callback(sources.close)
        writer = stack.enter_context(asked.writer(chosen, share, str(found_device), given=depends_on))
        if writer.is_complete_part:
            return writer.finish()
        todo = writer.remaining(sources, whole=output_directory is not None)
        first = next(todo, None)
        outcomes: Iterator[Prediction | Failure] = iter(())
        if first is not None:  # which a share that is done has not
            if output_directory is not None:
                predicting.make_output_directory(output_directory)
            outcomes = predicting.run(
                chosen,
                predicting.load(chosen, found_device, engine=engine, precision=precision, tell=tell),
                (source for source, _ in itertools.chain([first], todo)),
                batch_size,
                workers=predicting.default_workers() if workers is None else workers,
                keep_inputs=output_directory is not None,
                skip=first[1],
            )
            if output.shows_progress():
                sources.count_ahead(chosen)
        advance = stack.enter_context(output.progress("predicting", lambda: sources.total, done=writer.inputs))
        for outcome, written in stack.enter_context(contextlib.closing(_saved(outcomes, output_directory, save))):
            advance(1)
            if isinstance(outcome, predicting.Failure):
                problems.tell_failure(outcome, with_traceback=context.obj.debug)
            problems.write(writer, before=outcome.source)
            writer.write(outcome, written)
        problems.write(writer)
    if left_out := str(sources.skipped):
        output.note(f"left out of folders: {left_out}")
    return max(writer.finish(), 1 if problems.count else 0)


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
