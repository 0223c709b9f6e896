"""``zoo evaluate``: how good is a model on a data set?"""

import contextlib
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli import checking, choosing, launching, output, task_options
from zoo_core.cli.engine_options import device_option, engine_options, tell
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument
from zoo_core.cli.task_options import TaskCommand
from zoo_core.declarations import Declaration, Metric, declaration
from zoo_core.specs import ModelSpec

if TYPE_CHECKING:
    from zoo_core.evaluating import Evaluation
    from zoo_core.tasks import Score

_EXAMPLES = """\b
Examples:
  zoo evaluate resnet50 imagenet/                      imagenet/val/n01440764/...
  zoo evaluate resnet50 flowers/ --checkpoint run/best.pth --labels labels.txt
  zoo evaluate maskrcnn_resnet50_fpn coco/             coco/val2017/, coco/annotations/
  zoo evaluate resnet50 imagenet/ --nproc-per-node 4   in four processes
  torchrun --nnodes 2 --nproc-per-node 8 ... --no-python zoo evaluate resnet50 imagenet/
  zoo evaluate resnet50 imagenet/ --expect acc@1=80.858 --within 0.1
  zoo evaluate resnet50 imagenet/ --results r.jsonl --resume

The figure does not depend on the number of processes: no sample is padded, repeated or left out. The exit code is 1 if
a sample could not be scored (unless --skip-bad is given), or a figure is not what --expect says. With --results, an
evaluation that was interrupted goes on where it was when it is given --resume as well.
"""


class _Evaluate(launching.LaunchedCommand, TaskCommand):
    """Has the options of its task and those of torchrun."""


def _expectation(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, float]:
    expected = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        try:
            expected[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name or not math.isfinite(expected[name]):
            raise click.BadParameter(f"write it as in acc@1=80.858, not {text!r}", context, parameter)
    return expected


@click.command(cls=_Evaluate, declared=choosing.declared_by_model, epilog=_EXAMPLES)
@choosing.model_argument()
@click.argument("data", cls=Argument, type=click.Path(path_type=Path), metavar="DATA", help="Folder of the data set.")
@choosing.model_options
@click.option("--split", metavar="NAME", help="Which part of the data set: val (the default), train, test, ...")
@click.option(
    "--annotations", type=click.Path(path_type=Path), metavar="FILE", help="Annotations that do not lie with the data."
)
@device_option
@engine_options
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="How many inputs run at a time.")
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="How many threads read and prepare inputs ahead."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N samples.")
@click.option("--skip-bad", is_flag=True, help="Count samples that cannot be scored, and go on without an error.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the result of each sample in a file, a line of JSON for each.",
)
@click.option("--resume", is_flag=True, help="Go on with that file, if it is there.")
@click.option("--check-data", is_flag=True, help="Only read everything, and list all faults.")
@click.option(
    "--expect",
    "expected",
    multiple=True,
    callback=_expectation,
    metavar="METRIC=VALUE",
    help="Fail unless the figure is this one. May be repeated.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0),
    default=0.1,
    metavar="N",
    help="How far figures may be from those expected.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    data: Path,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    split: str | None,
    annotations: Path | None,
    device: str,
    engine: str | None,
    precision: str,
    batch_size: int | None,
    workers: int | None,
    limit: int | None,
    skip_bad: bool,
    results: Path | None,
    resume: bool,
    check_data: bool,
    expected: Mapping[str, float],
    within: float,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure a model on a data set, and compare with what was published."""
    flags, given = launching.split(given)
    if resume and results is None:
        raise UsageError("--resume goes on with a file of results; name it with --results")
    spec = choosing.choose(model, weights=weights, checkpoint=checkpoint, labels=labels)
    options = task_options.convert(context, declaration(spec.task), given, spec.name)
    if check_data:
        return _check(spec, data, split, annotations, options, workers)

    from zoo_core.processes import FailedElsewhereError, LostProcessError, is_launched, world

    if flags and not is_launched():
        if not data.exists():  # the processes would say so too, a few seconds later
            raise ValueError(f"{data}: no such folder")
        return launching.launch(flags, launching.words_of(context))

    from zoo_core import evaluating

    try:
        with contextlib.ExitStack() as stack:
            found = evaluating.evaluate(
                spec,
                data,
                split=split,
                annotations=annotations,
                options=options,
                device=device,
                engine=engine,
                precision=precision,
                tell=tell if world().is_first else None,
                batch_size=batch_size,
                workers=workers,
                limit=limit,
                skip_bad=skip_bad,
                results=results,
                resume=resume,
                on_progress=_Progress(stack, declaration(spec.task).metric) if world().is_first else None,
            )
    except FailedElsewhereError:
        return 0  # a process that fails ends the others, and the one that has something to say is to say it first
    except LostProcessError:
        return 1  # what started the processes says which of them it was, and once is enough
    if found is None:
        return 0
    for fault in found.bad:
        output.warning(fault) if skip_bad else output.error(fault)
    if as_json:
        output.write_json(_as_json(spec, data, found))
    else:
        _write(found, declaration(spec.task))
    return max(_verdict(found, expected, within), 1 if found.bad and not skip_bad else 0)


class _Progress:
    """Shows how far an evaluation is, with the main figure so far.

    That figure is computed ever less often, so that computing it takes a twentieth of the time at most.

    Args:
        stack: closes the bar.
        metric: the figure.
    """

    def __init__(self, stack: contextlib.ExitStack, metric: Metric | None) -> None:
        self.stack = stack
        self.metric = metric
        self.advance: output.Advance | None = None
        self.next = 0.0

    def __call__(self, done: int, count: int, score: "Score[Any]") -> None:
        if self.advance is None:
            self.advance = self.stack.enter_context(output.progress("evaluating", count))
        self.advance(1, self._figure(score) if sys.stderr.isatty() else "")

    def _figure(self, score: "Score[Any]") -> str:
        begun = time.monotonic()
        if begun < self.next or not len(score) or self.metric is None:
            return ""
        value = score.compute().get(self.metric.name)
        ended = time.monotonic()
        self.next = ended + max(0.5, 20 * (ended - begun))
        return "" if value is None else f"{self.metric.name} {value:.{self.metric.digits}f}"


def _check(
    spec: ModelSpec,
    data: Path,
    split: str | None,
    annotations: Path | None,
    options: Mapping[str, Any],
    workers: int | None,
) -> int:
    from zoo_core import evaluating
    from zoo_core.data import DataError

    try:
        task, samples, missing = evaluating.open_data(
            spec, data, split=split, annotations=annotations, options=options, skip_bad=True
        )
    except DataError as error:
        for fault in error.faults:
            output.error(str(fault))
        return 1
    return checking.check_data(task, [samples], workers, missing)


def _write(found: "Evaluation", declared: Declaration) -> None:
    columns = [output.Column("metric"), output.Column("here", right=True)]
    rows = [[name, f"{value:.3f}"] for name, value in found.metrics.items()]
    if found.published:
        columns += [output.Column("published", right=True), output.Column("difference", right=True)]
        for row in rows:
            value = found.published.get(row[0])
            row += ["", ""] if value is None else [f"{value:.3f}", f"{found.metrics[row[0]] - value:+.3f}"]
    output.write_table(columns, rows)
    skipped = f", {output.counted(len(found.bad), 'sample')} left out" if found.bad else ""
    options = "".join(
        f", {option.name} {found.options[option.key]}"
        for option in declared.options.values()
        if found.options[option.key] != option.default
    )
    output.note(f"over {output.counted(found.samples, 'sample')}{skipped}{options}")


def _as_json(spec: ModelSpec, data: Path, found: "Evaluation") -> dict[str, Any]:
    return {
        "model": spec.name,
        "weights": spec.weights,
        "file": spec.file,
        "task": spec.task,
        "data": str(data),
        "data_set": found.data_set,
        "samples": found.samples,
        "bad": list(found.bad),
        "metrics": dict(found.metrics),
        "published": dict(found.published),
        "options": dict(found.options),
    }


def _verdict(found: "Evaluation", expected: Mapping[str, float], within: float) -> int:
    """0 if the figures are those expected, or else 1; says which are not."""
    wrong = 0
    for name, value in expected.items():
        if name not in found.metrics:
            raise UsageError(f"--expect {name}: there is no such metric; there are {', '.join(found.metrics)}")
        if not abs(found.metrics[name] - value) <= within:
            wrong += 1
            output.error(f"{name} is {found.metrics[name]:.3f}, which is not within {within:g} of {value:g}")
    return 1 if wrong else 0
