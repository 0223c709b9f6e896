"""The contract between tasks and what is done with them: the verbs know no task, and tasks know no verb.

A package names its task in the entry point group ``zoo.tasks``, under the name that its catalogue has, and declares it
in a TOML file beside the module; see :mod:`zoo_core.declarations`::

    [project.entry-points."zoo.tasks"]
    classification = "zoo_classification.task:ImageClassificationTask"

The walk of an input: core reads the file and gives the *input* to :meth:`Task.prepare`, which makes a *sample* of it,
the tensors that the model takes. :meth:`Task.run` gives samples to an engine, and returns an *output* for each; with
its input, :meth:`Task.result` makes a *result* of that, which can be described, drawn, recorded and scored.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo_core import presets
from zoo_core.data import Dataset
from zoo_core.declarations import ENTRY_POINT_GROUP, IMAGE_SUFFIXES, VIDEO_SUFFIXES, Option, declaration
from zoo_core.engines import Engine
from zoo_core.finite import NonFiniteError, check_finite
from zoo_core.graphs import Example
from zoo_core.images import convert_mode, pil_to_tensor
from zoo_core.images.bands import BandImage
from zoo_core.specs import ModelSpec

if TYPE_CHECKING:
    from zoo_core.training.contract import Training
    from zoo_core.training.recipes import Recipe

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "NonFiniteError",
    "Option",
    "Sample",
    "Score",
    "Task",
    "check_finite",
    "example_images",
    "task_class",
]

Input = TypeVar("Input")
Result = TypeVar("Result")

Sample = Iterable[Tensor]
"""What a model takes for one input, without a batch dimension. It is a tuple of tensors as a rule; a task with a
``run`` of its own may make them one by one, as they are asked for."""


class Score(ABC, Generic[Result]):
    """Compares results with the ground truth.

    The figures do not depend on the order of the samples, nor on how they were divided among scores that were then
    merged, down to the last bit. Subclasses keep what adds up exactly: integers, or values for :func:`math.fsum`.

    What one sample adds is its *contribution*, plain data that can be kept in a file and added later: an evaluation
    that was interrupted goes on from there, and comes to the same figures.
    """

    def __init__(self) -> None:
        self._indices: set[int] = set()

    def __len__(self) -> int:
        """Number of samples so far."""
        return len(self._indices)

    def update(self, index: int, result: Result, truth: Any) -> None:
        """Adds one result and its ground truth.

        Args:
            index: the sample's number in its data set, which tells it from all others.
            result: of the task.
            truth: in the task's own form.

        Raises:
            ValueError: the sample was taken already, or the truth does not go with the result; nothing changes then.
        """
        self._check_new(index)
        self._update(index, result, truth)
        self._indices.add(index)

    def contribution(self, result: Result, truth: Any) -> Any:
        """What one result adds to the score; the score stays as it is.

        Args:
            result: of the task.
            truth: in the task's own form.

        Returns:
            Plain data (numbers, strings, lists, dicts with strings as keys) that is the same after a way through JSON.

        Raises:
            ValueError: the truth does not go with the result.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a sample contributes, so nothing is kept")

    def add(self, index: int, contribution: Any) -> None:
        """Adds a contribution, which may come from a file.

        Args:
            index: the sample's number in its data set, which tells it from all others.
            contribution: as :meth:`contribution` gave it.

        Raises:
            ValueError: the sample was taken already, or this is no contribution to such a score.
        """
        self._check_new(index)
        try:
            self._add(index, contribution)
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"this is no contribution to a {type(self).__name__}: {contribution!r:.100}") from error
        self._indices.add(index)

    def merge(self, other: Self) -> None:
        """Takes what another score of the same kind, over other samples, has taken. That one stays as it is.

        Raises:
            ValueError: both have taken the same sample; nothing changes then.
            TypeError: it is a score of another kind.
        """
        if type(other) is not type(self):
            raise TypeError(f"a {type(self).__name__} cannot take what a {type(other).__name__} has")
        both = self._indices & other._indices
        if both:
            raise ValueError(
                f"{len(both)} samples were scored twice, for instance {min(both)}; divide them so that each counts once"
            )
        self._merge(other)
        self._indices |= other._indices

    def _check_new(self, index: int) -> None:
        if index in self._indices:
            raise ValueError(f"sample {index} was scored already; each counts once")

    def _update(self, index: int, result: Result, truth: Any) -> None:
        """:meth:`update`, for a sample that is new. Changes nothing if it raises."""
        self._add(index, self.contribution(result, truth))

    def _add(self, index: int, contribution: Any) -> None:
        """:meth:`add`, for a sample that is new."""
        raise NotImplementedError(f"{type(self).__name__} needs a method _add(index, contribution)")

    @abstractmethod
    def _merge(self, other: Self) -> None:
        """:meth:`merge`, for other samples. Changes nothing if it raises."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metrics over all samples so far, by name: ``{"acc@1": 91.2, "acc@5": 99.7}``.

        Raises:
            ValueError: nothing was taken yet.
        """


class Task(ABC, Generic[Input, Result]):
    """What inputs and outputs of a model mean.

    Has no model and no device: it is cheap to make, and can be pickled for worker processes.

    ``Input`` is what core reads: a PIL image in RGB, upright, of a task that declares ``images = 1``; a tuple of as
    many for more; what :meth:`read` gives for ``images = "file"``.

    Args:
        spec: the model; gives preprocessing and labels.
        options: values of the declared options by key; what is left out has its default.
        scoring: whether results are going to be scored, for which some options have a default of their own.

    Raises:
        ValueError: the task is not declared, or an option does not take its value.

    Attributes:
        spec: the model.
        declaration: what the task says about itself.
        options: the value of each option.
        preprocess: the model's preset; ``None`` if the spec has none.
        labels: name of each class; see :meth:`labels_for`.
    """

    def __init__(self, spec: ModelSpec, options: Mapping[str, Any] | None = None, *, scoring: bool = False) -> None:
        self.spec = spec
        self.declaration = declaration(spec.task)
        self.options = self.declaration.values(options, scoring=scoring)
        self.preprocess: Callable[..., Any] | None = (
            None if spec.preset is None else getattr(presets, spec.preset)(**spec.preset_arguments)
        )
        self.labels: Sequence[str] = spec.labels

    @property
    def forward_arguments(self) -> Mapping[str, Any]:
        """Keyword arguments for the model's ``forward``, which the one who makes the engine gives to it."""
        return {}

    @property
    def channels(self) -> int:
        """How many channels the images have that the model takes."""
        return int(self.spec.arguments.get("in_channels", 3))

    def with_channels(self, image: Any) -> Any:
        """A PIL image in the mode with as many channels as the model takes: grey, RGB or RGBA; others as they are.

        Raises:
            ValueError: no PIL image has so many; TIFF files may, see :mod:`zoo_core.images.bands`.
        """
        if not isinstance(image, Image.Image) or self.channels == 3:
            return image
        mode = {1: "L", 4: "RGBA"}.get(self.channels)
        if mode is None:
            raise ValueError(
                f"{self.spec} takes images of {self.channels} channels, and files are read as grey, RGB or RGBA ones; "
                f"give TIFF files of {self.channels} bands, or, from Python, tensors to the model"
            )
        return convert_mode(image, mode)

    def eager_arguments(self, model: nn.Module) -> Mapping[str, Any]:
        """As :attr:`forward_arguments`, where torch runs a model as it is: more compact results, perhaps, which a
        recorded program cannot give.
        """
        return self.forward_arguments

    def labels_for(self, count: int) -> Sequence[str]:
        """Names for that many classes: those of the model, or ``"class 0"``, ``"class 1"``, ... if it names none."""
        return self.labels or [f"class {index}" for index in range(count)]

    def read(self, path: Path) -> Input:
        """Reads a file as one input. Called only where the task declares ``images = "file"``.

        Raises:
            ValueError, OSError: it cannot be read; the message names the file.
        """
        raise NotImplementedError(f"{type(self).__name__} declares that it reads whole files, so it needs a read()")

    def prepare(self, input: Input) -> Sample:
        """Makes the tensors that the model takes.

        Raises:
            ValueError: the model does not take such an input.
        """
        if self.preprocess is None:
            raise ValueError(f"nothing says how to prepare inputs for {self.spec}; give it a preset")
        images: tuple[Any, ...] = input if isinstance(input, tuple) else (input,)
        if self.channels != 3:
            images = tuple(map(self.with_channels, images))
            images = tuple(image.pixels if isinstance(image, BandImage) else image for image in images)
            if not hasattr(self.preprocess, "mean"):  # it would make RGB images of PIL's
                images = tuple(pil_to_tensor(im) if isinstance(im, Image.Image) else im for im in images)
        prepared = self.preprocess(*images)
        return prepared if isinstance(prepared, tuple) else (prepared,)

    def run(self, engine: Engine, samples: Sequence[Sample]) -> list[Any]:
        """Runs an engine on samples, which may differ in size. Those of one size run together, as a batch.

        Returns:
            The output for each sample, without a batch dimension, in the form that the engine gives: a tensor, or a
            dict, list or tuple of such.

        Raises:
            NonFiniteError: there is NaN or infinity among the outputs.
            ValueError, RuntimeError: the engine does not take one of the samples, or all are too much at a time.
        """
        outputs: list[Any] = [None] * len(samples)
        for positions in _of_one_shape(samples):
            batch = [torch.stack(tensors) for tensors in zip(*(samples[i] for i in positions), strict=True)]
            output = engine(*batch)
            check_finite(output, self.spec)
            for place, position in enumerate(positions):
                outputs[position] = _item(output, place)
        return outputs

    def embeddings(self, engine: Engine, samples: Sequence[Sample]) -> list[Tensor]:
        """Runs an engine that gives embeddings, Tensor[N, D], on samples.

        Returns:
            The embedding of each sample, Tensor[D]: of one that is run in parts, as a video is in clips, their mean.
        """
        outputs = self.run(engine, samples)
        return [output.mean(0) if output.ndim == 2 else output for output in outputs]

    @abstractmethod
    def result(self, output: Any, input: Input) -> Result:
        """What an output says about its input; on the CPU, and no larger than need be.

        Args:
            output: as :meth:`run` gives it.
            input: what the output is for.
        """

    @abstractmethod
    def describe(self, result: Result) -> list[str]:
        """The result in words, a line for each thing found, the most likely first."""

    @abstractmethod
    def draw(self, input: Input, result: Result) -> Image.Image:
        """The result as an image, usually the input with the result drawn on it."""

    def draw_frame(self, input: Input, result: Result) -> Image.Image:
        """The result as a frame of a video: of one size for all inputs of one size, that of the frame as a rule.

        By default as :meth:`draw`, which a task overrides whose images differ in size by what is found.
        """
        return self.draw(input, result)

    def files(self, result: Result) -> Mapping[str, Callable[[Path], None]]:
        """What is written beside the image, if anything: endings (``".mask.png"``), and what writes such a file."""
        return {}

    @abstractmethod
    def record(self, result: Result) -> dict[str, Any]:
        """The result as plain data, for JSON. A class is an ``index`` and its ``label``.

        The keys ``file``, ``files``, ``index``, ``time``, ``error`` and ``output`` are taken.
        """

    @abstractmethod
    def score(self) -> Score[Result]:
        """A new score, which compares results of this task with the ground truth."""

    def example(self, size: Sequence[int] | None = None, batch_size: int = 1) -> Example:
        """What the model is exported with: a batch of images, as :meth:`prepare` makes them.

        Args:
            size: height and width; by default those that the weights were made for.
            batch_size: how many images.

        Raises:
            ValueError: the task's models take inputs of another form, or such a size cannot be.
        """
        if self.declaration.images != 1:
            raise ValueError(f"models of the task {self.spec.task} are not exported: its example() says with what")
        height, width = self.check_size(size, ("height", "width")) if size is not None else self.example_size
        images = example_images(self.preprocess, batch_size, height, width)
        return Example((images,), dynamic=({0: "batch", 2: "height", 3: "width"},), output_name="logits")

    @property
    def example_size(self) -> tuple[int, ...]:
        """Height and width of the images that the weights were made for."""
        for name in ("crop_size", "resize_size"):
            if sides := getattr(self.preprocess, name, None):
                return sides[0], sides[-1]
        return 224, 224

    def example_sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Other sizes that a model may take that takes this one, the likeliest to show a difference first."""
        *frames, height, width = size
        longer = [frames, [count + 4 for count in frames], [2 * count for count in frames]]
        return [
            (*more, *sides)
            for more, sides in zip(
                [longer[1], longer[0], longer[0], longer[1], longer[2]],
                [
                    (height * 3 // 4 + 1, width + 19),
                    (height + 33, width * 3 // 4),
                    # Multiples of 32, which some models need.
                    (max((height - 1) // 32 * 32, 32), (width // 32 + 1) * 32),
                    ((height // 32 + 1) * 32, max((width - 1) // 32 * 32, 32)),
                    (2 * height, 2 * width),
                ],
                strict=True,
            )
        ]

    def check_size(self, size: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
        """The size, if it has these sides. Raises ValueError if not."""
        if len(size) != len(names) or not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"the size must be {', '.join(names)}, each at least 1, not {tuple(size)}")
        return tuple(size)

    def check_truth(self, input: Input, truth: Any) -> None:
        """Checks what can be told without a model: whether the truth of a sample goes with its input.

        Raises:
            ValueError: it does not: a mask has another size than its image, for instance.
        """

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """Opens a data set of this task.

        Args:
            folder: where it lies.
            split: which part of it, ``"val"`` by default.
            annotations: a file of annotations that does not lie where the data set has it.

        Raises:
            zoo_core.data.DataError: it has no layout that is known, or is at fault; the message names files and lines.
            ValueError: the task reads no data sets, or takes no ``annotations``.
        """
        raise ValueError(f"models of the task {self.spec.task} are evaluated on no data sets")

    def labels_in(self, folder: Path, split: str | None = None) -> tuple[str, ...] | None:
        """The names of the classes that a data set has itself, in the order in which a model for it has them.

        Args:
            folder, split: see :meth:`samples`.

        Returns:
            The names; ``None`` where it has numbers, or no classes.

        Raises:
            zoo_core.data.DataError: the data set cannot be used.
        """
        return None

    @classmethod
    def trained_from(cls, spec: ModelSpec) -> ModelSpec:
        """The model with whose parameters training begins, for the one that the user names: the same, as a rule.

        Raises:
            ValueError: training cannot begin with those parameters.
        """
        return spec

    def training(self, recipe: "Recipe") -> "Training":
        """What training of this task takes: augmentation, batches, the loss; see :mod:`zoo_core.training.contract`.

        Raises:
            ValueError: models of the task cannot be trained, or the recipe is not one for them.
        """
        raise ValueError(f"`zoo train` does not train models of the task {self.spec.task} yet")


def example_images(preset: Any, *shape: int, seed: int = 0) -> Tensor:
    """Images with edges and surfaces of all sizes, each level one of 256, normalised as a preset does.

    Args:
        preset: gives channels, mean and std.
        *shape: N, H, W, or N, T, H, W for clips.
        seed: of the images.

    Returns:
        float32 Tensor[N, C, H, W] or Tensor[N, C, T, H, W].
    """
    mean, std = getattr(preset, "mean", [0.0] * 3), getattr(preset, "std", [1.0] * 3)
    count, *frames, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(count * math.prod(frames), len(mean), height, width)
    for cells, strength in ((3, 0.3), (9, 0.25), (27, 0.2), (81, 0.15)):
        coarse = torch.rand(count, len(mean), cells, cells, generator=generator) - 0.5
        coarse = coarse.repeat_interleave(math.prod(frames), 0)
        images += strength * F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    levels = ((images + 0.5).clamp(0, 1) * 255).round()
    statistics = torch.tensor((mean, std))[..., None, None]
    values = (levels / 255 - statistics[0]) / statistics[1]
    if not frames:
        return values
    # Frames of a clip move to the right.
    clips = values.unflatten(0, (count, *frames)).transpose(1, 2)
    return torch.stack([clips[:, :, t].roll(3 * t, -1) for t in range(frames[0])], 2)


def _of_one_shape(samples: Sequence[Sample]) -> Iterator[list[int]]:
    """Positions of the samples that can be stacked."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, sample in enumerate(samples):
        key = tuple((tensor.shape, tensor.dtype) for tensor in sample)
        groups.setdefault(key, []).append(position)
    yield from groups.values()


def _item(output: Any, place: int) -> Any:
    """What belongs to one place of a batch."""
    if isinstance(output, Mapping):
        return {key: _item(value, place) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return [_item(value, place) for value in output]
    return output[place]


def task_class(name: str) -> type[Task[Any, Any]]:
    """The class of a task that an installed package has.

    Raises:
        ValueError: no installed package has that task, or what it names is no task.
    """
    declared = declaration(name)
    module, _, attribute = declared.adapter.partition(":")
    loaded: Any = importlib.import_module(module.strip())
    for part in attribute.split("[")[0].strip().split("."):
        loaded = getattr(loaded, part, None)
    if not (isinstance(loaded, type) and issubclass(loaded, Task)):
        raise ValueError(
            f"the entry point {name} = {declared.adapter!r} in the group {ENTRY_POINT_GROUP} must name a subclass of "
            f"zoo_core.tasks.Task, not {loaded!r}"
        )
    return loaded
