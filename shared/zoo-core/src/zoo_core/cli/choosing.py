"""Which model a line means: the options for that, once for all commands that run one, and what they stand for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from zoo_core import catalog, specs
from zoo_core.addresses import is_stream
from zoo_core.catalog import Checkpoint, Model
from zoo_core.catalog.labels import is_background
from zoo_core.cli import facts, output
from zoo_core.cli.errors import UsageError
from zoo_core.cli.parser import Argument, Function, complete_models, complete_weights, together
from zoo_core.declarations import Declaration, declaration, declarations, on_backbones
from zoo_core.specs import ModelSpec

__all__ = [
    "choose",
    "choose_with_files",
    "declaration_of",
    "declared_by_model",
    "is_checkpoint",
    "is_file",
    "model_argument",
    "model_options",
    "only",
]

_LABELS_SHOWN = 10
# A model that knows so few is wrong about most images.
_FEW_LABELS = 100


def model_argument(*, required: bool = True) -> Callable[[Function], Function]:
    """The argument ``model``: a name, or a file that says which model it is for."""
    return click.argument(
        "model",
        cls=Argument,
        required=required,
        metavar="MODEL",
        help="Name of a model, or a checkpoint that says which model it is for.",
        shell_complete=complete_models,
    )


def model_options(function: Function) -> Function:
    """Adds ``--weights``, ``--checkpoint`` and ``--labels`` to a command, whose values :func:`choose` takes."""
    return together(
        click.option(
            "--weights",
            metavar="NAME",
            help="Weights of the model: IMAGENET1K_V1, DEFAULT, ...",
            shell_complete=complete_weights(),
        ),
        click.option(
            "--checkpoint",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="A file with parameters of your own for the model.",
        ),
        click.option(
            "--labels",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Names of the model's classes, one a line, in the order of its outputs.",
        ),
    )(function)


def choose(
    model: str | None, *, weights: str | None = None, checkpoint: Path | None = None, labels: Path | None = None
) -> ModelSpec:
    """What a line says about its model; see :func:`zoo_core.specs.find`.

    Args:
        model: its name, or a checkpoint that says what it is; ``None`` where only ``checkpoint`` is given.
        weights, checkpoint, labels: of :func:`model_options`.

    Raises:
        UsageError: the options contradict each other.
    """
    if checkpoint is not None and weights is not None:
        raise UsageError("give --weights or --checkpoint, not both")
    if checkpoint is not None and model is not None and is_checkpoint(model):
        raise UsageError(f"--checkpoint goes with the name of a model, and {model} is a file")
    return specs.find(model, weights=weights, checkpoint=checkpoint, labels=labels)


def choose_with_files(
    words: Sequence[str],
    *,
    task: str | None = None,
    weights: str | None = None,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    more_files: bool = False,
) -> tuple[ModelSpec, Sequence[str]]:
    """The model that the words of a line mean, which may begin with its name, and the words that mean files.

    Args:
        words: of the line. Without a model among them, a checkpoint that ships in a package serves.
        task: for calls without a model.
        weights, checkpoint, labels: of :func:`model_options`.
        more_files: whether there are files that the words do not name.

    Raises:
        UsageError: the options contradict each other, or there are no files.
        zoo_core.catalog.UnknownModelError: the first word is neither a model nor a file.
        ValueError: no model is named, and no installed package ships weights for such files.
    """
    first, *rest = words or ("",)
    if first.lower() in catalog.models() or is_checkpoint(first):
        spec = choose(first, weights=weights, checkpoint=checkpoint, labels=labels)
        if task is not None:
            raise UsageError(f"--task is for calls without a model, and {spec.name} is one")
        if not rest and not more_files:
            raise UsageError(f"give files for {spec.name} to look at")
        return spec, rest
    if first.lower() in on_backbones():
        raise UsageError(
            f"{first} has no weights of its own: train it (zoo train {first} DATA --argument backbone=convnext_tiny), "
            "and give the checkpoint"
        )
    if words and not is_file(first):
        raise catalog.unknown_model(first, catalog.models())
    if late := next((word for word in rest if word.lower() in catalog.models() and not is_file(word)), None):
        raise UsageError(f"the name of the model comes before the files: zoo predict {late} {first}")
    if checkpoint is not None:
        return choose(None, weights=weights, checkpoint=checkpoint, labels=labels), words
    if weights is not None or labels is not None:
        option = "--labels" if weights is None else "--weights"
        raise UsageError(f"{option} goes with the name of a model, which comes before the files")
    model, found = _embedded(words, task)
    spec = specs.find(model.name, weights=found.name)
    package = found.url.removeprefix("package:").partition("/")[0]
    is_broad = len(spec.labels) > _FEW_LABELS
    knows = f" and knows {found.knows or f'{len(spec.labels):,} classes'}" if is_broad else ""
    output.note(f"no model was named: {spec.name} with {spec.weights}, which ships in {package}{knows}")
    if spec.labels and not is_broad:
        output.warning(
            f"this model knows nothing but {_classes(spec.labels)}{_data_of(spec)}, and takes whatever it sees for one "
            f"of them. For other images, name a model: zoo predict MODEL {first or 'FILE'}; `zoo list` shows them"
            + _more_to_install(words, task, len(spec.labels))
        )
    return spec, words


def _more_to_install(words: Sequence[str], task: str | None, than: int) -> str:
    """How to get the weights that know most of such files, if they know more labels than so many."""
    found = _fitting(facts.to_install(), words, task)
    if not found or len(found[0][1].categories or ()) <= than:
        return ""
    model, checkpoint = found[0]
    return f". {model.name} knows {checkpoint.knows}: {checkpoint.install(model.source)}"


def _classes(labels: Sequence[str]) -> str:
    known = [label for label in labels if not is_background(label)]
    return f"{len(known)} classes ({', '.join(known[:_LABELS_SHOWN])}{', ...' if len(known) > _LABELS_SHOWN else ''})"


def _data_of(spec: ModelSpec) -> str:
    data = spec.facts.get("metrics") or {}
    return f" of {' and '.join(data)}" if data else ""


def only(tasks: Sequence[str]) -> str | None:
    """The one task that was given, if any.

    Raises:
        UsageError: there are several.
    """
    if len(tasks) > 1:
        raise UsageError(f"a call does one task, and --task names {' and '.join(tasks)}; call once for each")
    return tasks[0] if tasks else None


def is_checkpoint(word: str) -> bool:
    """Whether a word names a file that is there and holds a model."""
    return specs.names_file(word) and is_file(word) and Path(word).is_file()


def is_file(word: str) -> bool:
    """Whether a word means files, and is not the misspelt name of a model."""
    try:
        exists = word != "" and Path(word).exists()
    except OSError:  # too long for a name, or in a folder that may not be read
        return True
    return exists or word == "-" or is_stream(word) or any(character in word for character in "./\\*?[")


def _fitting(
    found: Sequence[tuple[Model, Checkpoint]], words: Sequence[str], task: str | None
) -> list[tuple[Model, Checkpoint]]:
    """Those for such files, the most knowing first: of tasks that take files of this kind, if any does."""
    candidates = facts.most_knowing((m, c) for m, c in found if task is None or m.task == task)
    endings = {Path(word).suffix.lower() for word in words} - {""}
    fitting = [
        (model, checkpoint)
        for model, checkpoint in candidates
        if model.task in declarations() and endings <= declarations()[model.task].suffixes
    ]
    return fitting or candidates


def _embedded(words: Sequence[str], task: str | None) -> tuple[Model, Checkpoint]:
    """The weights at hand for such files."""
    facts.of_task(task)
    found = _fitting(facts.embedded(), words, task)
    if not found:
        of_task = "" if task is None else f" of the task {task}"
        raise ValueError(
            f"no installed package ships weights{of_task}, so name a model: zoo predict MODEL FILE...; `zoo list` "
            "shows which there are"
        )
    return found[0]


def declared_by_model(parsed: Mapping[str, Any]) -> Declaration:
    """What the task of the argument ``model`` declares; see :class:`~zoo_core.cli.task_options.TaskCommand`.

    Raises:
        ValueError: the line names no model, or one of no task that is known.
    """
    model = parsed.get("model")
    if not isinstance(model, str):
        raise ValueError("the line does not name a model")
    return declaration(specs.find(model).task)


def declaration_of(words: Sequence[str], task: str | None = None, checkpoint: Path | None = None) -> Declaration:
    """What the task of such a line declares.

    Raises:
        ValueError: the line does not tell its task, or that is not declared.
    """
    named = next((catalog.models()[word.lower()] for word in words if word.lower() in catalog.models()), None)
    if named is not None:
        return declaration(named.task)
    if task is not None:
        return declaration(task)
    if checkpoint is not None:
        return declaration(specs.find(None, checkpoint=checkpoint).task)
    files = [word for word in words if is_file(word)]
    if not files:
        raise ValueError("no word tells the task")
    return declaration(specs.find(words[0]).task if is_checkpoint(words[0]) else _embedded(files, None)[0].task)
