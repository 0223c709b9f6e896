"""What is to be trained: the model, the data set, and how its classes become the model's."""

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_core import builders, checkpoints, processes, specs
from zoo_core.catalog.labels import BACKGROUND
from zoo_core.data import DataError, Dataset, MissingSplitError
from zoo_core.data.coco import NO_CATEGORY
from zoo_core.declarations import declaration
from zoo_core.features import freeze
from zoo_core.input_channels import adapt_state_dict
from zoo_core.registration import get_model_builder, get_model_weights
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Task, task_class
from zoo_core.text import listed
from zoo_core.training import backbones, randomness
from zoo_core.training import recipes as recipe_files
from zoo_core.training.contract import Training
from zoo_core.training.recipes import Recipe
from zoo_core.training.samples import held_out

__all__ = ["Job", "prepare"]

# What is known of published weights, and holds for what is trained from them too.
_KEPT_FACTS = ("keypoint_names", "clip_length", "frame_rate", "clips_per_video", "min_temporal_size")


_TRAINED_CHANNELS = (1, 3)

# Arguments of builders that are told in other ways.
_NOT_GIVEN = frozenset({"weights", "weights_backbone", "num_classes", "new_head", "freeze_body"})


@dataclass(frozen=True)
class Job:
    """A model and what it is trained on.

    Args:
        spec: the model as it will be, with the data set's labels; no file yet.
        origin: where its parameters come from; ``None`` for fresh ones.
        keeps_head: whether the classes are those of ``origin``, so that its head is kept too.
        recipe: how it is trained.
        task: made for scoring.
        training: what the task brings.
        samples: to train on.
        held_out: to evaluate on.
        notes: what the user should know about the data and the classes.
        building: arguments of the builder that are for the start alone: the weights of a backbone.
    """

    spec: ModelSpec
    origin: ModelSpec | None
    keeps_head: bool
    recipe: Recipe
    task: Task[Any, Any]
    training: Training
    samples: Dataset
    held_out: Dataset
    notes: tuple[str, ...] = ()
    building: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The model before the first step, in training mode. The same for the same seed.

        Raises:
            zoo_core.checkpoints.CheckpointError: its weights cannot be obtained, read, or do not fit.
            ValueError: the model has no head that could be replaced, or frozen apart.
        """
        torch.manual_seed(randomness.seed(self.recipe.seed, "parameters"))
        wanted = {**self.training.building(from_scratch=self.origin is None), **self.building}
        if self.origin is None:
            model = specs.build(_with_arguments(self.spec, wanted), train=True)
            if specs.names_file(self.recipe.weights_backbone):
                backbones.load(model, Path(self.recipe.weights_backbone))
        elif self.keeps_head:
            model = specs.build(_with_arguments(self.origin, wanted), train=True)
        else:
            model = _with_new_head(_with_arguments(self.origin, wanted), _with_arguments(self.spec, wanted))
        model = self.training.prepared(model)
        if self.recipe.freeze_body:
            for parameter in self.body(model):
                parameter.requires_grad_(False)
        if self.recipe.freeze_until:
            freeze(model, until=self.recipe.freeze_until)
        return model.train()

    def body(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters of a model that :meth:`build` has made, but for those that depend on the number of classes.

        Raises:
            ValueError: none depend on it.
        """
        head = _head(self.spec)
        return [parameter for name, parameter in model.named_parameters() if name.rpartition(".")[0] not in head]


def prepare(
    model: str | os.PathLike[str] | ModelSpec,
    data: str | os.PathLike[str],
    *,
    recipe: str | Recipe | None = None,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    from_scratch: bool = False,
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Job:
    """Puts together what is to be trained: reads lists and annotations, but no image and no parameters.

    Args:
        model: its name, or a checkpoint that says which model it is for.
        data: the folder of a data set. Its split ``train`` is trained on, ``val`` evaluated on; where there is no
            ``val``, one in five samples is held out.
        recipe: name of a recipe, path of a file, or a recipe; by default the task's ``finetune``, and from scratch the
            one that suits the model best.
        weights: published weights to begin with; by default the model's best.
        checkpoint: a file to begin with.
        from_scratch: begin with fresh parameters.
        settings: changes to the recipe, by key.
        labels: name of each class, for data sets that have none (masks); by default those that the data set has, or
            else the model's.
        in_channels: how many channels the images have, if not those that the model was trained on; see
            :mod:`zoo_core.input_channels`.
        arguments: of the model's builder, which its checkpoints keep: ``{"backbone": "convnext_tiny"}`` for
            ``fasterrcnn_on``, ``{"img_size": 384}`` for a Vision Transformer.

    Raises:
        zoo_core.data.DataError: the data set cannot be used.
        zoo_core.training.RecipeError: there is no such recipe, or it is at fault.
        ValueError: the model's task cannot be trained, or arguments contradict each other.
    """
    if sum((weights is not None, checkpoint is not None, from_scratch)) > 1:
        raise ValueError("weights, a checkpoint and fresh parameters exclude each other; give one of them")
    given = {**(arguments or {}), **({} if in_channels is None else {"in_channels": in_channels})}
    if wrong := given.keys() & _NOT_GIVEN:
        raise ValueError(f"the argument {sorted(wrong)[0]} follows from the data set and what training begins with")
    overrides: dict[str, Any] = {"arguments": given} if given else {}
    found = specs.find(model, weights=weights, checkpoint=checkpoint, **overrides)
    if given:
        _check_arguments(found)
    if not isinstance(recipe, Recipe):
        recipe = recipe_files.choose(recipe, found.task, found.name, from_scratch=from_scratch)
    recipe = recipe.with_settings(settings or {})
    _check_channels(found, recipe)

    kind = task_class(found.task)
    samples, names, is_same = _open(kind, found, Path(data), labels)
    origin = None if from_scratch else kind.trained_from(found)
    spec = dataclasses.replace(
        found,
        weights=None,
        file=None,
        labels=names,
        # The labels say how many classes there are; a file's number may be another.
        arguments={key: value for key, value in found.arguments.items() if key != "num_classes" or not names},
        preset_arguments=_preset_arguments(found.preset_arguments, recipe),
        facts={"recipe": recipe.name} | {key: found.facts[key] for key in _KEPT_FACTS if key in found.facts},
    )
    task = kind(spec, scoring=True)
    if found.file is None and found.weights is None:
        origin = None
    if origin is not None and not is_same:
        notes = [f"{len(names)} classes of the data set, with a new head: {listed(names)}"]
        own, theirs = ({_plain(name): name for name in labels} for labels in (names, origin.labels))
        for name in (NO_CATEGORY, BACKGROUND):
            theirs.pop(_plain(name), None)
        if common := own.keys() & theirs.keys():
            own.pop(_plain(BACKGROUND), None)
            added = tuple(name for key, name in own.items() if key not in theirs) or ("none",)
            gone = tuple(name for key, name in theirs.items() if key not in own) or ("none",)
            notes.append(
                f"{len(common)} of them are classes of {origin} too; new are {listed(added)}; not there any more "
                f"{listed(gone)}"
            )
    else:
        notes = []
    try:
        truths = task.samples(Path(data), "val")
        whole = _is_same_data(samples, truths)
    except MissingSplitError:
        truths, whole = samples, True
    if whole:
        samples, truths = held_out(samples)
        notes.append(f"{data} has no split val: one in five samples is held out, {len(truths)} of them")
    if "batch_size" not in (settings or {}) and (smaller := _fitting_batch(recipe, len(samples))) < recipe.batch_size:
        notes.append(
            f"batch_size is {smaller} instead of {recipe.batch_size}, so an epoch of {len(samples)} samples has more "
            "steps; set batch_size to decide"
        )
        recipe = recipe.with_settings({"batch_size": smaller})
    building = {}
    if found.file is None and found.weights is None and not (from_scratch or recipe.weights_backbone):
        building = {"weights_backbone": "DEFAULT"}
        notes.append(f"the backbone begins with the best weights of {found.arguments['backbone']}, the rest anew")
    training = task.training(recipe)
    return Job(spec, origin, is_same, recipe, task, training, samples, truths, tuple(notes), building)


_SMALLEST_BATCH = 8


def _fitting_batch(recipe: Recipe, samples: int) -> int:
    """The batch size with which an epoch has as many steps as the recipe wants, as far as that can be."""
    size = recipe.batch_size
    others = processes.world().size * recipe.grad_accum_steps
    while size // 2 >= _SMALLEST_BATCH and samples < recipe.min_steps_per_epoch * size * others:
        size //= 2
    return size


def _check_channels(spec: ModelSpec, recipe: Recipe) -> None:
    """Raises ValueError where images of as many channels as the model takes are not augmented as the recipe says."""
    channels = spec.arguments.get("in_channels", 3)
    if channels in _TRAINED_CHANNELS:
        return
    if declaration(spec.task).images != 1:
        raise ValueError(
            f"videos and pairs of images are read as grey or RGB ones, so a model for {channels} channels is not "
            "trained by this; build it with in_channels= in Python, and train it on tensors"
        )
    of_colors = [key for key in ("color_jitter", "auto_augment") if getattr(recipe, key)]
    if recipe.data_augmentation == "ssd":
        of_colors.append("data_augmentation")
    if of_colors:
        raise recipe_files.RecipeError(
            f"{', '.join(of_colors)}: changes colours, which images of {channels} channels do not have; set another "
            f"value than {getattr(recipe, of_colors[0])!r}"
        )


def _check_arguments(spec: ModelSpec) -> None:
    """Raises ValueError if the builder does not take the arguments of a spec."""
    builder = get_model_builder(spec.name)
    try:
        with builders.without_storage():
            builder(**{**builders.fresh_arguments(builder), **spec.arguments})
    except TypeError as error:
        raise ValueError(f"{spec.name} does not take such arguments: {error}") from error


def _open(
    kind: type[Task[Any, Any]], spec: ModelSpec, data: Path, labels: Sequence[str] | None
) -> tuple[Dataset, tuple[str, ...], bool]:
    """The samples to train on, the labels of their classes, and whether these are just those that the model has."""
    if labels is not None:
        given = dataclasses.replace(spec, labels=tuple(labels))
        return kind(given).samples(data, "train"), given.labels, given.labels == spec.labels
    own = kind(spec).labels_in(data, "train")
    if own is None:
        return kind(spec).samples(data, "train"), spec.labels, True
    if not spec.labels and len(own) == spec.arguments.get("num_classes"):  # in the order of their names, as is usual
        return kind(dataclasses.replace(spec, labels=own)).samples(data, "train"), own, True
    if len(own) == sum(label != NO_CATEGORY for label in spec.labels):
        with contextlib.suppress(DataError):
            return kind(spec).samples(data, "train"), spec.labels, True
    return kind(dataclasses.replace(spec, labels=own)).samples(data, "train"), own, False


def _is_same_data(samples: Dataset, others: Dataset) -> bool:
    return (
        len(samples) == len(others)
        and samples.sample(0).files == others.sample(0).files
        and samples.sample(len(samples) - 1).files == others.sample(len(others) - 1).files
    )


def _preset_arguments(arguments: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    wanted = {
        "crop_size": recipe.val_crop_size,
        "resize_size": recipe.val_resize_size,
        "interpolation": recipe.interpolation,
    }
    return dict(arguments) | {name: value for name, value in wanted.items() if value}


def _plain(label: str) -> str:
    """A label as a folder's name may have it too."""
    return re.sub(r"[\W_]+", " ", label).strip().casefold()


def _with_arguments(spec: ModelSpec, arguments: Mapping[str, Any]) -> ModelSpec:
    return dataclasses.replace(spec, arguments={**spec.arguments, **arguments})


def _with_new_head(origin: ModelSpec, spec: ModelSpec) -> nn.Module:
    """The model of a spec with another one's parameters, but for those that depend on the number of classes."""
    builder = get_model_builder(origin.name)
    if origin.weights is not None:
        with warnings.catch_warnings():
            # That its head gives random results until it is trained.
            warnings.filterwarnings("ignore", ".*the head .* is new")
            return builder(
                weights=get_model_weights(builder)[origin.weights],
                num_classes=len(spec.labels),
                new_head=True,
                **origin.arguments,
            )
    model = specs.build(spec, train=True)
    head = _head(spec)
    trained: Mapping[str, Any] = specs.read_parameters(origin)
    if spec.arguments.get("in_channels") is not None:
        trained = adapt_state_dict(model, trained, source=str(origin))
    fresh = model.state_dict()
    kept = {name: value for name, value in trained.items() if name.rpartition(".")[0] not in head}
    new = {name: value for name, value in fresh.items() if name.rpartition(".")[0] in head}
    checkpoints.assign_state_dict(model, kept | new, source=str(origin))
    return model


def _head(spec: ModelSpec) -> Collection[str]:
    """Names of the modules with parameters whose shape depends on the number of classes.

    Raises:
        ValueError: there are none.
    """
    builder = get_model_builder(spec.name)
    arguments = {**builders.fresh_arguments(builder), **spec.arguments}
    count = max(len(spec.labels), 1)
    with builders.without_storage():
        one, other = (builder(**{**arguments, "num_classes": number}) for number in (count, count + 1))
    found = builders.head_of(one, other)
    if not found:
        raise ValueError(f"{spec}: no layer depends on the number of classes, so there is no head to train apart")
    return found
