"""What installed packages bring by entry points; one broken package disturbs no other.

Names that packages of the zoo have stay theirs: their entry points come first, and only their own distributions speak
for them.
"""

import functools
import importlib.metadata
import os
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

from zoo_core.catalog.errors import CatalogWarning
from zoo_core.package_files import package_folders
from zoo_core.text import printable


@functools.cache
def published_models() -> Mapping[str, tuple[str, ...]]:
    """The names of all models of the zoo, by the distribution that has them, installed or not."""
    with (Path(__file__).parents[1] / "published_models.toml").open("rb") as file:
        return {distribution: tuple(names) for distribution, names in tomllib.load(file).items()}


@functools.cache
def owners() -> Mapping[str, str]:
    """The distribution that a model's name belongs to, by name, for the models of the zoo."""
    return {name: distribution for distribution, names in published_models().items() for name in names}


def is_ours(package: str) -> bool:
    """Whether a top-level package is one of the zoo's own."""
    return package.replace("_", "-") in published_models()


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package.

    Attributes:
        name: left of the equals sign.
        value: right of it.
        distribution: the name of the distribution, in lower case with dashes.
        file: where it is written.
        entry_point: to load it.
    """

    name: str
    value: str
    distribution: str
    file: Path
    entry_point: EntryPoint

    @property
    def package(self) -> str:
        """The top-level package that the value names."""
        return re.split(r"[.:\s]", self.value.strip(), maxsplit=1)[0]

    @property
    def ours(self) -> bool:
        """Whether it belongs to a package of the zoo."""
        return is_ours(self.package)


@functools.cache
def plugins(group: str) -> tuple[Plugin, ...]:
    """The entry points of a group, those of our own packages first.

    Left out, with a :class:`CatalogWarning`, is what cannot be read, and what claims to be in a package of ours but
    belongs to another distribution.
    """
    found = []
    for entry_point in _entry_points(group):
        distribution = entry_point.dist
        plugin = Plugin(entry_point.name, entry_point.value, _name(distribution), _file(distribution), entry_point)
        if plugin.ours and plugin.distribution != plugin.package.replace("_", "-"):
            warn(
                plugin.distribution,
                f"{plugin.file}: the entry point {plugin.name} = {plugin.value!r} in the group {group} names the "
                f"package {plugin.package}, which belongs to {plugin.package.replace('_', '-')}; it is left out",
            )
            continue
        found.append(plugin)
    return tuple(sorted(found, key=lambda plugin: (not plugin.ours, plugin.name, plugin.value)))


def warn(distribution: str, problem: str) -> None:
    """Says what is wrong with a package."""
    warnings.warn(f"the package {printable(distribution)}: {printable(problem)}", CatalogWarning, stacklevel=3)


def _entry_points(group: str) -> list[EntryPoint]:
    try:
        return list(importlib.metadata.entry_points(group=group))
    except Exception:  # whatever the parser makes of a malformed file
        # Torch looks for device backends in the same way when it is imported, and would fail as well.
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    # One by one, in the order in which packages are found: the first of a name counts.
    found: dict[str, list[EntryPoint]] = {}
    for distribution in importlib.metadata.distributions():
        name = _name(distribution)
        if name in found:
            continue
        try:
            found[name] = list(distribution.entry_points.select(group=group))
        except Exception as error:
            found[name] = []
            _warn_if_ours(distribution, name, error)
    return [entry_point for entry_points in found.values() for entry_point in entry_points]


def _file(distribution: Distribution | None) -> Path:
    """Where a distribution's entry points are written, as far as it is known."""
    return Path(str(getattr(distribution, "_path", ""))) / "entry_points.txt"


def _warn_if_ours(distribution: Distribution, name: str, error: Exception) -> None:
    """Warns of a malformed file, once, if it is about the zoo; those of other programs are not our business."""
    file = _file(distribution)
    try:
        mentions_us = b"zoo." in file.read_bytes()
    except OSError:
        return
    if mentions_us and file not in _malformed:
        _malformed.add(file)
        warn(name, f"{file} is malformed ({error}), so what it brings to the zoo is left out; reinstall or remove it")


_malformed: set[Path] = set()


def clear_cache() -> None:
    """Forgets what is installed."""
    plugins.cache_clear()
    _malformed.clear()


def _name(distribution: Distribution | None) -> str:
    """The name of a distribution even if its metadata are broken."""
    try:
        name = distribution.metadata.get("Name")  # type: ignore[union-attr]
    except Exception:
        name = None
    if not name:
        # The folder is called NAME-VERSION.dist-info.
        name = Path(str(getattr(distribution, "_path", "unknown"))).name.partition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def version(package: str) -> str | None:
    """The version of a distribution, ``None`` if it is not installed or its metadata do not say."""
    try:
        found: str | None = importlib.metadata.version(package)
    except Exception:  # whatever the parser makes of broken metadata
        return None
    return found


def path_in_package(package: str, *parts: str) -> Path | None:
    """Where something lies in a package, which is found without importing it; ``None`` if there is no such package.

    Args:
        package: dotted name of the package.
        parts: folders, and perhaps a file, below it.
    """
    top, *below = package.split(".")
    candidates = [folder.joinpath(*below, *parts) for folder in package_folders(top)]
    return next(filter(os.path.lexists, candidates), candidates[0]) if candidates else None


def folder_in_package(package: str, folder: str) -> Path | None:
    """A folder of a package, ``None`` if there is none.

    Args:
        package: dotted name of the package.
        folder: dotted path below it.
    """
    parts = folder.split(".")
    if not all(map(_FOLDER.fullmatch, parts)):
        return None
    path = path_in_package(package, *parts)
    return path if path is not None and os.path.isdir(path) else None


_FOLDER = re.compile(r"[\w-]+")


def module_exists(module: str) -> bool:
    """Whether a module in a package is there, as far as can be told without importing the package."""
    package, _, name = module.rpartition(".")
    folder = path_in_package(package)
    if folder is None:
        return False
    try:
        return (folder / name / "__init__.py").is_file() or any(folder.glob(f"{name}.*"))
    except OSError:  # it may not be read
        return False
