"""What a transform takes and gives: an image with all that is true of it; and transforms put together."""

import dataclasses
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from zoo_core.images import convert_mode
from zoo_core.images.bands import BandImage

__all__ = ["Compose", "Picture", "RandomApply", "RandomChoice", "Sample", "Transform"]

Picture = Image.Image | Tensor
P = TypeVar("P")

_INSTANCE_FIELDS = ("boxes", "labels", "masks", "keypoints", "crowd")


@dataclass(frozen=True)
class Sample:
    """An image, a pair of images or a clip, with its truth. All that has a place in the image moves along with it.

    Samples are values: a transform returns another one, and leaves what it was given as it is.

    Args:
        image: a PIL image in RGB or grey (one of another mode is converted to RGB), or a clip, uint8
            Tensor[T, C, H, W] in 0..255. Behind :class:`ToTensor` floating: Tensor[C, H, W] or Tensor[C, T, H, W].
        second: the image that ``flow`` leads to, of the same size.
        label: the class of the whole, or whatever else does not depend on places. No transform looks at it.
        boxes: float32 Tensor[N, 4], ``x1, y1, x2, y2`` in pixels, of the N instances in the image.
        labels: int64 Tensor[N], their classes.
        masks: uint8 or bool Tensor[N, H, W], not 0 where an instance is.
        keypoints: float32 Tensor[N, K, 3], column and row of the pixel from 0 on, and visibility: 2, or 1 where a point
            is covered, or 0 where it is not known.
        crowd: bool Tensor[N], whether a box holds many instances.
        label_map: Tensor[H, W] of integers, the class of each pixel; 255 where none counts.
        flow: float32 Tensor[2, H, W], displacement of each pixel along x and y, in pixels; NaN where it is not known.

    Raises:
        TypeError: ``image`` is neither a PIL image nor a tensor.
        ValueError: the image has no pixels, or its levels are floating-point ones, or the truth is of another size or
            for another number of instances.
    """

    image: Picture
    second: Picture | None = None
    label: Any = None
    boxes: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    crowd: Tensor | None = None
    label_map: Tensor | None = None
    flow: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("image", "second"):
            picture = getattr(self, name)
            if isinstance(picture, Image.Image):
                if picture.mode not in ("RGB", "L"):
                    object.__setattr__(self, name, convert_mode(picture, "RGB"))
            elif isinstance(picture, BandImage):
                object.__setattr__(self, name, picture.pixels)
            elif not (isinstance(picture, Tensor) or (picture is None and name == "second")):
                raise TypeError(f"{name}: expected a PIL image or a tensor, got {type(picture).__name__}")
        height, width = self.size
        if not (height and width):
            raise ValueError(f"the image is empty: {width} x {height} pixels")
        for name in ("masks", "label_map", "flow"):
            value = getattr(self, name)
            if value is not None and value.shape[-2:] != (height, width):
                found = f"{value.shape[-1]} x {value.shape[-2]}"
                raise ValueError(f"{name}: of {found} pixels, but the image has {width} x {height}")
        if self.second is not None and _size(self.second) != (height, width):
            raise ValueError(f"the two images must have one size, got {(height, width)} and {_size(self.second)}")
        counts = {name: len(value) for name in _INSTANCE_FIELDS if (value := getattr(self, name)) is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(f"truths for different numbers of instances: {counts}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return _size(self.image)

    @property
    def has_places(self) -> bool:
        """Whether something of the truth has a place in the image."""
        return any(value is not None for value in (self.boxes, self.label_map, self.flow, self.masks, self.keypoints))

    def replace(self, **changes: Any) -> "Sample":
        """The sample with other values of some fields."""
        return dataclasses.replace(self, **changes)

    def with_images(self, function: Callable[[Any], Picture]) -> "Sample":
        """The sample with what a function makes of its image, and of the second one."""
        if self.second is None:
            return dataclasses.replace(self, image=function(self.image))
        return dataclasses.replace(self, image=function(self.image), second=function(self.second))

    def keep(self, which: Tensor) -> "Sample":
        """The sample with some of its instances.

        Args:
            which: bool Tensor[N], or int64 Tensor[M] of their numbers.
        """
        if which.dtype == torch.bool and bool(which.all()):
            return self
        values = {name: value[which] for name in _INSTANCE_FIELDS if (value := getattr(self, name)) is not None}
        return dataclasses.replace(self, **values)


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, Tensor):
        return picture.shape[-2], picture.shape[-1]
    return picture.height, picture.width


class Transform(ABC, Generic[P]):
    """A change of a sample in two steps: parameters are drawn, then applied.

    ``draw`` alone is random, and only by the generator that it is given: with one that is seeded for the sample, as
    :func:`zoo_core.training.randomness.generator` makes it, augmentation depends neither on workers and processes nor
    on where a run was interrupted. ``apply`` is a function of its arguments.

    Instances hold what the user chose and nothing else, so that workers and threads may share one.
    """

    @abstractmethod
    def draw(self, sample: Sample, rng: random.Random) -> P | None:
        """What is to be done with a sample; ``None`` for nothing."""

    @abstractmethod
    def apply(self, sample: Sample, parameters: P) -> Sample:
        """The sample with that done."""

    def __call__(self, sample: Sample, rng: random.Random) -> Sample:
        """Draws and applies."""
        parameters = self.draw(sample, rng)
        return sample if parameters is None else self.apply(sample, parameters)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({values})"


class Compose:
    """Several transforms, one after the other.

    Args:
        transforms: each is called with what the one before made, and with the same generator.
    """

    def __init__(self, transforms: Sequence[Callable[[Sample, random.Random], Sample]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample, rng: random.Random) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample

    def __repr__(self) -> str:
        return "\n".join(["Compose(", *(f"    {transform!r}," for transform in self.transforms), ")"])


class RandomApply:
    """A transform with a probability.

    Args:
        transform: what is done.
        p: probability in [0, 1] of doing it.
    """

    def __init__(self, transform: Callable[[Sample, random.Random], Sample], p: float = 0.5) -> None:
        self.transform = transform
        self.p = checked_probability(p)

    def __call__(self, sample: Sample, rng: random.Random) -> Sample:
        return self.transform(sample, rng) if rng.random() < self.p else sample

    def __repr__(self) -> str:
        return f"RandomApply({self.transform!r}, p={self.p})"


class RandomChoice:
    """One of several transforms.

    Args:
        transforms: of which one is taken.
        weights: how often each is, relative to the others; by default equally.
    """

    def __init__(
        self, transforms: Sequence[Callable[[Sample, random.Random], Sample]], weights: Sequence[float] | None = None
    ) -> None:
        if not transforms or (weights is not None and len(weights) != len(transforms)):
            raise ValueError(f"expected transforms, and a weight for each, got {len(transforms)} and {weights}")
        self.transforms = tuple(transforms)
        self.weights = weights

    def __call__(self, sample: Sample, rng: random.Random) -> Sample:
        return rng.choices(self.transforms, self.weights)[0](sample, rng)

    def __repr__(self) -> str:
        return f"RandomChoice({list(self.transforms)!r}, weights={self.weights})"


def checked_probability(p: float) -> float:
    """The number, if it is a probability.

    Raises:
        ValueError: it is outside of [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a probability in [0, 1], got {p}")
    return float(p)


def checked_range(
    name: str, values: Sequence[float], low: float = 0.0, high: float = float("inf")
) -> tuple[float, float]:
    """The two numbers, if they are a range within bounds.

    Raises:
        ValueError: they are not; the message names the argument.
    """
    if len(values) != 2 or not low <= values[0] <= values[1] <= high:
        raise ValueError(f"{name} must be two numbers in ascending order, in [{low:g}, {high:g}], got {values}")
    return float(values[0]), float(values[1])
