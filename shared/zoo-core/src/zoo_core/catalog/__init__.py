"""The catalogue: which models there are, and what was published for them.

Checkpoints are data. Every package of the zoo keeps a folder of TOML files, one a module of models
(``catalog/resnet.toml`` beside ``resnet.py``), and names that folder in the entry point group ``zoo.catalogs``::

    [project.entry-points."zoo.catalogs"]
    classification = "zoo_classification:catalog"      # task = "top-level package:folder in it"

A file holds one table for each model::

    [resnet50]
    builder = "zoo_classification.resnet:resnet50"
    weights = "ResNet50_Weights"
    default = "IMAGENET1K_V2"

    [resnet50.checkpoints.IMAGENET1K_V1]
    url = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    sha256_prefix = "0676ba61"
    transforms = { preset = "ImageClassification", crop_size = 224 }
    ...

What a paper says of weights that cannot be had goes into a table ``[NAME.paper]`` of the model (:class:`Paper`).

Nothing here imports torch or a model package, so that the command line can answer at once.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from zoo_core.catalog import labels, plugins, values
from zoo_core.catalog.errors import CatalogError, CatalogWarning, UnknownModelError, UnknownWeightsError
from zoo_core.catalog.names import match, members_named, nearest, spelt
from zoo_core.catalog.plugins import Plugin, is_ours, owners, published_models
from zoo_core.catalog.preset import Preset
from zoo_core.catalog.reading import read_file
from zoo_core.catalog.schema import Checkpoint, Model, Paper, Source
from zoo_core.preset_arguments import PRESETS
from zoo_core.text import printable

__all__ = [
    "ENTRY_POINT_GROUP",
    "PRESETS",
    "CatalogError",
    "CatalogWarning",
    "Checkpoint",
    "Model",
    "Paper",
    "Plugin",
    "Preset",
    "Source",
    "UnknownModelError",
    "UnknownWeightsError",
    "add_source",
    "clear_cache",
    "file_of_module",
    "is_ours",
    "load",
    "match",
    "members_named",
    "model",
    "models",
    "nearest",
    "owners",
    "published_models",
    "read_file",
    "sources",
    "spelt",
    "unknown_model",
    "weights_in_file",
]

ENTRY_POINT_GROUP = "zoo.catalogs"

_added_sources: list[Source] = []


def add_source(task: str, package: str, directory: Path) -> None:
    """Adds a folder of catalogue files for this process, as an installed package does by its entry point.

    Args:
        task: the task that the models belong to.
        package: the top-level package that holds the builders; it must be importable when a model is built.
        directory: the folder with the ``*.toml`` files.
    """
    source = Source(task, package, Path(directory))
    if source not in _added_sources:
        _added_sources.append(source)
        clear_cache()


def clear_cache() -> None:
    """Forgets what was read, for a process in which packages were installed or sources added meanwhile."""
    plugins.clear_cache()
    for function in (sources, models, read_file, labels.read_file):
        function.cache_clear()


@functools.cache
def sources() -> tuple[Source, ...]:
    """The catalogues of this environment: those of our own packages, then the others, each sorted by task.

    They are the folders that were added by hand, and those of installed packages. A package whose entry point names no
    folder is left out with a :class:`CatalogWarning`.
    """
    found = {(source.task, source.package): source for source in _added_sources}
    for plugin in plugins.plugins(ENTRY_POINT_GROUP):
        package, _, folder = (part.strip() for part in plugin.value.partition(":"))
        if (plugin.name, package) in found:
            continue
        what = f"{plugin.file}: the entry point {plugin.name} = {plugin.value!r} in the group {ENTRY_POINT_GROUP}"
        try:
            values.name(plugin.name)
        except values.WrongValueError as wrong:
            plugins.warn(plugin.distribution, f"{what}: the name of a task {wrong}; its models are left out")
            continue
        directory = plugins.folder_in_package(package, folder)
        if directory is None:
            plugins.warn(
                plugin.distribution,
                f'{what} names no folder that can be found (expected "package:folder in it"), so its models are left '
                "out; reinstall or remove the package",
            )
            continue
        found[plugin.name, package] = Source(plugin.name, package, directory)
    return tuple(sorted(found.values(), key=lambda source: (not source.ours, source.task, source.package)))


@functools.cache
def models() -> Mapping[str, Model]:
    """All models of the installed packages, by name, sorted.

    What breaks the schema is left out, a file at a time, with one :class:`CatalogWarning` for each package, so that one
    package cannot take down the others. So is a model whose name another package has: the names of the zoo's models
    belong to its own packages, other names to the package that comes first.
    """
    found: dict[str, Model] = {}
    files: dict[str, Checkpoint] = {}
    for source in sources():
        problems = []
        for path in sorted(source.directory.glob("*.toml")):
            try:
                entries = read_file(path, source)
            except CatalogError as error:
                problems.append(f"{error}; the models of this file are left out")
                continue
            for entry in entries.values():
                problem = _conflict(entry, found, files)
                if problem is not None:
                    problems.append(f"{path} {problem}")
                    continue
                found[entry.name] = entry
                if source.ours:
                    files |= {name: c for c in entry.checkpoints.values() if (name := _name_in_cache(c)) is not None}
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            warnings.warn(f"the package {printable(source.package)}: {problems[0]}{more}", CatalogWarning, stacklevel=2)
    return {name: found[name] for name in sorted(found)}


def _conflict(entry: Model, found: Mapping[str, Model], files: Mapping[str, Checkpoint]) -> str | None:
    """Why a model cannot join those found so far.

    Args:
        entry: the model.
        found: the models so far, by name.
        files: the checkpoints of our own packages, by the name of the file in the cache.
    """
    if not entry.source.ours and entry.name in owners():
        return f"defines the model {entry.name!r}, whose name belongs to {owners()[entry.name]}; it is left out"
    if entry.name in found:
        first = found[entry.name].source.package
        return f"defines the model {entry.name!r}, which {first} has already; the model of {first} is used"
    if entry.source.ours:
        return None
    if entry.source not in _added_sources and not plugins.module_exists(entry.module):
        return f"[{entry.name}]: its builder's module {entry.module} does not exist; the model is left out"
    for checkpoint in entry.checkpoints.values():
        ours = files.get(_name_in_cache(checkpoint) or "")
        if ours is not None and not _same_file(checkpoint, ours):
            return (
                f"[{entry.name}.checkpoints.{checkpoint.name}]: its file would have the place in the cache that "
                f"belongs to {ours.url}; the model is left out"
            )
    return None


def _name_in_cache(checkpoint: Checkpoint) -> str | None:
    is_remote = checkpoint.url.startswith(("https:", "http:"))
    return PurePosixPath(checkpoint.url.partition("?")[0].partition("#")[0]).name if is_remote else None


def _same_file(one: Checkpoint, other: Checkpoint) -> bool:
    first, second = one.sha256_prefix or "", other.sha256_prefix or ""
    return one.url == other.url or bool(first and second and (first.startswith(second) or second.startswith(first)))


def model(name: str) -> Model:
    """The model of that name.

    Raises:
        UnknownModelError: no installed package has it. The message names the package to install if one of ours has it,
            or else the names that are nearest.
    """
    if name in models():
        return models()[name]
    raise unknown_model(name, models())


def load(entry: Model, attribute: str) -> Any:
    """What a model's module has under a name: its builder, or its weights enum. Imports the module.

    Raises:
        CatalogError: there is no such module, or no such name in it.
    """
    where = f"the package {entry.source.package} has the model {entry.name} in its catalogue, but"
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{entry.module}.".startswith(f"{error.name}."):
            raise  # what is missing is something that the module needs
        raise CatalogError(f"{where} there is no module {error.name}; reinstall the package") from error
    if not hasattr(module, attribute):
        raise CatalogError(f"{where} the module {entry.module} has no {attribute}; reinstall or update the package")
    return getattr(module, attribute)


def unknown_model(name: str, known: Iterable[str]) -> UnknownModelError:
    """The error for a name that is not among the ``known`` ones; see :func:`model`."""
    everywhere = {n: distribution for distribution, names in published_models().items() for n in names}
    if name in everywhere:
        return UnknownModelError(f"{name} is in a package that is not installed: pip install {everywhere[name]}")
    near = nearest(name, {*known, *everywhere})
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `zoo list` shows the models there are"
    return UnknownModelError(f"unknown model {name!r}{hint}")


def file_of_module(module_file: str | Path) -> Path:
    """The catalogue file of a module of models: ``.../resnet.py`` -> ``.../catalog/resnet.toml``."""
    path = Path(module_file)
    return path.parent / "catalog" / f"{path.stem}.toml"


def weights_in_file(path: Path, enum_name: str) -> Model:
    """The model in a catalogue file whose weights enum has the given class name: the same object as in :func:`models`.

    Raises:
        CatalogError: the file is missing or broken, or no model in it has that enum.
    """
    source = next((source for source in sources() if _same_folder(source.directory, path.parent)), None)
    if source is None:
        # A package that is on the path, but neither installed nor added: its catalogue is known from here on only.
        source = Source("", path.parent.parent.name, path.parent)
    for entry in read_file(source.directory / path.name, source).values():
        if entry.weights == enum_name:
            return entry
    raise CatalogError(f'{path}: no model has weights = "{enum_name}"; add its table to this file')


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one == other or (one.name == other.name and os.path.samefile(one, other))
    except OSError:
        return False
