"""``zoo list``: which models there are."""

import math
from enum import StrEnum
from typing import Annotated

import typer

from zoo_core import catalog
from zoo_core.catalog import Checkpoint, Model
from zoo_core.cli import facts, output

# The metric that a task is best known by, and whether more of it is better.
_MAIN_METRICS = {"acc@1": True, "miou": True, "box_map": True, "epe": False}

_COLUMNS = (
    output.Column("model"),
    output.Column("task", spare=1),
    output.Column("accuracy", right=True, spare=3),
    output.Column("params", right=True, spare=4),
    output.Column("GFLOPs", right=True, spare=5),
    output.Column("file", right=True, spare=6),
    output.Column("on this machine", spare=2),
)

_EXAMPLES = """\b
Examples:
  zoo list                        all models
  zoo list resnet                 those with "resnet" in the name
  zoo list 'vit_*' 'swin_*'       by shell patterns, in quotes
  zoo list --task detection --sort acc
  zoo list --json | jq -r '.[] | select(.available) | .name'

Numbers are those of the default weights: accuracy as published (`zoo info MODEL` says on which data), parameters in
millions, billions of multiply-adds for one input, size of the file. The last column names the weights that need no
download.
"""


class Sort(StrEnum):
    NAME = "name"
    ACC = "acc"
    PARAMS = "params"
    GFLOPS = "gflops"
    SIZE = "size"


def register(app: typer.Typer, arguments: list[str]) -> None:
    app.command("list", epilog=_EXAMPLES)(list_models)


def list_models(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN", help="Part of a name, or a shell pattern for whole names.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only models of this task: classification, detection, ...")
    ] = None,
    sort: Annotated[
        Sort, typer.Option(help="By task and name, or: best accuracy of each task first; smallest first.")
    ] = Sort.NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Write all that is known, as JSON.")] = False,
) -> int:
    """Show which models there are."""
    try:
        models = facts.select(patterns) if patterns else list(catalog.models().values())
    except catalog.UnknownModelError:
        if as_json:
            output.write_json([])
        raise
    if task is not None:
        of_task = facts.of_task(task)
        models = [model for model in models if model in of_task]
    models.sort(key=lambda model: _sort_key(model, sort))

    if as_json:
        output.write_json(
            [
                {"name": m.name, "task": m.task, "package": m.source.package, "default": m.default}
                | {k: v for k, v in facts.describe(m.checkpoint()).items() if k != "name"}
                | {"weights": [facts.describe(checkpoint) for checkpoint in m.checkpoints.values()]}
                for m in models
            ]
        )
        return 0
    if models:
        output.write_table(_COLUMNS, [_row(model) for model in models])
    elif patterns:
        output.note(f"no model of the task {task} matches {' '.join(patterns)}")
    absent = {d: names for d, names in catalog.published_models().items() if not catalog.models().keys() & set(names)}
    if absent and not patterns and task is None:
        packages = ", ".join(f"{distribution} ({len(names)} models)" for distribution, names in absent.items())
        output.note(f"not installed: {packages}; pip install them")
    return 0 if models else 1


def _main_metric(checkpoint: Checkpoint) -> tuple[str, float] | None:
    for name in _MAIN_METRICS:
        for values in checkpoint.metrics.values():
            if name in values and math.isfinite(values[name]):
                return name, values[name]
    return None


def _sort_key(model: Model, sort: Sort) -> tuple[bool | str | float, ...]:
    """What is not known comes last."""
    checkpoint = model.checkpoint()
    if sort is Sort.NAME:
        return model.task, model.name
    if sort is Sort.ACC:
        metric = _main_metric(checkpoint)
        # Metrics of different tasks cannot be compared.
        if metric is None:
            return model.task, True, model.name
        name, value = metric
        return model.task, False, -value if _MAIN_METRICS[name] else value, model.name
    values: dict[Sort, float | None] = {
        Sort.PARAMS: checkpoint.num_params,
        Sort.GFLOPS: checkpoint.ops,
        Sort.SIZE: checkpoint.file_size,
    }
    number = values[sort]
    return (True, model.name) if number is None else (False, number, model.name)


def _row(model: Model) -> list[str]:
    checkpoint = model.checkpoint()
    metric = _main_metric(checkpoint)
    here = [(c.name, place) for c in model.checkpoints.values() if (place := facts.place(c)) is not None]
    return [
        model.name,
        model.task,
        "" if metric is None else f"{metric[0]} {metric[1]:.{2 if metric[0] == 'epe' else 1}f}",
        "" if checkpoint.num_params is None else f"{checkpoint.num_params / 1e6:.1f}M",
        "" if checkpoint.ops is None else f"{checkpoint.ops:.2f}",
        "" if checkpoint.file_size is None else output.size(checkpoint.file_size * 2**20),
        ", ".join(name if place == "cached" else f"{name} ({place})" for name, place in here),
    ]
