"""``zoo info``: what is known about one model."""

import textwrap
from typing import Annotated, Any

import typer

from zoo_core import catalog, checkpoints
from zoo_core.catalog import Checkpoint, Model
from zoo_core.cli import facts, output

_EXAMPLES = """\b
Examples:
  zoo info resnet50
  zoo info resnet50 --weights IMAGENET1K_V1 --json
"""


def register(app: typer.Typer, arguments: list[str]) -> None:
    app.command("info", epilog=_EXAMPLES)(info)


def info(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model; `zoo list` shows them.")],
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only these weights: IMAGENET1K_V1, DEFAULT, ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write it as JSON, labels included.")] = False,
) -> None:
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
                "weights": [_as_json(checkpoint) for checkpoint in shown],
            }
        )
        return
    print(f"{output.bold(model.name)}: {model.task}, in the package {model.source.package}")
    for checkpoint in shown:
        default = "  (default)" if checkpoint.name == model.default else ""
        print(f"\n{output.bold(f'{model.weights}.{checkpoint.name}')}{default}")
        facts_by_title = _facts(checkpoint)
        width = max(map(len, facts_by_title))
        for title, text in facts_by_title.items():
            print(f"  {title.ljust(width)}  {text}")
    print(f"\n{output.bold('In Python')}\n{textwrap.indent(_usage(model, weights), '  ')}")
    print(f"\n{output.bold('In the shell')}\n  zoo predict {model.name} FILE...")


def _as_json(checkpoint: Checkpoint) -> dict[str, Any]:
    return facts.describe(checkpoint) | {
        "path": str(checkpoints.locate(checkpoint.url)),
        "preprocessing": {"preset": checkpoint.preset, **checkpoint.preset_arguments},
        "min_size": checkpoint.min_size,
        "min_temporal_size": checkpoint.min_temporal_size,
        "clip_length": checkpoint.clip_length,
        "frame_rate": checkpoint.frame_rate,
        "categories": checkpoint.categories,
        "keypoint_names": checkpoint.keypoint_names,
        "recipe": checkpoint.recipe,
        "license": checkpoint.license,
        "backend": checkpoint.backend,
        "unquantized": checkpoint.unquantized,
        "docs": checkpoint.docs,
    }


def _facts(checkpoint: Checkpoint) -> dict[str, str]:
    """Title -> text, without what is not known."""
    known: dict[str, str | None] = {
        data_set: ", ".join(f"{metric} {value:g}" for metric, value in values.items())
        for data_set, values in checkpoint.metrics.items()
    }
    arguments = ", ".join(f"{key}={value!r}" for key, value in checkpoint.preset_arguments.items())
    path = checkpoints.locate(checkpoint.url)
    place = facts.place(checkpoint)
    size = None if checkpoint.file_size is None else output.size(checkpoint.file_size * 2**20)
    known |= {
        "parameters": _format(checkpoint.num_params, "{:,}"),
        "GFLOPs": _format(checkpoint.ops, "{:g}"),
        "smallest input": _format(checkpoint.min_size, "{0[0]}x{0[1]} (height x width)"),
        "fewest frames": _format(checkpoint.min_temporal_size, "{}"),
        "frames of a clip": _format(checkpoint.clip_length, "{}"),
        "frames per second": _format(checkpoint.frame_rate, "{:g}"),
        "preprocessing": f"{checkpoint.preset}({arguments})",
        "labels": _labels(checkpoint.categories),
        "keypoints": _labels(checkpoint.keypoint_names),
        "file": ", ".join(filter(None, (size, f"{place}: {path}" if place else "not downloaded yet"))),
        "url": checkpoint.url,
        "recipe": checkpoint.recipe,
        "license": checkpoint.license,
        "backend": checkpoint.backend,
        "unquantized": checkpoint.unquantized,
        "notes": None if checkpoint.docs is None else " ".join(checkpoint.docs.split()),
    }
    return {title: text for title, text in known.items() if text}


def _format(value: Any, form: str) -> str | None:
    return None if value is None else form.format(value)


def _labels(labels: tuple[str, ...] | None, most: int = 5) -> str | None:
    if labels is None:
        return None
    return f"{len(labels)}: {', '.join(labels[:most])}{', ...' if len(labels) > most else ''}"


def _usage(model: Model, weights: str | None) -> str:
    # The packages of the zoo re-export their models; others may or may not.
    package = model.source.package
    home = package if package.replace("_", "-") in catalog.published_models() else model.module
    checkpoint = model.checkpoint("DEFAULT" if weights is None else weights)
    member = f"{model.weights}.{'DEFAULT' if weights is None else checkpoint.name}"
    quantize = "" if checkpoint.backend is None else ", quantize=True"
    return "\n".join(
        (
            f"from {home} import {model.weights}, {model.function}",
            "",
            f"weights = {member}",
            f"model = {model.function}(weights=weights{quantize}).eval()",
            "preprocess = weights.transforms()",
        )
    )
