"""What tasks say about themselves, as data: enough for help texts, file names and tables without importing torch.

A package names its task in the entry point group ``zoo.tasks``, under the name that its catalogue has::

    [project.entry-points."zoo.tasks"]
    classification = "zoo_classification.task:ImageClassificationTask"

Beside that module, with its name, lies a TOML file (``task.toml`` for ``task.py``)::

    title = "Image classification"
    images = 1                       # how many make one input; "file" if a file is read whole
    files = ["image"]                # kinds of file that are taken from a folder: "image", "video"
    batch_size = 8
    examples = "photo.jpg"           # what may stand behind the name of a model
    metric = { name = "acc@1", better = "higher", digits = 1 }

    [options.topk]                   # --topk of `zoo predict`
    type = "int"
    default = 5
    minimum = 1
    help = "How many labels to show for each image."

    [csv]                            # the rows of an input in a table, and where in its record their values are
    rows = "labels"                  # a list in the record that has a row for each item; without it, the record is one
    columns = { rank = "#", label = "label", score = "score" }

The value of a column is a key of the item, with those inside behind dots (``"bbox.0"`` is the first of a list), or a
sum of such (``"bbox.0 + bbox.2"``); ``"#"`` is the number of the row.

Builders that take a classifier as their backbone, and have no weights of their own, stand there with their
preprocessing::

    [on_backbones.fasterrcnn_on]
    builder = "zoo_detection.faster_rcnn:fasterrcnn_on"
    transforms = { preset = "ObjectDetection" }

Optional are ``samples`` (url of a folder of inputs for ``zoo demo``; by default ``samples`` in the models' package),
``demo`` (the options there that are not the defaults, ``{ topk = 3 }``),
``devices`` (``["cpu"]`` for models that run nowhere else) and ``inference`` (arguments for the builder that only
inference wants). Of an option, ``default``, ``minimum``, ``maximum`` and ``scoring`` may be missing.

Neither torch nor the task's package is imported to read it.
"""

import difflib
import functools
import math
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core.catalog import plugins
from zoo_core.text import printable

ENTRY_POINT_GROUP = "zoo.tasks"
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)

_KINDS = {"image": IMAGE_SUFFIXES, "video": VIDEO_SUFFIXES}
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_NUMBER = (int, float)

_TASK_KEYS: dict[str, tuple[type, ...]] = {
    "title": (str,),
    "images": (int, str),
    "files": (list,),
    "batch_size": (int,),
    "examples": (str,),
    "samples": (str,),
    "demo": (dict,),
    "devices": (list,),
    "metric": (dict,),
    "inference": (dict,),
    "options": (dict,),
    "csv": (dict,),
    "on_backbones": (dict,),
}
_METRIC_KEYS: dict[str, tuple[type, ...]] = {"name": (str,), "better": (str,), "digits": (int,)}
_TABLE_KEYS: dict[str, tuple[type, ...]] = {"rows": (str,), "columns": (dict,)}
_BUILDER_KEYS: dict[str, tuple[type, ...]] = {"builder": (str,), "transforms": (dict,)}
_VALUE = r"#|[a-z_]\w*(\.\w+)*( \+ [a-z_]\w*(\.\w+)*)*"
_OPTION_KEYS: dict[str, tuple[type, ...]] = {
    "type": (str,),
    "default": (int, float, str, bool),
    "help": (str,),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "scoring": (int, float, str, bool),
    "exported": (bool,),
}


class DeclarationError(ValueError):
    """A declaration that violates the schema. The message names the file, the table and the key."""


class DeclarationWarning(UserWarning):
    """A declaration was left out because it is broken; the other tasks keep working."""


@dataclass(frozen=True)
class Option:
    """An option that a task adds to ``zoo predict``: ``--threshold 0.5``, or ``--mask`` for a ``bool``.

    Args:
        name: with its dashes, ``"--threshold"``. Its value is the item ``"threshold"`` of ``Task.options``.
        type: ``int``, ``float``, ``str`` or ``bool``; a ``bool`` is ``False`` where the option is not given.
        default: the value where the option is not given; ``None`` goes with any type but ``bool``.
        help: one line for the help text.
        minimum, maximum: the least and the greatest value of a number.
        scoring: the value while results are scored, where that is another than ``default``.
        exported: whether it is part of an exported model, and so an option of ``zoo export`` as well.
    """

    name: str
    type: type
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    scoring: Any = None
    exported: bool = False

    @property
    def key(self) -> str:
        """The name without dashes, which is a Python identifier."""
        return self.name.lstrip("-").replace("-", "_")

    def check(self, value: Any) -> Any:
        """The value, as the option's type (an ``int`` serves as a ``float``).

        Raises:
            ValueError: it is of another type, or out of bounds.
        """
        if value is None and self.default is None:
            return None
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise ValueError(f"{self.key} must be of type {self.type.__name__}, not {value!r}")
        if isinstance(value, int | float) and self.type is not bool:
            if not math.isfinite(value):
                raise ValueError(f"{self.key} must be a finite number, not {value!r}")
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not low <= value <= high:
                raise ValueError(f"{self.key} must be {self.bounds}, not {value!r}")
        return value

    @property
    def bounds(self) -> str:
        """``"between 0 and 1"``, ``"at least 1"``, ``"at most 9"``, or an empty string."""
        if self.minimum is not None and self.maximum is not None:
            return f"between {self.minimum:g} and {self.maximum:g}"
        if self.minimum is not None:
            return f"at least {self.minimum:g}"
        return "" if self.maximum is None else f"at most {self.maximum:g}"


@dataclass(frozen=True)
class Metric:
    """The figure that models of a task are best known by.

    Args:
        name: as in the catalogues, ``"acc@1"``.
        higher_is_better: whether more of it is better.
        digits: decimals that are worth showing.
    """

    name: str
    higher_is_better: bool
    digits: int


@dataclass(frozen=True)
class Table:
    """The rows of an input in a table.

    Args:
        rows: key of the list in a record that has a row for each item; ``None`` where the record is one row.
        columns: by title, where the value is: see the head of this module.
    """

    rows: str | None
    columns: Mapping[str, str]


@dataclass(frozen=True)
class OnBackbone:
    """A builder that takes any classifier as its backbone.

    Args:
        name: of the function.
        builder: where it is, ``"zoo_detection.faster_rcnn:fasterrcnn_on"``.
        task: of what it makes.
        preset: class in :mod:`zoo_core.presets` that prepares inputs; ``preset_arguments`` are its arguments.
    """

    name: str
    builder: str
    task: str
    preset: str
    preset_arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Declaration:
    """What a task says about itself.

    Attributes:
        task: the name, ``"classification"``.
        adapter: where its :class:`zoo_core.tasks.Task` is, ``"zoo_classification.task:ImageClassificationTask"``.
        title: the name for people, ``"Image classification"``.
        images: how many images make one input, which come from as many files or are consecutive frames of a video;
            ``None`` for a task that reads files whole.
        suffixes: endings, in lower case, of the files that are taken from a folder.
        batch_size: how many inputs run at a time if the user does not say.
        examples: what may stand behind the name of a model in a call of ``zoo predict``.
        metric: the main metric.
        options: by key.
        samples: url of a folder with inputs for ``zoo demo``, of weights that name none themselves; ``None`` for
            ``samples`` in the models' package.
        demo: the options in ``zoo demo`` that are not the defaults, by key.
        devices: the types of device that the models run on; ``None`` for any.
        inference: arguments that a builder gets for inference, if it takes them.
        table: how records become rows; ``None`` where nothing is said.
        on_backbones: builders that take any classifier as their backbone, by name.
    """

    task: str
    adapter: str
    title: str
    images: int | None
    suffixes: frozenset[str]
    batch_size: int
    examples: str
    metric: Metric | None
    options: Mapping[str, Option] = field(default_factory=dict)
    samples: str | None = None
    demo: Mapping[str, Any] = field(default_factory=dict)
    devices: frozenset[str] | None = None
    inference: Mapping[str, Any] = field(default_factory=dict)
    table: Table | None = None
    on_backbones: Mapping[str, OnBackbone] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The top-level package that the task is in."""
        return self.adapter.partition(":")[0].partition(".")[0]

    def values(self, given: Mapping[str, Any] | None = None, *, scoring: bool = False) -> dict[str, Any]:
        """The value of each option by key: those given, and defaults.

        Args:
            given: values by key.
            scoring: whether results are going to be scored, for which some options have a default of their own.

        Raises:
            ValueError: the task has no such option, or it does not take that value.
        """
        values = {
            key: option.scoring if scoring and option.scoring is not None else option.default
            for key, option in self.options.items()
        }
        for key, value in (given or {}).items():
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"{self.title.lower()} has no option {key!r}; its options are {known}")
            values[key] = self.options[key].check(value)
        return values


@functools.cache
def declarations() -> Mapping[str, Declaration]:
    """The declarations of all installed tasks, by the task's name, sorted.

    One that is missing or broken is left out with a :class:`DeclarationWarning`, so that one package cannot take down
    the others; so is a task whose name another package has. The zoo's own packages go first.
    """
    found: dict[str, Declaration] = {}
    for plugin in plugins.plugins(ENTRY_POINT_GROUP):
        where = f"the entry point {plugin.name} = {plugin.value!r} in the group {ENTRY_POINT_GROUP}"
        try:
            if plugin.name in found:
                taken = found[plugin.name]
                if taken.adapter != plugin.value:
                    raise DeclarationError(f"{where} names a task that {taken.package} has already")
                continue
            path = _file_beside(plugin.value.partition(":")[0].strip())
            if path is None:
                raise DeclarationError(f"{where} names a module that cannot be found")
            found[plugin.name] = read(path, plugin.name, plugin.value)
        except DeclarationError as error:
            problem = f"the package {plugin.distribution}: {error}; the task is left out"
            warnings.warn(printable(problem), DeclarationWarning, stacklevel=2)
    return {name: found[name] for name in sorted(found)}


def clear_cache() -> None:
    """Forgets what was read, for a process in which packages were installed meanwhile."""
    plugins.clear_cache()
    declarations.cache_clear()


def declaration(task: str) -> Declaration:
    """The declaration of a task.

    Raises:
        ValueError: no installed package has that task.
    """
    if task in declarations():
        return declarations()[task]
    raise ValueError(
        f"no installed package can show results of the task {task!r}; the package with its models is to name a "
        f"zoo_core.tasks.Task in the entry point group {ENTRY_POINT_GROUP!r}, and to declare it in a TOML file beside"
    )


def on_backbones() -> Mapping[str, OnBackbone]:
    """The builders of all installed tasks that take any classifier as their backbone, by name."""
    return {name: found for declared in declarations().values() for name, found in declared.on_backbones.items()}


def _file_beside(module: str) -> Path | None:
    """The TOML file of a module, which is found without importing it or the package that it is in."""
    package, _, name = module.rpartition(".")
    return plugins.path_in_package(package, f"{name}.toml") if package else None


def read(path: Path, task: str, adapter: str) -> Declaration:
    """Reads and checks the declaration of a task.

    Args:
        path: the TOML file.
        task: the task's name.
        adapter: where its :class:`zoo_core.tasks.Task` is, ``"package.module:Class"``.

    Raises:
        DeclarationError: the file cannot be read, is not TOML, or does not hold to the schema.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise DeclarationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise DeclarationError(f"{path}: nested too deeply") from error
    where = str(path)
    _check_table(where, table, _TASK_KEYS, required=("title", "images", "files", "examples"))
    _check_text(where, table, "title", "examples")
    images = table["images"]
    if images != "file" and (type(images) is not int or images < 1):
        raise DeclarationError(f'{where}: images = {images!r} must be 1 or more, or "file"')
    if not table["files"] or any(kind not in _KINDS for kind in table["files"]):
        raise DeclarationError(f"{where}: files = {table['files']!r} must be a list of {' and '.join(_KINDS)}")
    if table.get("batch_size", 1) < 1:
        raise DeclarationError(f"{where}: batch_size = {table['batch_size']} must be at least 1")
    devices = table.get("devices")
    if devices is not None and (not devices or not all(isinstance(device, str) for device in devices)):
        raise DeclarationError(f"{where}: devices = {devices!r} must be a list of types, or missing for any")
    declared = Declaration(
        task=task,
        adapter=adapter,
        title=table["title"],
        images=None if images == "file" else images,
        suffixes=frozenset().union(*(_KINDS[kind] for kind in table["files"])),
        batch_size=table.get("batch_size", 8),
        examples=table["examples"],
        metric=_metric(f"{where}: [metric]", table.get("metric")),
        options=_options(where, table.get("options", {})),
        samples=table.get("samples"),
        demo=table.get("demo", {}),
        devices=None if devices is None else frozenset(devices),
        inference=table.get("inference", {}),
        table=_table(f"{where}: [csv]", table.get("csv")),
        on_backbones=_on_backbones(where, task, table.get("on_backbones", {})),
    )
    try:
        declared.values(declared.demo)
    except ValueError as error:
        raise DeclarationError(f"{where}: demo = {dict(declared.demo)!r}: {error}") from error
    return declared


def _on_backbones(file: str, task: str, tables: Mapping[str, Any]) -> dict[str, OnBackbone]:
    found = {}
    for name, table in tables.items():
        where = f"{file}: [on_backbones.{name}]"
        _check_table(where, table, _BUILDER_KEYS, required=("builder", "transforms"))
        if not re.fullmatch(r"[\w.]+:\w+", table["builder"]):
            raise DeclarationError(f'{where}: builder = {table["builder"]!r} must be like "package.module:function"')
        transforms = dict(table["transforms"])
        preset = transforms.pop("preset", None)
        if not isinstance(preset, str):
            raise DeclarationError(f"{where}: transforms = {table['transforms']!r} must name a preset")
        found[name] = OnBackbone(name, table["builder"], task, preset, transforms)
    return found


def _metric(where: str, table: Mapping[str, Any] | None) -> Metric | None:
    if table is None:
        return None
    _check_table(where, table, _METRIC_KEYS, required=("name", "better"))
    _check_text(where, table, "name")
    if table["better"] not in ("higher", "lower"):
        raise DeclarationError(f'{where}: better = {table["better"]!r} must be "higher" or "lower"')
    digits = table.get("digits", 1)
    if not 0 <= digits <= 9:
        raise DeclarationError(f"{where}: digits = {digits} must be between 0 and 9")
    return Metric(table["name"], table["better"] == "higher", digits)


def _table(where: str, table: Mapping[str, Any] | None) -> Table | None:
    if table is None:
        return None
    _check_table(where, table, _TABLE_KEYS, required=("columns",))
    for title, source in table["columns"].items():
        if not re.fullmatch(r"[a-z]\w*", title) or title in ("file", "frame", "time", "error"):
            raise DeclarationError(f"{where}: the column {title!r} must be a word, and not file, frame, time or error")
        if not isinstance(source, str) or not re.fullmatch(_VALUE, source):
            raise DeclarationError(f'{where}: {title} = {source!r} must be like "score", "bbox.0", "a.0 + a.2" or "#"')
    return Table(table.get("rows"), table["columns"])


def _options(file: str, tables: Mapping[str, Any]) -> dict[str, Option]:
    found = {}
    for name, table in tables.items():
        where = f"{file}: [options.{name}]"
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
            raise DeclarationError(f"{where}: the name must be lower-case words with dashes between them")
        _check_table(where, table, _OPTION_KEYS, required=("type", "help"))
        _check_text(where, table, "help")
        kind = _TYPES.get(table["type"])
        if kind is None:
            raise DeclarationError(f"{where}: type = {table['type']!r} must be one of {', '.join(_TYPES)}")
        option = Option(
            f"--{name}",
            kind,
            table.get("default", False if kind is bool else None),
            table["help"],
            table.get("minimum"),
            table.get("maximum"),
            table.get("scoring"),
            table.get("exported", False),
        )
        if kind is bool and option.default:
            raise DeclarationError(f"{where}: default = true: a bool is false where the option is not given")
        for value in (option.default, option.scoring):
            try:
                option.check(value) if value is not None else None
            except ValueError as error:
                raise DeclarationError(f"{where}: {error}") from error
        found[option.key] = option
    return found


def _check_table(where: str, table: Any, keys: Mapping[str, tuple[type, ...]], required: Iterable[str] = ()) -> None:
    if not isinstance(table, dict):
        raise DeclarationError(f"{where} must be a table, not {table!r}")
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(keys)}"
            raise DeclarationError(f"{where}: unknown key {key!r}{hint}")
        if not isinstance(value, keys[key]) or (isinstance(value, bool) and bool not in keys[key]):
            expected = " or ".join(kind.__name__ for kind in keys[key])
            raise DeclarationError(f"{where}: {key} = {value!r} must be {expected}")
    for key in required:
        if key not in table:
            raise DeclarationError(f"{where}: the key {key!r} is missing")


def _check_text(where: str, table: Mapping[str, Any], *keys: str) -> None:
    """Texts that are shown on one line of a terminal."""
    for key in keys:
        if not table[key].strip() or printable(table[key]) != table[key]:
            raise DeclarationError(f"{where}: {key} = {table[key]!r} must be one line of plain text")
