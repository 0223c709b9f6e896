"""``zoo predict``: what does a model see in these files?"""

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from zoo_core.cli import choosing, output, task_options
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, complete_models, complete_tasks
from zoo_core.cli.task_options import TaskCommand
from zoo_core.declarations import Declaration, declaration

if TYPE_CHECKING:
    from zoo_core.predicting import Failure, Prediction

_EXAMPLES = """\b
Examples:
  zoo predict resnet50 photo.jpg
  zoo predict resnet50 'photos/**/*.jpg' holiday/ --output out/
  zoo predict resnet50 photo.jpg --weights IMAGENET1K_V1 --json
  zoo predict resnet50 photo.jpg --checkpoint mine.pth --labels labels.txt
  zoo predict maskrcnn_resnet50_fpn clip.mp4 --output out/
  zoo predict ssdlite320_mobilenet_v3_large 0 --output out/    the camera, until
                                                               Ctrl-C
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
    words, task, checkpoint = (parsed.get(name) for name in ("words", "task", "checkpoint"))
    return choosing.declaration_of(
        # What the line does not say is absent, None or a mark of click's own, by its version.
        [word for word in words if isinstance(word, str)] if isinstance(words, tuple | list) else [],
        task if isinstance(task, str) else None,
        Path(checkpoint) if isinstance(checkpoint, str | Path) else None,
    )


@click.command(cls=TaskCommand, declared=_declared, epilog=_EXAMPLES)
@click.argument(
    "words",
    nargs=-1,
    cls=Argument,
    metavar="[MODEL] FILE...",
    help="Name of a model, and files, shell patterns, or folders. Without a name, a model whose weights ship in an "
    "installed package is used.",
    shell_complete=_complete_words,
)
@click.option(
    "--task",
    metavar="NAME",
    help="Without MODEL: the task to do, classification for instance.",
    shell_complete=complete_tasks,
)
@choosing.model_options
@click.option(
    "--device", metavar="NAME", default="auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."
)
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="How many inputs run at a time.")
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
@click.option("--json", "as_json", is_flag=True, help="Write the results as JSON.")
@click.pass_context
def command(
    context: click.Context,
    words: Sequence[str],
    task: str | None,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    device: str,
    batch_size: int | None,
    output_directory: Path | None,
    save: str | None,
    every: int | None,
    fps: float | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Run a model on files, and show what it sees."""
    if not words:
        raise UsageError("give the name of a model and files for it to look at, or files alone")
    if save is not None and output_directory is None:
        raise UsageError("--save is the format of images, which --output DIR asks for")
    if every is not None and fps is not None:
        raise UsageError("--every counts frames and --fps goes by their times; give one of them")
    spec, files = choosing.choose_with_files(words, task=task, weights=weights, checkpoint=checkpoint, labels=labels)
    options = task_options.convert(context, declaration(spec.task), given, spec.name)

    from zoo_core import predicting
    from zoo_core.engines import choose_device
    from zoo_core.tasks import task_class

    chosen = task_class(spec.task)(spec, options)
    sampling = predicting.Sampling(every or 1, fps)
    sources, problems = predicting.find_sources(chosen.declaration, files, left_out=output_directory, sampling=sampling)
    for problem in problems:
        output.error(problem)
    if not sources:
        raise ValueError("there is nothing to look at")
    if output_directory is not None:
        predicting.make_output_directory(output_directory, [path for source in sources for path in source.paths])
    engine = predicting.load(chosen, choose_device(device, chosen.declaration.devices))

    records: list[dict[str, Any]] = [{"error": problem} for problem in problems]
    failed = bool(problems)
    outcomes = predicting.run(chosen, engine, sources, batch_size)
    with (
        predicting.until_interrupted(),
        output.progress("predicting", predicting.estimate(chosen, sources)) as advance,
        contextlib.closing(_saved(outcomes, output_directory, save)) as saved,
    ):
        for outcome, written in saved:
            advance(1)
            if isinstance(outcome, predicting.Failure):
                failed = True
                output.error(outcome.message)
                if context.obj.debug and outcome.error is not None:
                    output.traceback(outcome.error)
                if as_json:
                    records.append(outcome.record())
                continue
            if as_json:
                paths = {} if output_directory is None else {"output": [str(path) for path in written]}
                records.append(outcome.record() | paths)
            else:
                print_prediction(outcome, str(outcome.source), written)
    if as_json:
        output.write_json(
            {
                "model": spec.name,
                "weights": spec.weights,
                "task": spec.task,
                "device": str(engine.device),
                "results": records,
            }
        )
    return 1 if failed else 0


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


def print_prediction(prediction: "Prediction", title: str, written: Iterable[Path] = ()) -> None:
    """Prints what was seen in one input, and where the images of it are; of a video, once, with its first frame."""
    if prediction.moment is not None and prediction.index:
        written = list(written)[1:]
    output.write(title, f" [{prediction.index}]" if prediction.source.numbered else "")
    for line in [*prediction.describe(), *(f"-> {path}" for path in written)]:
        output.write(f"  {line}", flush=True)
