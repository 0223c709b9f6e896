"""Recipes: how a model is trained, as data.

A package keeps them in ``recipes/NAME.toml`` beside its catalogue; a user's own is any such file. Its keys are the
fields of :class:`Recipe`, of which a file names those that it wants otherwise than by default::

    description = "Fine-tuning on some hundred images"
    source = "https://..."
    epochs = 10
    lr = 0.01

Keys have the names of the flags of torchvision's training scripts, or timm's where those have none; what is called a
factor there is one here. This module imports neither torch nor the packages that recipes are in.
"""

import dataclasses
import difflib
import fnmatch
import functools
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core import catalog
from zoo_core.catalog import plugins

__all__ = ["Recipe", "RecipeError", "choose", "parse_settings", "read", "recipes"]


class RecipeError(ValueError):
    """A recipe, or a change to one, that is at fault. The message names the file, or the key."""


def _key(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    return field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "choices": tuple(choices)}
    )


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. :meth:`settable` tells what may be set, and what it means.

    Attributes:
        name: of the file, without its ending.
        task: whose models it trains.
        description: what it is for, in one line.
        source: where it was published, or how it was found.
        models: shell patterns of the names of the models that it is for.
        file: where it is written.
    """

    name: str = "own"
    task: str = ""
    description: str = ""
    source: str = ""
    models: tuple[str, ...] = ("*",)
    file: Path | None = None

    epochs: int = _key(10, "How often the training set is gone through.", minimum=1)
    batch_size: int = _key(32, "Samples of one process at a time.", minimum=1)
    min_steps_per_epoch: int = _key(
        0,
        "Halve batch_size, unless you set it, until an epoch of few samples has so many steps, or 8 make a batch.",
        minimum=0,
    )
    grad_accum_steps: int = _key(1, "Batches whose gradients make one step.", minimum=1)
    seed: int = _key(0, "What all randomness follows from: order, augmentation, new parameters, dropout.", minimum=0)
    early_stopping: int = _key(0, "Stop after so many epochs without a better figure; 0: never.", minimum=0)

    opt: str = _key("sgd", "Optimiser.", choices=("sgd", "sgd_nesterov", "rmsprop", "adam", "adamw"))
    lr: float = _key(0.1, "Learning rate, after the warm-up.", minimum=0)
    lr_base_size: int = _key(
        0, "Samples of a step that lr is meant for; it follows the true number. 0: lr is as it stands.", minimum=0
    )
    lr_base_scale: str = _key("linear", "How lr follows the samples of a step.", choices=("linear", "sqrt"))
    momentum: float = _key(0.9, "Momentum of sgd and rmsprop.", minimum=0, maximum=1)
    opt_betas: tuple[float, ...] = _key((0.9, 0.999), "Betas of adam and adamw.", minimum=0, maximum=1)
    opt_eps: float | None = _key(None, "Epsilon of the optimiser; none: torch's own.", minimum=0)
    opt_alpha: float = _key(0.9, "Smoothing of rmsprop.", minimum=0, maximum=1)
    weight_decay: float = _key(1e-4, "Weight decay.", minimum=0)
    norm_weight_decay: float | None = _key(None, "That of normalisation layers; none: weight_decay.", minimum=0)
    bias_weight_decay: float | None = _key(None, "That of biases; none: weight_decay.", minimum=0)
    transformer_embedding_decay: float | None = _key(
        None, "That of class tokens, positions and relative position biases; none: weight_decay.", minimum=0
    )
    clip_grad_norm: float = _key(0.0, "Greatest norm of the gradient; 0: any.", minimum=0)

    lr_scheduler: str = _key(
        "cosineannealinglr",
        "How the rate falls after the warm-up. It changes with each step, not each epoch.",
        choices=(
            *("constant", "steplr", "multisteplr", "exponentiallr"),
            *("cosineannealinglr", "polynomiallr", "onecycle"),
        ),
    )
    lr_warmup_epochs: float = _key(0.0, "Epochs in which the rate rises (onecycle: to its peak).", minimum=0)
    lr_warmup_method: str = _key("linear", "How it rises.", choices=("linear", "constant"))
    lr_warmup_decay: float = _key(0.01, "The factor of lr that it rises from.", minimum=0, maximum=1)
    lr_step_size: float = _key(30, "Epochs between steps of steplr; epochs to which lr_gamma belongs.", minimum=1e-9)
    lr_steps: tuple[float, ...] = _key((), "Epochs after which multisteplr takes a step.", minimum=0)
    lr_gamma: float = _key(0.1, "Factor of a step.", minimum=0, maximum=1)
    lr_anneal: str = _key("cos", "How onecycle rises and falls.", choices=("cos", "linear"))
    lr_min: float = _key(0.0, "Where cosineannealinglr ends.", minimum=0)
    lr_power: float = _key(0.9, "Power of polynomiallr.", minimum=0)

    model_ema: bool = _key(False, "Evaluate and keep a moving average of the parameters.")
    model_ema_decay: float = _key(0.9999, "Weight of the average in its update.", minimum=0, maximum=1)
    model_ema_steps: int = _key(1, "Steps between updates.", minimum=1)
    model_ema_warmup: bool = _key(True, "A smaller weight in the first updates: (1 + n) / (10 + n) at most.")

    amp: bool = _key(False, "Compute in half precision where that is safe.")
    amp_dtype: str = _key("bfloat16", "Which.", choices=("bfloat16", "float16"))
    sync_bn: bool = _key(False, "Batch norm over the batches of all processes.")
    channels_last: bool = _key(True, "Lay out images and convolutions with channels last.")
    freeze_batch_norm: bool = _key(False, "Keep the statistics of batch norms as they are.")
    body_lr_factor: float = _key(1.0, "Factor of lr for all but the layers that depend on the classes.", minimum=0)
    freeze_body: bool = _key(False, "Train the new head only.")
    freeze_until: str = _key("", "The stage up to which nothing trains, stage2 for instance, or body.")

    train_crop_size: int = _key(0, "Side of the images in training; 0: as the model's preset.", minimum=0)
    val_crop_size: int = _key(0, "Side of the images in evaluation; 0: as the preset.", minimum=0)
    val_resize_size: int = _key(0, "What the shorter side is resized to before that; 0: as the preset.", minimum=0)
    interpolation: str = _key("", "For resizing; empty: as the preset.", choices=("", "bilinear", "bicubic"))
    scale: tuple[float, ...] = _key((0.08, 1.0), "Area of a random crop.", minimum=0, maximum=1)
    ratio: tuple[float, ...] = _key((0.75, 4 / 3), "Its aspect ratio.", minimum=0)
    hflip: float = _key(0.5, "Probability of mirroring.", minimum=0, maximum=1)
    color_jitter: float = _key(0.0, "Change of brightness, contrast and saturation.", minimum=0)
    label_smoothing: float = _key(0.0, "Share of the truth that is spread over all classes.", minimum=0, maximum=1)
    auto_augment: str = _key(
        "", "Policy of augmentation.", choices=("", "ra", "ta_wide", "augmix", "imagenet", "cifar10", "svhn")
    )
    ra_magnitude: int = _key(9, "Magnitude of ra.", minimum=0, maximum=30)
    ra_num_ops: int = _key(2, "How many operations ra applies.", minimum=1)
    augmix_severity: int = _key(3, "Severity of augmix.", minimum=1, maximum=10)
    random_erase: float = _key(0.0, "Probability of erasing a rectangle.", minimum=0, maximum=1)
    mixup_alpha: float = _key(0.0, "Mixing of images; 0: none.", minimum=0)
    cutmix_alpha: float = _key(0.0, "Mixing by rectangles; 0: none.", minimum=0)
    base_size: int = _key(520, "Of segmentation: shorter side of an image at a scale of 1.", minimum=1)
    resize_scale: tuple[float, ...] = _key((0.5, 2.0), "Of segmentation: range of that scale.", minimum=0.01)
    aux_loss: bool = _key(False, "Of segmentation from scratch: an auxiliary classifier, of half the weight.")
    aux_lr_factor: float = _key(1.0, "Factor of lr for the auxiliary classifier.", minimum=0)
    data_augmentation: str = _key("hflip", "Of detection.", choices=("hflip", "lsj", "multiscale", "ssd", "ssdlite"))
    use_copypaste: bool = _key(False, "Of instance segmentation: paste objects of other images of the batch.")
    trainable_backbone_layers: int = _key(-1, "Of detection: how many; -1: as the builder has it.", minimum=-1)
    weights_backbone: str = _key(
        "", "Weights of the backbone of a model from scratch: a name, or a checkpoint of yours; empty: fresh ones."
    )
    train_crop_mode: str = _key(
        "rc", "Of video: rc resizes and crops, rrc takes a random crop of scale and ratio.", choices=("rc", "rrc")
    )
    train_resize_size: tuple[int, ...] = _key(
        (), "Of video: shorter side, or height and width, before the crop; empty: as the preset.", minimum=1
    )
    crop_size: tuple[int, ...] = _key((368, 496), "Of flow: height and width of the crop.", minimum=1)
    min_scale: float = _key(-0.2, "Of flow: least scale of the images, as its logarithm to base 2.")
    max_scale: float = _key(0.5, "Of flow: greatest scale, likewise.")
    gamma: float = _key(0.8, "Of flow: weight of a prediction relative to the next one.", minimum=0, maximum=1)
    backend: str = _key(
        "qnnpack", "Of int8: what the model is quantized for.", choices=("fbgemm", "x86", "qnnpack", "onednn")
    )
    num_observer_update_epochs: int = _key(4, "Of int8: epochs after which ranges stay as they are.", minimum=1)
    num_batch_norm_update_epochs: int = _key(3, "Of int8: the same of batch norms' statistics.", minimum=1)
    ra_reps: int = _key(1, "How often an image is in an epoch, each time augmented anew.", minimum=1)

    @classmethod
    def settable(cls) -> "Mapping[str, dataclasses.Field[Any]]":
        """The fields that may be set, by name; ``metadata["help"]`` says what each means."""
        return {f.name: f for f in dataclasses.fields(cls) if "help" in f.metadata}

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe with other values for some keys.

        Raises:
            RecipeError: there is no such key, or it does not take the value.
        """
        return dataclasses.replace(self, **{key: _checked(key, value) for key, value in settings.items()})

    def as_dict(self) -> dict[str, Any]:
        """All keys with their values, and the name."""
        return {"name": self.name} | {key: getattr(self, key) for key in self.settable()}

    def changed(self) -> dict[str, Any]:
        """The keys whose values are not the default, with these."""
        return {key: getattr(self, key) for key, f in self.settable().items() if getattr(self, key) != f.default}

    def closeness(self, model: str) -> int:
        """How exactly the recipe means a model, by name: 0 for not at all, more for longer patterns."""
        return max((len(pattern) for pattern in self.models if fnmatch.fnmatchcase(model, pattern)), default=0)

    def as_toml(self) -> str:
        """The recipe as a file that ``read()`` takes, with the values of all keys."""
        values = {"description": self.description, "source": self.source, **self.as_dict()}
        del values["name"]
        lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if value is not None]
        return "\n".join([*lines, ""])


def toml_value(value: Any) -> str:
    """A value of a key as TOML, or ``none``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
        return f'"{escaped}"'
    return repr(value)


def recipes() -> Sequence[Recipe]:
    """The recipes of all installed packages, by task and name.

    Raises:
        RecipeError: one of the files is at fault.
    """
    found = []
    for task, package in dict.fromkeys((source.task, source.package.partition(".")[0]) for source in catalog.sources()):
        folder = plugins.folder_in_package(package, "recipes")
        if folder is not None:
            found += [read(path, task) for path in folder.glob("*.toml")]
    return sorted(found, key=lambda recipe: (recipe.task, recipe.name))


# What models are trained with where nobody says, the first that a task has.
_USUAL = ("finetune", "qat")


def choose(name: str | None, task: str, model: str, *, from_scratch: bool = False) -> Recipe:
    """The recipe that a user means.

    Args:
        name: of a recipe, or the path of a file (it ends in ``.toml``); ``None`` for the task's ``finetune`` (of
            int8 models ``qat``), or, from scratch, for the one that names the model most exactly.
        task: of the model.
        model: its name.
        from_scratch: whether training begins with fresh parameters.

    Raises:
        RecipeError: there is none, or the file is at fault.
    """
    if name is not None and name.endswith(".toml"):
        return read(Path(name), task)
    of_task = [recipe for recipe in recipes() if recipe.task == task]
    if not of_task:
        raise RecipeError(f"the installed packages have no recipe for the task {task}; give a file, --recipe my.toml")
    if name is None and from_scratch:
        fitting = [recipe for recipe in of_task if recipe.closeness(model) and recipe.name not in _USUAL]
        if fitting:
            return max(fitting, key=lambda recipe: recipe.closeness(model))
    there = {recipe.name for recipe in of_task}
    wanted = name or next((usual for usual in _USUAL if usual in there), _USUAL[0])
    for recipe in of_task:
        if recipe.name == wanted:
            return recipe
    raise RecipeError(f"no recipe {wanted!r} for the task {task}{hint(wanted, [r.name for r in of_task])}")


def read(path: Path, task: str) -> Recipe:
    """Reads a recipe.

    Raises:
        RecipeError: the file is no TOML, or a key of it is at fault.
        OSError: it cannot be read.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    head: dict[str, Any] = {}
    for name in ("description", "source"):
        head[name] = table.pop(name, "")
        if not isinstance(head[name], str):
            raise RecipeError(f"{path}: {name} must be text, not {head[name]!r}")
    models = table.pop("models", ["*"])
    if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
        raise RecipeError(f"{path}: models must be a list of names or patterns, not {models!r}")
    try:
        return Recipe(path.stem, task, head["description"], head["source"], tuple(models), path).with_settings(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """``["lr=0.01", "opt=adamw"]`` as values by key: each is TOML, or else text.

    Raises:
        RecipeError: a word has another form, or names no key, or the key does not take the value.
    """
    return {key: _checked(key, value) for key, value in parse_values(words).items()}


def parse_values(words: Iterable[str]) -> dict[str, Any]:
    """``["lr=0.01", "opt=adamw"]`` as values by key: each is TOML, or else text.

    Raises:
        RecipeError: a word has another form.
    """
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise RecipeError(f"write KEY=VALUE, as in lr=0.01, not {word!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text.strip()
        found[key.strip().replace("-", "_")] = value
    return found


def _checked(key: str, value: Any) -> Any:
    keys = Recipe.settable()
    if key not in keys:
        raise RecipeError(f"a recipe has no key {key!r}{hint(key, keys)}")
    expected = _types()[key]
    converted = _converted(value, expected)
    if converted is _WRONG:
        raise RecipeError(f"{key} must be {_type_name(expected)}, not {value!r}")
    known = keys[key].metadata
    if known["choices"] and converted not in known["choices"]:
        there = ", ".join(repr(choice) for choice in known["choices"])
        near = difflib.get_close_matches(str(converted), known["choices"], n=1)
        raise RecipeError(f"{key} must be one of {there}, not {value!r}" + (f"; {near[0]!r}?" if near else ""))
    low, high = known["minimum"], known["maximum"]
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            if not math.isfinite(number):
                raise RecipeError(f"{key} must be finite, not {value!r}")
            if (low is not None and number < low) or (high is not None and number > high):
                bounds = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
                raise RecipeError(f"{key} must be {bounds}, not {value!r}")
    return converted


_WRONG = object()


def _converted(value: Any, expected: Any) -> Any:
    if isinstance(expected, types.UnionType):
        if value is None or value == "none":
            return None
        expected = next(kind for kind in typing.get_args(expected) if kind is not type(None))
    if typing.get_origin(expected) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        converted = tuple(_converted(item, typing.get_args(expected)[0]) for item in items)
        return _WRONG if _WRONG in converted else converted
    if expected is float and type(value) is int:
        return float(value)
    return value if type(value) is expected else _WRONG


def _type_name(expected: Any) -> str:
    if isinstance(expected, types.UnionType):
        return " or ".join(_type_name(kind) for kind in typing.get_args(expected))
    if typing.get_origin(expected) is tuple:
        return "a list of numbers, as in [0.1, 0.9]"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "none"}[
        expected
    ]


@functools.cache
def _types() -> Mapping[str, Any]:
    return typing.get_type_hints(Recipe)


def hint(word: str, known: Iterable[str]) -> str:
    """What to say behind a name that is not known."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
