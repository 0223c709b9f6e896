"""What several commands ask of the catalogue and of the files on this machine."""

import contextlib
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_core import catalog, checkpoints
from zoo_core.catalog import Checkpoint, Model
from zoo_core.catalog.labels import is_background
from zoo_core.declarations import declarations
from zoo_core.text import redacted


def place(checkpoint: Checkpoint) -> str | None:
    """How a checkpoint is at hand: ``"embedded"`` in a package, ``"cached"``, a ``"local"`` file; or ``None``."""
    if not checkpoints.is_cached(checkpoint.url):
        return None
    if checkpoint.embedded:
        return "embedded"
    return "local" if checkpoint.url.startswith("file:") else "cached"


def where(model: Model, checkpoint: Checkpoint) -> str:
    """Where a checkpoint is, or how it gets here, in words."""
    found = place(checkpoint)
    if found is not None:
        return f"{found}: {checkpoints.locate(checkpoint.url)}"
    install = checkpoint.install(model.source)
    if install is not None:
        return f"not installed: {install}"
    return f"missing: reinstall {model.source.distribution}" if checkpoint.embedded else "not downloaded yet"


def call(model: Model, checkpoint: Checkpoint, files: str | None = None) -> str:
    """The call of ``zoo predict`` that runs these weights.

    Args:
        model: what they are of.
        checkpoint: the weights.
        files: by default what the model's task takes.
    """
    if files is None:
        files = declarations()[model.task].examples if model.task in declarations() else "FILE..."
    weights = "" if checkpoint.name == model.default else f" --weights {checkpoint.name}"
    return f"zoo predict {model.name} {files}{weights}"


def embedded() -> list[tuple[Model, Checkpoint]]:
    """The checkpoints that ship in installed packages, those of the zoo's own first."""
    return [
        (model, checkpoint)
        for model in sorted(catalog.models().values(), key=lambda m: (not m.source.ours, m.task, m.name))
        for checkpoint in model.checkpoints.values()
        if place(checkpoint) == "embedded"
    ]


def to_install() -> list[tuple[Model, Checkpoint]]:
    """The checkpoints that would be at hand with an extra of an installed package of the zoo."""
    return [
        (model, checkpoint)
        for model in catalog.models().values()
        for checkpoint in model.checkpoints.values()
        if model.source.ours and checkpoint.extra is not None and place(checkpoint) is None
    ]


def most_knowing(found: Iterable[tuple[Model, Checkpoint]]) -> list[tuple[Model, Checkpoint]]:
    """Checkpoints in the order in which they serve a user who names none.

    Those of the zoo's own packages first; of these the ones with the most labels; of these the first task by name; of
    that the smallest file.
    """

    def key(one: tuple[Model, Checkpoint]) -> tuple[bool, int, str, float, str]:
        model, checkpoint = one
        labels = [label for label in checkpoint.categories or () if not is_background(label)]
        return not model.source.ours, -len(labels), model.task, checkpoint.file_size or math.inf, model.name

    return sorted(found, key=key)


def by_file() -> Mapping[Path, tuple[Model, Checkpoint]]:
    """Every checkpoint of the catalogue by the path that it has, or will have, on this machine."""
    found: dict[Path, tuple[Model, Checkpoint]] = {}
    # Those of the zoo's own packages last: a file that is theirs stays theirs, whatever other catalogues say.
    for model in sorted(catalog.models().values(), key=lambda model: model.source.ours):
        for checkpoint in model.checkpoints.values():
            with contextlib.suppress(checkpoints.CheckpointError):  # it lies in a package that is not installed
                found[checkpoints.locate(checkpoint.url)] = model, checkpoint
    return found


def select(patterns: Iterable[str], *, exact: bool = False) -> list[Model]:
    """The models that any of the patterns names, each once.

    Args:
        patterns: names or shell patterns (``"resnet*"``).
        exact: whether a pattern without wildcards is a whole name. If not, any part of one will do.

    Raises:
        zoo_core.catalog.UnknownModelError: a pattern names none.
    """
    found: dict[str, Model] = {}
    for pattern in patterns:
        is_name = not set(pattern) & set("*?[")
        if is_name and exact:
            found[pattern.lower()] = catalog.model(pattern.lower())
            continue
        names = catalog.match(catalog.models(), f"*{pattern.lower()}*" if is_name else pattern, None)
        if not names:
            if is_name:
                raise catalog.unknown_model(pattern, catalog.models())
            raise catalog.UnknownModelError(f"no model matches {pattern!r}; `zoo list` shows those there are")
        found |= {name: catalog.models()[name] for name in names}
    return list(found.values())


def of_task(task: str | None) -> list[Model]:
    """The models of a task, or of all for ``None``.

    Raises:
        ValueError: no installed package has any; the message names the package to install, or the tasks there are.
    """
    models = [model for model in catalog.models().values() if task is None or model.task == task]
    if models:
        return models
    if task is None:
        packages = ", ".join(catalog.published_models())
        raise ValueError(f"no package with models is installed; pip install one or more of {packages}")
    if f"zoo-{task}" in catalog.published_models():
        raise ValueError(f"models of the task {task} are in a package that is not installed: pip install zoo-{task}")
    tasks = sorted({model.task for model in catalog.models().values()})
    near = difflib.get_close_matches(task, tasks, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(tasks) or 'none, as no package is installed'}"
    raise ValueError(f"unknown task {task!r}; {hint}")


def of_tasks(tasks: Sequence[str]) -> list[Model]:
    """The models of any of these tasks, or of all for none; see :func:`of_task`."""
    return [model for task in tasks for model in of_task(task)] if tasks else of_task(None)


def describe(checkpoint: Checkpoint, *, brief: bool = True) -> dict[str, Any]:
    """What is known about a checkpoint, as plain data.

    Args:
        checkpoint: of any model.
        brief: only what lists show, without labels and preprocessing.
    """
    return checkpoint.as_dict(brief=brief) | {"url": redacted(checkpoint.url), "available": place(checkpoint)}
