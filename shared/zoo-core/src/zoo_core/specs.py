"""What a model is, in plain values: found by its name or in a file, and built from that.

Importing this module, and finding a model of the catalogue, does not import torch.
"""

import dataclasses
import inspect
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core import catalog, checkpoints, declarations
from zoo_core.catalog import Checkpoint, Model
from zoo_core.catalog.labels import BACKGROUND
from zoo_core.checkpoints.urls import is_url
from zoo_core.exported_files import ModelFacts, format_of, is_exported, read_metadata

if TYPE_CHECKING:
    import torch

__all__ = ["CHECKPOINT_SUFFIXES", "ModelSpec", "build", "find", "read_labels", "read_parameters"]

CHECKPOINT_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".safetensors"})
"""Endings, in lower case, of the files that hold a state dict."""


@dataclass(frozen=True)
class ModelSpec:
    """A model to run. Made from a catalogue entry, or read from a file that says what is in it.

    Holds plain values only, so that it can be pickled, compared and written into a checkpoint (:meth:`as_dict`).

    Attributes:
        name: of the builder, as :func:`zoo_core.list_models` gives it.
        task: ``"classification"``, ``"detection"``, ...
        weights: which published weights, ``"IMAGENET1K_V1"``; ``None`` for others.
        file: url or path of the file with the parameters; ``None`` for fresh ones.
        format: what that file is: ``"state_dict"``, or of an exported model ``"onnx"``, ``"openvino"`` or ``"pt2"``.
        arguments: of the builder, beside ``weights``.
        preset: class in :mod:`zoo_core.presets` that prepares inputs; ``preset_arguments`` are its arguments.
        labels: name of each class; empty where they have none.
        facts: what else is known, under the names that :class:`zoo_core.catalog.Checkpoint` has.
    """

    name: str
    task: str
    weights: str | None = None
    file: str | None = None
    format: str = "state_dict"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    preset_arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.weights is not None:
            return f"{self.name} with {self.weights}"
        return self.name if self.file is None else f"{self.name} from {self.file}"

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for writing into a file; :meth:`from_dict` takes them."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """The spec whose fields a file holds.

        Raises:
            ValueError: ``name`` or ``task`` is missing, or there are fields that a spec does not have.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        wrong = [f"no {key!r}" for key in ("name", "task") if not isinstance(values.get(key), str)]
        wrong += [f"an unknown {key!r}" for key in values if key not in known]
        if wrong:
            raise ValueError(f"the model's description has {', '.join(wrong)}; was it written by another version?")
        return cls(**{**values, "labels": tuple(values.get("labels") or ())})


def find(
    model: str | os.PathLike[str] | ModelSpec | None,
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    **overrides: Any,
) -> ModelSpec:
    """What a model's name, or a file with its parameters, stands for.

    Args:
        model: a name (letter case does not matter), the path of a checkpoint or of an exported model, or a spec;
            ``None`` for a ``checkpoint`` that says what it is. Builders that take any classifier as their backbone
            (``"fasterrcnn_on"``) have no weights: the spec is of fresh parameters, and ``arguments`` must have the
            ``backbone``.
        weights: which published weights of a model that is named: a member's name with or without its class, or
            ``"DEFAULT"``, which is the default.
        checkpoint: a file with parameters of your own for the model that is named: what :func:`torch.save` or
            safetensors writes of a state dict, also one among others (``{"model": ...}``, ``{"state_dict": ...}``), of
            a model that was wrapped (``module.``, ``_orig_mod.``), or of timm's names for the same architecture (see
            :mod:`zoo_classification.foreign`). The number of classes is read off its head.
        labels: name of each class, or a file with them, see :func:`read_labels`. By default a checkpoint's own; else,
            if it has as many classes, those of the model's default weights; else none, and classes are numbers.
        **overrides: fields of :class:`ModelSpec` to replace. A checkpoint that does not say which model it is for needs
            ``name=`` if it is given as ``model``. It takes the preprocessing of that model's default weights.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has a model, or weights, of that name.
        zoo_core.checkpoints.CheckpointError: the file cannot be read.
        ValueError: the file does not say which model it is for, ``weights`` are given beside a file, or the number of
            ``labels`` is not that of the classes.
        TypeError: an override is no field of a spec.
    """
    unknown = overrides.keys() - {f.name for f in dataclasses.fields(ModelSpec)}
    if unknown:
        raise TypeError(f"a ModelSpec has no {', '.join(sorted(unknown))}")
    if labels is not None:
        overrides["labels"] = read_labels(labels) if isinstance(labels, str | os.PathLike) else tuple(labels)
    if checkpoint is not None:
        if isinstance(model, ModelSpec) or (model is not None and is_file(model)):
            raise ValueError(f"checkpoint={os.fspath(checkpoint)!r} goes with the name of a model, not with {model}")
        if weights is not None:
            raise ValueError("give weights= or checkpoint=, not both: each has all the parameters of the model")
        if model is not None:
            overrides["name"] = _known(os.fspath(model).lower())
        return _prepared_for(_from_checkpoint(Path(checkpoint), overrides))
    if model is None:
        raise ValueError("give the name of a model, or a checkpoint that says what it is")
    if isinstance(model, ModelSpec):
        if weights is not None:
            raise ValueError("weights= goes with the name of a model; a spec has its own")
        return _prepared_for(dataclasses.replace(model, **overrides))
    if not is_file(model):
        if (found := _on_backbone(os.fspath(model).lower())) is not None:
            if weights is not None:
                raise ValueError(f"{found.name} has no weights of its own; leave out weights={weights!r}")
            return _prepared_for(_with_backbone(dataclasses.replace(found, **overrides)))
        entry = catalog.model(os.fspath(model).lower())
        found = _from_catalog(entry, entry.checkpoint(weights or "DEFAULT"))
        if labels is not None and not found.labels:
            raise _without_classes(entry.name)
        return _prepared_for(dataclasses.replace(found, **overrides))
    if weights is not None:
        raise ValueError(f"weights= goes with the name of a model, and {os.fspath(model)} is a file")
    return _prepared_for(_from_checkpoint(Path(model), overrides))


def is_file(model: str | os.PathLike[str]) -> bool:
    """Whether this means a file with a model, and is not the name of one."""
    return not isinstance(model, str) or (model.lower() not in catalog.models() and names_file(model))


def _from_exported(path: Path, overrides: Mapping[str, Any]) -> ModelSpec:
    """An exported file says what it is; nothing but its labels can be another."""
    facts = ModelFacts.from_metadata(read_metadata(path), path)
    changed = overrides.keys() - {"labels", "facts"}
    if overrides.get("name", facts.model) != facts.model or changed - {"name"}:
        raise ValueError(f"{path} is {facts.model}, exported; only the names of its classes can be changed")
    count = facts.arguments.get("num_classes", len(facts.labels)) or None
    return ModelSpec(
        name=facts.model,
        task=facts.task,
        file=os.fspath(path),
        format=format_of(path),
        arguments=dict(facts.arguments),
        preset=facts.preset,
        preset_arguments=dict(facts.preset_arguments),
        facts=overrides.get("facts", dict(facts.facts)),
        labels=_labels(facts.model, path, overrides, count, facts.labels)["labels"],
    )


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of classes in a file, in the order of the model's outputs.

    Args:
        path: a text file in UTF-8 with one name a line; or JSON, a list of names, or an object of names, or of lists
            that end with them, by the number of the class: ``{"0": "cat", "1": "dog"}``,
            ``{"0": ["n01440764", "tench"]}``.

    Raises:
        ValueError: it holds none, or lines are empty, or numbers are missing.
        OSError: it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: labels must be text in UTF-8, and this is not ({error.reason})") from None
    if text.lstrip()[:1] in ("[", "{"):
        return _labels_of_json(os.fspath(path), text)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise ValueError(f"{os.fspath(path)}: holds no labels; write one a line")
    if "" in lines:
        raise ValueError(f"{os.fspath(path)}: line {lines.index('') + 1} is empty; each line must name a class")
    return tuple(lines)


def _labels_of_json(path: str, text: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: begins like JSON, and is none ({error})") from None
    if isinstance(content, dict):
        by_number = {int(key): value for key, value in content.items() if key.isdecimal()}
        if by_number.keys() != set(range(len(content))):
            missing = next((n for n in range(len(content)) if n not in by_number), 0)
            raise ValueError(
                f"{path}: the numbers of the classes must be 0 to {len(content) - 1}; {missing} is missing"
            )
        content = [by_number[number] for number in range(len(content))]
        content = [value[-1] if isinstance(value, list) and value else value for value in content]
    wrong = next((value for value in content if not isinstance(value, str) or not value.strip()), None)
    if not content or wrong is not None:
        raise ValueError(f"{path}: holds {'no labels' if not content else f'{wrong!r}, which is no name of a class'}")
    return tuple(content)


def names_file(word: str) -> bool:
    """Whether a word means a file with a model rather than the name of one."""
    return Path(word).suffix.lower() in CHECKPOINT_SUFFIXES or is_exported(word)


def _from_catalog(model: Model, checkpoint: Checkpoint) -> ModelSpec:
    facts = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    for name in ("name", "url", "transforms", "categories"):
        facts.pop(name)
    return ModelSpec(
        name=model.name,
        task=model.task,
        weights=checkpoint.name,
        file=checkpoint.url,
        preset=checkpoint.preset,
        preset_arguments=dict(checkpoint.preset_arguments),
        labels=checkpoint.categories or (),
        facts={name: value for name, value in facts.items() if value is not None},
    )


def _from_checkpoint(path: Path, overrides: Mapping[str, Any]) -> ModelSpec:
    """A checkpoint that says what it is has a spec's fields under ``"spec"``, beside its state dict."""
    if is_exported(path):
        return _from_exported(path, overrides)
    try:
        content = checkpoints.read_content(path, map_location="meta")  # without their data, tensors cost nothing
    except checkpoints.UnreadableCheckpointError:  # of int8 tensors perhaps, which torch has with data only
        content = checkpoints.read_content(path)
    described = content.get("spec") if isinstance(content, dict) else None
    values = {**overrides, "file": os.fspath(path), "weights": None}
    if isinstance(described, dict):
        try:
            spec = ModelSpec.from_dict(described)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if overrides.get("name", spec.name) == spec.name:
            count = spec.arguments.get("num_classes", len(spec.labels)) or None
            values["arguments"] = {**spec.arguments, **overrides.get("arguments", {})}
            values |= _labels(spec.name, path, overrides, count, spec.labels)
            return dataclasses.replace(spec, **values)
    if "name" not in overrides:
        raise ValueError(f"{path} does not say which model it is for; give the model's name beside it")
    default = _on_backbone(overrides["name"].lower())
    if default is not None:
        default = _with_backbone(dataclasses.replace(default, arguments=overrides.get("arguments", {})))
    else:
        entry = catalog.model(overrides["name"].lower())
        default = _from_catalog(entry, entry.checkpoint())
    if isinstance(described, dict):  # of a relative of the model: a float one, for its int8 form
        default = _with_data_of(default, described)
    arguments = _arguments(default.name, path, content, default, overrides.get("arguments", {}))
    values |= {"facts": {}, **values, "name": default.name, "arguments": arguments}
    values |= _labels(default.name, path, overrides, arguments.get("num_classes"), default.labels)
    return dataclasses.replace(default, **values)


def _known(name: str) -> str:
    return name if name in declarations.on_backbones() else catalog.model(name).name


def _on_backbone(name: str) -> ModelSpec | None:
    """The spec of a builder that takes any classifier as its backbone, without saying which; ``None`` for others."""
    found = declarations.on_backbones().get(name)
    if found is None:
        return None
    return ModelSpec(name, found.task, preset=found.preset, preset_arguments=dict(found.preset_arguments))


def _with_backbone(spec: ModelSpec) -> ModelSpec:
    """The spec, if it says which backbone is meant."""
    backbone = spec.arguments.get("backbone")
    if not isinstance(backbone, str):
        raise ValueError(
            f"{spec.name} takes a classifier as its backbone, which must be named: arguments="
            f'{{"backbone": "convnext_tiny"}}, or --argument backbone=convnext_tiny'
        )
    entry = catalog.model(backbone.lower())
    if entry.task != "classification":
        raise ValueError(f"the backbone of {spec.name} must be a classifier, and {entry.name} is for {entry.task}")
    return dataclasses.replace(spec, arguments={**spec.arguments, "backbone": entry.name})


def _with_data_of(spec: ModelSpec, described: Mapping[str, Any]) -> ModelSpec:
    """A spec with the labels and the preprocessing that a file of another model tells, where they suit it."""
    try:
        other = ModelSpec.from_dict(described)
    except ValueError:
        return spec
    if other.preset != spec.preset:
        return spec
    return dataclasses.replace(spec, labels=other.labels, preset_arguments=dict(other.preset_arguments))


def _prepared_for(spec: ModelSpec) -> ModelSpec:
    """The spec with preprocessing for as many channels, and images of the size, that the model takes."""
    if (size := spec.arguments.get("img_size")) is not None:
        from zoo_core import image_size

        resized = image_size.preset_arguments(spec.preset, spec.preset_arguments, size)
        spec = dataclasses.replace(spec, preset_arguments=resized)
    channels = spec.arguments.get("in_channels")
    if channels is None:
        return spec
    from zoo_core.input_channels import preset_arguments

    return dataclasses.replace(spec, preset_arguments=preset_arguments(spec.preset, spec.preset_arguments, channels))


def _arguments(name: str, path: Path, content: object, default: ModelSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the builder with which the model takes what is in the file."""
    from zoo_core import foreign
    from zoo_core.checkpoints.own_files import choose
    from zoo_core.fitting import fitting_arguments
    from zoo_core.registration import get_model_builder

    builder = get_model_builder(name)
    with warnings.catch_warnings(action="ignore"):  # what is to be said of the file is said when it is loaded
        found = checkpoints.without_wrappers(choose(content, path))
        state_dict = foreign.translated(name, builder, found, source=os.fspath(path))
    guess = {"num_classes": len(default.labels)} if default.labels else {}
    return {**fitting_arguments(builder, state_dict, {**guess, **given}), **given}


def _without_classes(name: str) -> ValueError:
    return ValueError(f"{name} has no classes that could be named; leave out the labels")


def _labels(
    name: str, path: Path, overrides: Mapping[str, Any], count: int | None, default: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """The labels of a model with so many classes.

    Raises:
        ValueError: those that are given are more, or fewer.
    """
    given = overrides.get("labels")
    if given is None:
        return {"labels": default if count in (None, len(default)) else ()}
    if count is None and not default:
        raise _without_classes(name)
    # Labels of users' own need not name the first class of detectors and segmentation models.
    if count is not None and len(given) == count - 1 and default[:1] == (BACKGROUND,) and BACKGROUND not in given:
        given = (BACKGROUND, *given)
    if count is not None and len(given) != count:
        of_them = f"the first is {given[0]!r}, the last {given[-1]!r}" if given else "there are none"
        raise ValueError(
            f"{path} is of a model with {count} classes, and there are {len(given)} labels ({of_them}); give one label "
            "for each class, in the order of the model's outputs"
        )
    return {"labels": tuple(given)}


def build(spec: ModelSpec, *, train: bool = False, progress: bool = True) -> "torch.nn.Module":
    """Builds the model of a spec, with its parameters.

    Args:
        spec: what to build.
        train: build it for training, in training mode. If not, it is in eval mode, and published weights get what the
            task declares for inference (int8 layers, no auxiliary classifier).
        progress: show a progress bar if the checkpoint has to be downloaded.

    Raises:
        zoo_core.catalog.UnknownModelError: no installed package has the builder.
        zoo_core.checkpoints.CheckpointError: the checkpoint cannot be obtained, read, or does not fit the model.
        ValueError: an argument contradicts the checkpoint, published weights have another number of classes than there
            are labels, or the file is of a format that is not built from.
    """
    from zoo_core import builders
    from zoo_core.registration import get_model_builder, get_model_weights

    if spec.format != "state_dict":
        raise ValueError(
            f"{spec}: a file of the format {spec.format!r} is run as it is; there is no module to build. Use the "
            "checkpoint that it was exported from"
        )
    builder = get_model_builder(spec.name)
    parameters = inspect.signature(builder).parameters
    arguments = dict(spec.arguments)
    if spec.weights is not None:
        if not train:
            _check_labels(spec)
        declared = declarations.declarations().get(spec.task)
        if declared is not None and not train:
            arguments = {k: v for k, v in declared.inference.items() if k in parameters} | arguments
        model = builder(weights=get_model_weights(builder)[spec.weights], progress=progress, **arguments)
        return model.train(train)
    if "weights_backbone" in parameters:
        arguments.setdefault("weights_backbone", None)
    if spec.labels:
        arguments.setdefault("num_classes", len(spec.labels))
    if spec.file is None:
        return builder(weights=None, **arguments).train(train)
    with builders.without_storage():
        model = builder(weights=None, **arguments)
    file = _OfFile(spec, model)
    try:
        return builders.load(model, file, progress).train(train)  # type: ignore[arg-type]
    except checkpoints.StateDictError as error:
        from zoo_core.recognition import recognize

        found = recognize(_OfFile(spec).get_state_dict(progress=False))
        likeness = (
            f"is most like {', '.join(map(str, found))}" if found else "is like no model of the installed packages"
        )
        raise checkpoints.StateDictError(f"{error}\n  The file {likeness}.") from None


def read_parameters(spec: ModelSpec) -> "Mapping[str, Any]":
    """The state dict in the file of a spec, with the names that the model has itself.

    Raises:
        zoo_core.checkpoints.CheckpointError: it cannot be obtained, or read.
        ValueError: the spec has no file.
    """
    if spec.file is None:
        raise ValueError(f"{spec} has fresh parameters, and no file to read them from")
    return _OfFile(spec).get_state_dict()


def _check_labels(spec: ModelSpec) -> None:
    """Raises ValueError if the labels are not as many as the classes of the published weights."""
    assert spec.weights is not None
    classes = catalog.model(spec.name).checkpoint(spec.weights).categories if spec.name in catalog.models() else None
    if classes and spec.labels and len(spec.labels) != len(classes):
        raise ValueError(
            f"{spec} has {len(classes)} classes, and there are {len(spec.labels)} labels; give one label for each "
            "class, in the order of the model's outputs"
        )


class _OfFile:
    """A file with a state dict, where :func:`zoo_core.builders.load` takes weights."""

    def __init__(self, spec: ModelSpec, model: "torch.nn.Module | None" = None) -> None:
        self._spec, self._model = spec, model

    def get_state_dict(self, **options: Any) -> Any:
        from zoo_core import foreign
        from zoo_core.registration import get_model_builder

        assert self._spec.file is not None
        if is_url(self._spec.file):
            progress = options.get("progress", True)
            found: Any = checkpoints.without_wrappers(checkpoints.get_state_dict(self._spec.file, progress=progress))
        else:
            found = checkpoints.read_own_state_dict(self._spec.file)
        name = self._spec.name
        found = foreign.translated(name, get_model_builder(name), found, source=str(self))
        if self._model is not None and self._spec.arguments.get("img_size") is not None:
            from zoo_core import image_size

            found = image_size.fitted(self._model, found)
        if self._model is not None and self._spec.arguments.get("in_channels") is not None:
            from zoo_core.input_channels import adapt_state_dict

            return adapt_state_dict(self._model, found, source=str(self))
        return found

    def __str__(self) -> str:
        return str(self._spec)
