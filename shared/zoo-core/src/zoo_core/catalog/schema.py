"""What a catalogue says: sources, models and their checkpoints, as frozen classes.

The fields of :class:`Checkpoint` are spelt here and nowhere else: each carries what reads it from TOML, and its name in
``weights.meta``, in JSON and in the text of ``zoo info``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core.catalog import labels, values
from zoo_core.catalog.errors import UnknownWeightsError
from zoo_core.catalog.names import DEFAULT, members_named
from zoo_core.catalog.plugins import is_ours
from zoo_core.catalog.preset import Preset


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

    @property
    def distribution(self) -> str:
        """What ``pip install`` calls the package."""
        return self.package.partition(".")[0].replace("_", "-")

    @property
    def ours(self) -> bool:
        """Whether it belongs to a package of the zoo itself."""
        return is_ours(self.package.partition(".")[0])


@dataclass(frozen=True)
class Key:
    """How a field of :class:`Checkpoint` is read and shown. ``None`` for a name: not shown there.

    Attributes:
        parse: reads the value of the key in TOML, which has the field's name.
        local: whether ``parse`` takes the catalogue's folder as well.
        meta: key in the ``meta`` of weights.
        json: key in JSON.
        brief: whether the JSON of lists has it, too.
        title: what it is called in text.
        text: writes the value.
    """

    parse: Callable[..., Any]
    local: bool
    meta: str | None
    json: str | None
    brief: bool
    title: str | None
    text: Callable[[Any], str]


_SAME: Any = object()


def _key(
    parse: Callable[..., Any],
    *,
    local: bool = False,
    meta: str | None = _SAME,
    json: str | None = _SAME,
    brief: bool = False,
    title: str | None = _SAME,
    text: Callable[[Any], str] = str,
    **default: Any,
) -> Any:
    """A field that a catalogue file has under its own name, which is also the name everywhere else if not said."""
    return field(**default, metadata={"key": Key(parse, local, meta, json, brief, title, text)})


def _shortened(names: tuple[str, ...], most: int = 5) -> str:
    return f"{len(names)}: {', '.join(names[:most])}{', ...' if len(names) > most else ''}"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was published about one set of trained weights: a member of a weights enum, as data.

    Attributes:
        name: the enum member, ``"IMAGENET1K_V1"``.
        metrics: data set -> metric -> value.
        num_params: how many parameters the model has.
        ops: billions of multiply-adds for one input, as published.
        min_size: smallest input (height, width) that the model takes, in pixels.
        min_temporal_size: fewest frames that a video model takes.
        clip_length: frames of a clip that a video model's metrics were measured with.
        clips_per_video: how many clips of each video they were measured with.
        frame_rate: frames per second of that clip.
        transforms: preprocessing.
        categories: labels by class index, ``None`` for a task without classes.
        keypoint_names: names of keypoints by index, ``None`` for a model without any.
        file_size: size of the file in MiB (2**20 bytes), as published.
        url: where the file is; schemes ``https:``, ``http:``, ``file:`` and ``package:``.
        sha256_prefix: first hex digits of the file's SHA-256, ``None`` where they are not known.
        recipe: how the weights were trained, usually a url.
        license: licence of the weights, where it is stated; :mod:`zoo_core.catalog.licences` says more.
        trained_on: the data sets that the weights were trained on, those of the first weights included.
        knows: what the model tells apart, in a few words: ``"ten kinds of garment"``.
        backend: the engine that int8 weights were made for.
        unquantized: full name of the weights that int8 ones were made from.
        docs: what else there is to say.
        samples: url of a folder of inputs that show what the weights know, for ``zoo demo``; by default the task's.
        extra: which extra of the model's distribution brings the package that a ``package:`` url names; ``None`` where
            the distribution has the file itself.
        names: the library whose names the file's tensors have; those of the model take their place when it is loaded.
            ``None`` where they are the model's.
    """

    name: str
    metrics: Mapping[str, Mapping[str, float]] = _key(values.metrics, meta="_metrics", brief=True, title=None)
    knows: str | None = _key(values.text, meta=None, brief=True, default=None)
    num_params: int | None = _key(values.whole, brief=True, title="parameters", text="{:,}".format, default=None)
    ops: float | None = _key(
        values.number, meta="_ops", json="gflops", brief=True, title="GFLOPs", text="{:g}".format, default=None
    )
    min_size: tuple[int, int] | None = _key(
        values.size, title="smallest input", text="{0[0]}x{0[1]} (height x width)".format, default=None
    )
    min_temporal_size: int | None = _key(values.whole, title="fewest frames", default=None)
    clip_length: int | None = _key(values.whole, title="frames of a clip", default=None)
    clips_per_video: int | None = _key(values.whole, title="clips per video", default=None)
    frame_rate: float | None = _key(values.number, title="frames per second", text="{:g}".format, default=None)
    transforms: Preset = _key(Preset.read, meta=None, json="preprocessing", title="preprocessing")  # noqa: RUF009
    categories: tuple[str, ...] | None = _key(labels.read, local=True, title="labels", text=_shortened, default=None)
    keypoint_names: tuple[str, ...] | None = _key(
        labels.read, local=True, title="keypoints", text=_shortened, default=None
    )
    file_size: float | None = _key(
        values.number,
        meta="_file_size",
        json="file_size_mb",
        brief=True,
        title="file",
        text="{:g} MiB".format,
        default=None,
    )
    url: str = _key(values.url, meta=None, brief=True)
    sha256_prefix: str | None = _key(values.sha256_prefix, meta=None, brief=True, title=None, default=None)
    recipe: str | None = _key(values.text, default=None)
    license: str | None = _key(values.text, title=None, default=None)
    trained_on: tuple[str, ...] | None = _key(values.titles, meta=None, title=None, default=None)
    backend: str | None = _key(values.text, default=None)
    unquantized: str | None = _key(values.text, default=None)
    docs: str | None = _key(
        values.text, meta="_docs", title="notes", text=lambda text: " ".join(text.split()), default=None
    )
    samples: str | None = _key(values.url, meta=None, title=None, default=None)
    extra: str | None = _key(values.name, meta=None, title=None, default=None)
    names: str | None = _key(values.name, meta=None, title=None, default=None)

    @property
    def embedded(self) -> bool:
        """Whether the file lies inside a package, so that no network is needed once that is installed."""
        return self.url.startswith("package:")

    def install(self, source: Source) -> str | None:
        """The command that installs the file, where it comes with an extra of the distribution of its catalogue."""
        return None if self.extra is None else f"pip install '{source.distribution}[{self.extra}]'"

    @property
    def preset(self) -> str:
        """The class in :mod:`zoo_core.presets`."""
        return self.transforms.name

    @property
    def preset_arguments(self) -> Mapping[str, Any]:
        """The keyword arguments of that class."""
        return self.transforms.arguments

    def meta(self) -> dict[str, Any]:
        """What is known, under the keys that torchvision's users know; labels as lists, other weights by name."""
        found: dict[str, Any] = {"categories": None}
        for name, key in CHECKPOINT_KEYS.items():
            value = getattr(self, name)
            if key.meta is not None and value is not None:
                found[key.meta] = _editable(value)
        return found

    def as_dict(self, *, brief: bool = False) -> dict[str, Any]:
        """All that there is to know, known or not, as plain data for JSON.

        Args:
            brief: only what lists of many checkpoints show.
        """
        shown: dict[str, Any] = {"name": self.name}
        for name, key in CHECKPOINT_KEYS.items():
            if key.json is not None and (key.brief or not brief):
                value = getattr(self, name)
                shown[key.json] = value.as_dict() if isinstance(value, Preset) else value
        return shown

    def described(self) -> dict[str, str]:
        """What is known in words, by title; the metrics by data set."""
        found = _of_data_sets(self.metrics)
        for name, key in CHECKPOINT_KEYS.items():
            value = getattr(self, name)
            if key.title is not None and value is not None:
                found[key.title] = key.text(value)
        return found


def _of_data_sets(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    return {
        data_set: ", ".join(f"{metric} {value:g}" for metric, value in figures.items())
        for data_set, figures in metrics.items()
    }


def _editable(value: Any) -> Any:
    """A copy that whoever gets it may change; numbers, texts and sizes need none."""
    if isinstance(value, Mapping):
        return {key: dict(item) for key, item in value.items()}
    is_labels = isinstance(value, tuple) and bool(value) and isinstance(value[0], str)
    return list(value) if is_labels else value


def _keys() -> Mapping[str, Key]:
    fields = {f.name: f for f in dataclasses.fields(Checkpoint)}
    keys = {name: f.metadata["key"] for name, f in fields.items() if name != "name"}
    return {
        name: dataclasses.replace(
            key, **{form: name for form in ("meta", "json", "title") if getattr(key, form) is _SAME}
        )
        for name, key in keys.items()
    }


CHECKPOINT_KEYS = _keys()
"""What a catalogue file says of a checkpoint, in the order in which it is shown."""

REQUIRED_CHECKPOINT_KEYS = frozenset({"transforms", "url"})


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What a paper says of a model. Of weights that are not among the model's checkpoints, so no figures of theirs.

    Attributes:
        url: of the paper.
        metrics: data set -> metric -> value.
        num_params: how many parameters the model has, as rounded there.
        ops: billions of multiply-adds for one input.
        docs: what the figures are of, such as the table that they are in, and the input.
    """

    url: str
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    num_params: int | None = None
    ops: float | None = None
    docs: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON, under the names that :meth:`Checkpoint.as_dict` has."""
        return {
            "url": self.url,
            "metrics": self.metrics,
            "num_params": self.num_params,
            "gflops": self.ops,
            "docs": self.docs,
        }

    def described(self) -> dict[str, str]:
        """What is known in words, by title."""
        found = _of_data_sets(self.metrics)
        if self.num_params is not None:
            found["parameters"] = f"{self.num_params / 1e6:g} million"
        if self.ops is not None:
            found["GFLOPs"] = f"{self.ops:g}"
        if self.docs is not None:
            found["notes"] = " ".join(self.docs.split())
        return found | {"url": self.url}


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
        paper: what its paper says of weights that are not among the checkpoints; ``None`` where nothing is said.
        torchvision: whether torchvision has this model, so that signature, state dict, outputs and published weights
            are those of torchvision's. So are all models of the zoo that do not say otherwise (``torchvision = false``
            in their tables), and none of other packages.
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
    paper: Paper | None = None
    torchvision: bool = False

    def checkpoint(self, member: str = DEFAULT) -> Checkpoint:
        """The checkpoint of a member: ``"IMAGENET1K_V1"``, ``"ResNet50_Weights.IMAGENET1K_V1"`` or ``"DEFAULT"``.

        Raises:
            UnknownWeightsError: there is none of that name; the message lists those there are.
        """
        found = members_named(member, {self.weights: [*self.checkpoints, DEFAULT]})
        if len(found) != 1:
            raise UnknownWeightsError(
                f"{self.name} has no weights {member!r}; there are {', '.join([*self.checkpoints, DEFAULT])}"
            )
        key = found[0][1]
        return self.checkpoints[self.default if key == DEFAULT else key]

    def missing_extra(self, checkpoint: Checkpoint) -> str | None:
        """What to say where a checkpoint's file is missing: the extra that brings it; ``None`` if none does."""
        install = checkpoint.install(self.source)
        if install is None:
            return None
        return f"the weights {checkpoint.name} of {self.name} come with an extra that is not installed: {install}"
