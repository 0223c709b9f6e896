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

Nothing here imports torch or a model package, so that the command line can answer at once.
"""

import difflib
import fnmatch
import functools
import importlib.metadata
import importlib.util
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENTRY_POINT_GROUP = "zoo.catalogs"

_NUMBER = (int, float)
_STRING = (str,)
_LIST = (list,)
_SIZE = (int, list)

# The arguments that each preset takes, with their TOML types. A test holds this table to `zoo_core.presets`.
PRESETS: dict[str, dict[str, tuple[type, ...]]] = {
    "ImageClassification": {
        "crop_size": _SIZE,
        "resize_size": _SIZE,
        "mean": _LIST,
        "std": _LIST,
        "interpolation": _STRING,
        "antialias": (bool,),
    },
    "SemanticSegmentation": {
        "resize_size": _SIZE,
        "mean": _LIST,
        "std": _LIST,
        "interpolation": _STRING,
        "antialias": (bool,),
    },
    "ObjectDetection": {},
    "VideoClassification": {
        "crop_size": _LIST,
        "resize_size": _LIST,
        "mean": _LIST,
        "std": _LIST,
        "interpolation": _STRING,
    },
    "OpticalFlow": {},
}
_REQUIRED_PRESET_ARGUMENTS = {
    "ImageClassification": {"crop_size"},
    "SemanticSegmentation": {"resize_size"},
    "VideoClassification": {"crop_size", "resize_size"},
}

_MODEL_KEYS: dict[str, tuple[type, ...]] = {
    "builder": _STRING,
    "weights": _STRING,
    "default": _STRING,
    "pretrained": _STRING,
    "checkpoints": (dict,),
}
_CHECKPOINT_KEYS: dict[str, tuple[type, ...]] = {
    "url": _STRING,
    "sha256_prefix": _STRING,
    "transforms": (dict,),
    "categories": (str, list),
    "keypoint_names": (str, list),
    "num_params": (int,),
    "min_size": _LIST,
    "min_temporal_size": (int,),
    "clip_length": (int,),
    "frame_rate": _NUMBER,
    "metrics": (dict,),
    "ops": _NUMBER,
    "file_size": _NUMBER,
    "recipe": _STRING,
    "license": _STRING,
    "backend": _STRING,
    "unquantized": _STRING,
    "docs": _STRING,
}
_URL_SCHEMES = ("https:", "http:", "file:", "package:")


class CatalogError(ValueError):
    """A catalogue file that does not hold to the schema. The message names the file, the table and the key."""


class CatalogWarning(UserWarning):
    """A catalogue file was left out because it is broken; the other models of the zoo keep working."""


class UnknownModelError(ValueError):
    """No installed package has a model, or weights, of the asked name."""


@dataclass(frozen=True)
class Source:
    """A folder of catalogue files that belong to one task.

    Args:
        task: name of the entry point, ``"classification"`` for instance.
        package: top-level import name of the package that ships the folder.
        directory: the folder.
    """

    task: str
    package: str
    directory: Path


@dataclass(frozen=True)
class Checkpoint:
    """What was published about one set of trained weights: a member of a weights enum, as data.

    Attributes:
        name: the enum member, ``"IMAGENET1K_V1"``.
        url: where the file is; schemes ``https:``, ``file:`` and ``package:``.
        sha256_prefix: first hex digits of the file's SHA-256, ``None`` where they are not known.
        preset: class in :mod:`zoo_core.presets`; ``preset_arguments`` are its keyword arguments.
        categories: labels by class index, ``None`` for a task without classes.
        metrics: data set -> metric -> value.
        ops: billions of multiply-adds for one input, as published.
        file_size: size of the file in MB (2**20 bytes), as published.
        min_size: smallest input (height, width) that the model takes.
        min_temporal_size: fewest frames that a video model takes.
        clip_length: frames of a clip that a video model's metrics were measured with.
        frame_rate: frames per second of that clip.
        num_params: how many parameters the model has.
    """

    name: str
    url: str
    sha256_prefix: str | None
    preset: str
    preset_arguments: Mapping[str, Any]
    categories: tuple[str, ...] | None
    keypoint_names: tuple[str, ...] | None
    num_params: int | None
    min_size: tuple[int, int] | None
    min_temporal_size: int | None
    clip_length: int | None
    frame_rate: float | None
    metrics: Mapping[str, Mapping[str, float]]
    ops: float | None
    file_size: float | None
    recipe: str | None
    license: str | None
    backend: str | None
    unquantized: str | None
    docs: str | None

    @property
    def embedded(self) -> bool:
        """Whether the file ships inside an installed package, so that no network is needed."""
        return self.url.startswith("package:")


@dataclass(frozen=True)
class Model:
    """A builder and its checkpoints.

    Attributes:
        name: name in the registry, ``"resnet50"``.
        task: ``"classification"``, ``"detection"``, ...
        module: where the builder is.
        function: its name there.
        weights: class name of the weights enum, which is in the same module.
        default: the enum member that ``"DEFAULT"`` stands for.
        pretrained: the member that the deprecated ``pretrained=True`` stands for.
        checkpoints: by member name, in the order of the file.
        source: the catalogue that the model comes from.
    """

    name: str
    task: str
    module: str
    function: str
    weights: str
    default: str
    pretrained: str
    checkpoints: Mapping[str, Checkpoint]
    source: Source = field(repr=False)

    def checkpoint(self, member: str = "DEFAULT") -> Checkpoint:
        """The checkpoint of a member: ``"IMAGENET1K_V1"``, ``"ResNet50_Weights.IMAGENET1K_V1"`` or ``"DEFAULT"``.

        Raises:
            UnknownModelError: there is none of that name; the message lists those there are.
        """
        key = member.removeprefix(f"{self.weights}.")
        key = self.default if key == "DEFAULT" else key
        if key not in self.checkpoints:
            raise UnknownModelError(
                f"{self.name} has no weights {member!r}; there are {', '.join([*self.checkpoints, 'DEFAULT'])}"
            )
        return self.checkpoints[key]


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
    for function in (sources, models, _read_file):
        function.cache_clear()


@functools.cache
def sources() -> tuple[Source, ...]:
    """The catalogues of this environment, sorted by task: those of installed packages, and those added by hand."""
    found = {(source.task, source.package): source for source in _added_sources}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        package, _, folder = (part.strip() for part in entry_point.value.partition(":"))
        if (entry_point.name, package) in found:
            continue
        directory = _folder_in_package(package, folder) if folder else None
        if directory is None or not directory.is_dir():
            warnings.warn(
                f"the entry point {entry_point.name} = {entry_point.value!r} in the group {ENTRY_POINT_GROUP} names no "
                'folder that can be found (expected "package:folder in it"), so its models are left out; reinstall or '
                "remove the package",
                CatalogWarning,
                stacklevel=2,
            )
            continue
        found[entry_point.name, package] = Source(entry_point.name, package, directory)
    return tuple(found[key] for key in sorted(found))


def _folder_in_package(package: str, folder: str) -> Path | None:
    try:
        # Finding a top-level package's spec does not import it.
        spec = importlib.util.find_spec(package.partition(".")[0])
    except ValueError:  # the name is empty, or that of a module which was put together at run time
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    candidates = [
        Path(root).joinpath(*package.split(".")[1:], *folder.split(".")) for root in spec.submodule_search_locations
    ]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[0])


@functools.cache
def models() -> Mapping[str, Model]:
    """All models of the installed packages, by name, sorted.

    A file that breaks the schema is left out with a :class:`CatalogWarning`, so that one package cannot take down the
    others; so is a model whose name another package has taken.
    """
    found: dict[str, Model] = {}
    for source in sources():
        for path in sorted(source.directory.glob("*.toml")):
            try:
                entries = read_file(path, source)
            except CatalogError as error:
                warnings.warn(f"{error}; the models of this file are left out", CatalogWarning, stacklevel=2)
                continue
            for name, model in entries.items():
                if name in found:
                    warnings.warn(
                        f"{path} defines the model {name!r}, which {found[name].source.package} has already; the model "
                        f"of {found[name].source.package} is used",
                        CatalogWarning,
                        stacklevel=2,
                    )
                else:
                    found[name] = model
    return {name: found[name] for name in sorted(found)}


def model(name: str) -> Model:
    """The model of that name.

    Raises:
        UnknownModelError: no installed package has it. The message names the package to install if one of ours has it,
            or else the names that are nearest.
    """
    if name in models():
        return models()[name]
    raise unknown_model(name, models())


def unknown_model(name: str, known: Iterable[str]) -> UnknownModelError:
    """The error for a name that is not among the ``known`` ones; see :func:`model`."""
    for distribution, names in published_models().items():
        if name in names:
            return UnknownModelError(f"{name} is in a package that is not installed: pip install {distribution}")
    everywhere = {n: d for d, names in published_models().items() for n in names}
    candidates = sorted({*known, *everywhere})
    # Few letters missing or swapped first; then names that hold the asked one.
    nearest = difflib.get_close_matches(name, candidates, n=3, cutoff=0.6)
    nearest = nearest or [n for n in candidates if name and name in n][:3]
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "; `zoo list` shows the models there are"
    return UnknownModelError(f"unknown model {name!r}{hint}")


@functools.cache
def published_models() -> Mapping[str, tuple[str, ...]]:
    """The names of all models of the zoo, by the distribution that has them, installed or not."""
    with (Path(__file__).parent / "published_models.toml").open("rb") as file:
        return {distribution: tuple(names) for distribution, names in tomllib.load(file).items()}


def match(names: Iterable[str], include: str | Iterable[str] | None, exclude: str | Iterable[str] | None) -> list[str]:
    """The names that match any pattern of ``include`` (all, if ``None``) and none of ``exclude``, sorted.

    Args:
        names: what to choose from.
        include: one shell pattern (``"resnet*"``), or several.
        exclude: likewise.
    """

    def patterns(value: str | Iterable[str] | None) -> list[str]:
        if value is None:
            return []
        return [value] if isinstance(value, str) else list(value)

    included, excluded = patterns(include), patterns(exclude)
    return sorted(
        name
        for name in set(names)
        if (include is None or any(fnmatch.fnmatchcase(name, pattern) for pattern in included))
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in excluded)
    )


def file_of_module(module_file: str | Path) -> Path:
    """The catalogue file of a module of models: ``.../resnet.py`` -> ``.../catalog/resnet.toml``."""
    path = Path(module_file)
    return path.parent / "catalog" / f"{path.stem}.toml"


def weights_in_file(path: Path, enum_name: str) -> Model:
    """The model in a catalogue file whose weights enum has the given class name.

    Raises:
        CatalogError: the file is missing or broken, or no model in it has that enum.
    """
    package = path.parent.parent.name
    for entry in read_file(path, Source("", package, path.parent)).values():
        if entry.weights == enum_name:
            return entry
    raise CatalogError(f'{path}: no model has weights = "{enum_name}"; add its table to this file')


def read_file(path: Path, source: Source) -> Mapping[str, Model]:
    """Reads and checks one catalogue file.

    Raises:
        CatalogError: the file cannot be read, is not TOML, or does not hold to the schema.
    """
    return _read_file(path, source)


@functools.cache
def _read_file(path: Path, source: Source) -> Mapping[str, Model]:
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not valid TOML: {error}") from error
    return {name: _model(path, source, name, table) for name, table in tables.items()}


def _model(path: Path, source: Source, name: str, table: Any) -> Model:
    where = f"{path}: [{name}]"
    _check_table(where, table, _MODEL_KEYS, required={"builder", "weights", "default", "checkpoints"})
    module, colon, function = table["builder"].partition(":")
    if not colon or not module or not function.isidentifier():
        raise CatalogError(f'{where}: builder = {table["builder"]!r} is not of the form "package.module:function"')
    if module.rpartition(".")[2] != path.stem:
        raise CatalogError(
            f"{where}: builder = {table['builder']!r} is in another module than the file is for; models of "
            f"{module} belong in {module.rpartition('.')[2]}.toml"
        )
    checkpoints = {
        member: _checkpoint(f"{path}: [{name}.checkpoints.{member}]", source, member, entry)
        for member, entry in table["checkpoints"].items()
    }
    if not checkpoints:
        raise CatalogError(f"{where}: has no checkpoints; add a table [{name}.checkpoints.NAME]")
    pretrained = table.get("pretrained", next(iter(checkpoints)))
    for key, member in (("default", table["default"]), ("pretrained", pretrained)):
        if member not in checkpoints:
            raise CatalogError(f"{where}: {key} = {member!r} is none of its checkpoints {', '.join(checkpoints)}")
    return Model(
        name=name,
        task=source.task,
        module=module,
        function=function,
        weights=table["weights"],
        default=table["default"],
        pretrained=pretrained,
        checkpoints=checkpoints,
        source=source,
    )


def _checkpoint(where: str, source: Source, member: str, table: Any) -> Checkpoint:
    _check_table(where, table, _CHECKPOINT_KEYS, required={"url", "transforms"})
    url = table["url"]
    if not url.startswith(_URL_SCHEMES):
        raise CatalogError(f"{where}: url = {url!r} must begin with one of {', '.join(_URL_SCHEMES)}")
    prefix = table.get("sha256_prefix")
    if prefix is not None and (not 6 <= len(prefix) <= 64 or set(prefix) - set("0123456789abcdef")):
        raise CatalogError(f"{where}: sha256_prefix = {prefix!r} must be 6 to 64 lower-case hex digits")
    arguments = dict(table["transforms"])
    preset = arguments.pop("preset", None)
    if preset not in PRESETS:
        raise CatalogError(f"{where}: transforms.preset = {preset!r} must be one of {', '.join(PRESETS)}")
    _check_table(
        f"{where}: transforms", arguments, PRESETS[preset], required=_REQUIRED_PRESET_ARGUMENTS.get(preset, set())
    )
    min_size = table.get("min_size")
    if min_size is not None and (len(min_size) != 2 or not all(type(n) is int and n > 0 for n in min_size)):
        raise CatalogError(f"{where}: min_size = {min_size!r} must be [height, width] in pixels")
    metrics = table.get("metrics", {})
    for data_set, values in metrics.items():
        if not isinstance(values, dict) or not all(isinstance(v, _NUMBER) for v in values.values()):
            raise CatalogError(f"{where}: metrics.{data_set} must be a table of numbers")
    return Checkpoint(
        name=member,
        url=url,
        sha256_prefix=prefix,
        preset=preset,
        preset_arguments={k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()},
        categories=_labels(f"{where}: categories", source, table.get("categories")),
        keypoint_names=_labels(f"{where}: keypoint_names", source, table.get("keypoint_names")),
        num_params=table.get("num_params"),
        min_size=None if min_size is None else (min_size[0], min_size[1]),
        min_temporal_size=table.get("min_temporal_size"),
        clip_length=table.get("clip_length"),
        frame_rate=table.get("frame_rate"),
        metrics=metrics,
        ops=table.get("ops"),
        file_size=table.get("file_size"),
        recipe=table.get("recipe"),
        license=table.get("license"),
        backend=table.get("backend"),
        unquantized=table.get("unquantized"),
        docs=table.get("docs"),
    )


def _check_table(where: str, table: Any, keys: Mapping[str, tuple[type, ...]], required: set[str]) -> None:
    if not isinstance(table, dict):
        raise CatalogError(f"{where} must be a table, not {table!r}")
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(keys) or 'none'}"
            raise CatalogError(f"{where}: unknown key {key!r}{hint}")
        if not isinstance(value, keys[key]) or (isinstance(value, bool) and bool not in keys[key]):
            expected = " or ".join(kind.__name__ for kind in keys[key])
            raise CatalogError(f"{where}: {key} = {value!r} must be {expected}")
    for key in sorted(required - set(table)):
        raise CatalogError(f"{where}: the key {key!r} is missing")


def _labels(where: str, source: Source, value: str | list[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        if not value or not all(isinstance(label, str) for label in value):
            raise CatalogError(f"{where} must be a list of strings, or the name of a label file")
        return tuple(value)
    for path in _label_files(source.directory, value):
        if path.is_file():
            try:
                return _read_labels(path)
            except (OSError, UnicodeDecodeError) as error:
                raise CatalogError(f"{where}: {path} cannot be read as UTF-8: {error}") from error
    tried = " nor ".join(str(path) for path in _label_files(source.directory, value))
    raise CatalogError(f"{where} = {value!r} is no label set: there is neither {tried}")


def _label_files(directory: Path, name: str) -> Iterator[Path]:
    """A package's own label sets come first; zoo-core has those that two packages use."""
    yield directory / "labels" / f"{name}.txt"
    yield Path(__file__).parent / "labels" / f"{name}.txt"


@functools.cache
def _read_labels(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
