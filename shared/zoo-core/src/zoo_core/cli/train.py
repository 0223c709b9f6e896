"""``zoo train``: fine-tune a model, or train it from scratch."""

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core import specs
from zoo_core.cli import checking, choosing, launching, output
from zoo_core.cli.engine_options import device_option
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Command, complete_weights, items
from zoo_core.cli.recipes import complete_recipes
from zoo_core.training import recipes
from zoo_core.training.observer import Observer
from zoo_core.training.recipes import Recipe

if TYPE_CHECKING:
    from zoo_core.training import Job, Outcome

_EXAMPLES = """\b
Examples:
  zoo train resnet50 flowers/                      flowers/train/rose/..., flowers/val/rose/...
  zoo predict run/best.pth photo.jpg               what it has learnt
  zoo train resnet50 flowers/ --set lr=0.003 --epochs 20 --output run2/
  zoo train resnet50 flowers/ --resume             go on after whatever stopped it
  zoo train fasterrcnn_on cars/ --argument backbone=convnext_tiny
  zoo train resnet50 imagenet/ --recipe resnet50_v2 --from-scratch --nproc-per-node 8
  torchrun --nnodes 2 --nproc-per-node 8 ... --no-python zoo train resnet50 imagenet/

The classes are those of the data set. `zoo recipes` lists recipes, `zoo recipes --keys` what --set takes. The folder
of the run has best.pth, last.pth (to go on from), recipe.toml, metrics.jsonl and .csv, and curves.html and .png.
"""

_INTERRUPTED = 130


class _Train(launching.LaunchedCommand, Command):
    """Has the options of torchrun too."""


def _complete_keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    return items((f"{key}=", f.metadata["help"]) for key, f in Recipe.settable().items() if key.startswith(incomplete))


@click.command(cls=_Train, epilog=_EXAMPLES)
@choosing.model_argument()
@click.argument("data", cls=Argument, type=click.Path(path_type=Path), metavar="DATA", help="Folder of the data set.")
@click.option(
    "--recipe",
    metavar="NAME",
    help="A recipe, or a file that is one; finetune by default, and from scratch the one for the model.",
    shell_complete=complete_recipes,
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a key of the recipe. May be repeated.",
    shell_complete=_complete_keys,
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="How often the data set is gone through.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Samples of one process at a time.")
@click.option(
    "--weights",
    metavar="NAME",
    help="Published weights to begin with: IMAGENET1K_V1, DEFAULT, ...",
    shell_complete=complete_weights(),
)
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="A file to begin with.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the data set's classes, one a line, where it has only numbers (masks).",
)
@click.option(
    "--in-channels",
    type=click.IntRange(min=1),
    metavar="N",
    help="Channels of the images: 1 for grey ones; 3 by default.",
)
@click.option(
    "--argument",
    "arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of the model's builder: backbone=convnext_tiny of fasterrcnn_on, img_size=384 of a ViT. "
    "May be repeated.",
)
@click.option("--from-scratch", is_flag=True, help="Begin with fresh parameters.")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    default="run",
    help="Where the files of the run go.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in that folder, if there is one.")
@click.option("--save-every", type=click.IntRange(min=1), metavar="N", help="Save after each N steps too.")
@click.option("--safetensors", is_flag=True, help="Write best.safetensors in the place of best.pth.")
@device_option
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="How many processes read and augment.")
@click.option("--compile", "compiled", is_flag=True, help="Compile the model with torch.compile.")
@click.option("--deterministic", is_flag=True, help="Only algorithms that give the same result each time.")
@click.option(
    "--check-data", is_flag=True, help="Only read everything, and list all faults; some are looked for anyway."
)
@click.option("--json", "as_json", is_flag=True, help="Write the outcome as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    data: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    epochs: int | None,
    batch_size: int | None,
    weights: str | None,
    checkpoint: Path | None,
    labels: Path | None,
    in_channels: int | None,
    arguments: tuple[str, ...],
    from_scratch: bool,
    folder: Path,
    resume: bool,
    save_every: int | None,
    safetensors: bool,
    device: str,
    workers: int | None,
    compiled: bool,
    deterministic: bool,
    check_data: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Train a model on a data set."""
    if sum((weights is not None, checkpoint is not None, from_scratch)) > 1:
        raise UsageError("give one of --weights, --checkpoint and --from-scratch")
    settings = recipes.parse_settings(changes)
    settings |= {key: value for key, value in {"epochs": epochs, "batch_size": batch_size}.items() if value is not None}
    flags, _ = launching.split(given)

    from zoo_core import training
    from zoo_core.processes import LostProcessError, is_launched, world
    from zoo_core.training.loop import BEST, BEST_SAFETENSORS, check_folder, fit
    from zoo_core.training.precheck import empty_classes

    job = training.prepare(
        model,
        data,
        recipe=recipe,
        weights=weights,
        checkpoint=checkpoint,
        from_scratch=from_scratch,
        settings=settings,
        labels=None if labels is None else specs.read_labels(labels),
        in_channels=in_channels,
        arguments=recipes.parse_values(arguments),
    )
    if check_data:
        for note in (*job.notes, *empty_classes(job)):
            output.note(note)
        return checking.check_data(job.task, [job.samples, job.held_out], workers)
    if not is_launched():
        check_folder(folder, resume=resume)
    if flags and not is_launched():  # what is wrong with the data set as a whole was said once by now
        return launching.launch(flags, launching.words_of(context))
    try:
        with contextlib.ExitStack() as stack:
            outcome = fit(
                job,
                folder,
                resume=resume,
                device=device,
                workers=workers,
                compile=compiled,
                deterministic=deterministic,
                save_every=save_every,
                safetensors=safetensors,
                observer=_Terminal(job, stack),
            )
    except LostProcessError:
        return 1  # what started the processes says which of them it was, and once is enough
    if not world().is_first:
        return _INTERRUPTED if outcome.interrupted else 0
    return _finish(context, job, folder / (BEST_SAFETENSORS if safetensors else BEST), outcome, as_json)


class _Terminal(Observer):
    """Shows how a run goes: a bar where stderr is a terminal, and a line for each epoch."""

    def __init__(self, job: "Job", stack: contextlib.ExitStack) -> None:
        self._job, self._stack = job, stack
        self._advance: Callable[[int], None] = lambda steps: None
        self._done = 0

    def begin(self, done: int, steps: int) -> None:
        job = self._job
        start = "fresh parameters" if job.origin is None else str(job.origin)
        samples = f"{output.counted(len(job.samples), 'sample')}, {len(job.held_out)} held out"
        output.note(f"{job.spec.name} from {start}, recipe {job.recipe.name}: {samples}")
        for note in job.notes:
            output.note(note)
        if done:
            output.note(f"goes on after step {done} of {steps}")
        self._advance = self._stack.enter_context(output.progress("training", steps))
        self._advance(done)
        self._done = done

    def note(self, message: str) -> None:
        output.warning(message)

    def step(self, done: int, loss: float) -> None:
        self._advance(done - self._done)
        self._done = done

    def epoch(self, record: Mapping[str, float]) -> None:
        # The figures of single classes, ``iou (cat)``, are in the files.
        rest = {name: value for name, value in record.items() if name not in ("epoch", "step") and "(" not in name}
        figures = ", ".join(f"{name} {value:.4g}" for name, value in rest.items())
        output.note(f"epoch {record['epoch']:.0f}/{self._job.recipe.epochs}: {figures}")

    def bad(self, messages: Sequence[str]) -> None:
        for message in messages:
            output.warning(f"{message}; not scored")


def _finish(context: click.Context, job: "Job", best: Path, outcome: "Outcome", as_json: bool) -> int:
    if as_json:
        output.write_json(
            {
                "model": job.spec.name,
                "recipe": job.recipe.name,
                "output": str(best.parent),
                "epoch": outcome.epoch,
                "steps": outcome.steps,
                "interrupted": outcome.interrupted,
                "metrics": dict(outcome.metrics),
            }
        )
    elif outcome.epoch:
        output.write(f"best epoch: {outcome.epoch}")
        rows = [[name, f"{value:.3f}"] for name, value in outcome.metrics.items()]
        output.write_table([output.Column("metric"), output.Column("held out", right=True)], rows)
    if outcome.interrupted:
        words = [word for word in launching.words_of(context) if word != "--resume"]
        done = f"stopped after step {outcome.steps} of {outcome.of_steps}, which is saved"
        output.note(f"{done}; go on with: zoo {shlex.join([*words, '--resume'])}")
        return _INTERRUPTED
    if not as_json:
        output.note(f"{best} says what it is: zoo predict {best} {job.task.declaration.examples}")
    return 0
