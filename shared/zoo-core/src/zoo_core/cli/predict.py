"""``zoo predict``: what does a model see in these files?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from zoo_core.cli import choosing
from zoo_core.cli.engine_options import engine_options, tell
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import tasks_option
from zoo_core.cli.results import ResultOptions, result_options
from zoo_core.cli.running import (
    InputOptions,
    choose,
    declared,
    input_options,
    place_of,
    run_on_files,
    words_argument,
)
from zoo_core.cli.task_options import TaskCommand
from zoo_core.runtimes import depends_on

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


@click.command(cls=TaskCommand, declared=declared, epilog=_EXAMPLES)
@words_argument
@tasks_option("Without MODEL: the task to do, classification for instance.", several=False)
@choosing.model_options
@input_options
@engine_options
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
@result_options(".jsonl", ".csv")
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
    if save is not None and output_directory is None:
        raise UsageError("--save is the format of images, which --output DIR asks for")
    inputs = InputOptions(lists, device, batch_size, workers, every, fps)
    asked = ResultOptions(format_name, as_json, results, resume, shard)
    chosen = choose(
        *(context, words, tasks, inputs, asked, given), weights=weights, checkpoint=checkpoint, labels=labels
    )

    from zoo_core import predicting
    from zoo_core.tasks import task_class

    task = task_class(chosen.spec.task)(chosen.spec, chosen.options)
    place = place_of(task, device, engine)
    given_to_results = {"every": every, "fps": fps} | depends_on(engine, precision)
    return run_on_files(
        context,
        task,
        chosen,
        inputs,
        writer=lambda: asked.writer(task, chosen.share, str(place), given=given_to_results),
        load=lambda: predicting.load(task, place, engine=engine, precision=precision, tell=tell),
        doing="predicting",
        directory=output_directory,
        save=save,
    )
