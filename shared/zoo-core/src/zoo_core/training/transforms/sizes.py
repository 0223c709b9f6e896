"""Random sizes: of the shorter side, or of the whole."""

import random
from collections.abc import Sequence

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms import geometry
from zoo_core.training.transforms.crops import FixedSizeCrop, RandomCrop, ResizedWindow, checked_size
from zoo_core.training.transforms.geometry import Fill
from zoo_core.training.transforms.sample import Sample, Transform, checked_range

__all__ = [
    "LargeScaleJitter",
    "RandomResize",
    "RandomResizeAndCrop",
    "RandomShortestSize",
    "Resize",
    "ScaleJitter",
]

Size = tuple[int, int]


class _Resizing(Transform[Size]):
    """Draws height and width."""

    def __init__(self, interpolation: InterpolationMode | str) -> None:
        self.interpolation = geometry.resampling(interpolation)

    def apply(self, sample: Sample, parameters: Size) -> Sample:
        return geometry.resize(sample, *parameters, self.interpolation)


class Resize(_Resizing):
    """One size. Nothing is random here.

    Args:
        size: of the shorter side, whereby the aspect ratio is kept; or height and width.
        interpolation: how the image is resized.
        max_size: the longer side becomes no longer than this, and the shorter one then shorter than ``size``.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        max_size: int | None = None,
    ) -> None:
        super().__init__(interpolation)
        self.size = size if isinstance(size, int) else checked_size(size)
        self.max_size = max_size

    def draw(self, sample: Sample, rng: random.Random) -> Size:
        return short_side(sample.size, self.size, self.max_size) if isinstance(self.size, int) else self.size


class RandomResize(_Resizing):
    """A shorter side of random length; the aspect ratio is kept.

    Args:
        min_size, max_size: range of the length, both included.
        interpolation: how the image is resized.

    Raises:
        ValueError: the range is none.
    """

    def __init__(
        self, min_size: int, max_size: int, interpolation: InterpolationMode | str = InterpolationMode.BILINEAR
    ) -> None:
        super().__init__(interpolation)
        checked_range("min_size and max_size", (min_size, max_size), 1)
        self.min_size, self.max_size = min_size, max_size

    def draw(self, sample: Sample, rng: random.Random) -> Size:
        return short_side(sample.size, rng.randint(self.min_size, self.max_size), None)


class RandomShortestSize(_Resizing):
    """A shorter side of one of several lengths, as far as the longer side permits; the aspect ratio is kept.

    Args:
        min_size: the lengths, or one.
        max_size: the longest that the longer side becomes.
        interpolation: how the image is resized.
    """

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int | None = None,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__(interpolation)
        self.min_size = (min_size,) if isinstance(min_size, int) else tuple(min_size)
        self.max_size = max_size

    def draw(self, sample: Sample, rng: random.Random) -> Size:
        height, width = sample.size
        scale = rng.choice(self.min_size) / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return scaled(sample.size, scale)


class ScaleJitter(_Resizing):
    """The size that just fits into another, times a random factor.

    With :class:`FixedSizeCrop` behind it, that is large scale jittering, as for `Copy-Paste
    <https://arxiv.org/abs/2012.07177>`__.

    Args:
        target_size: height and width that the image would fit into at a factor of 1, or one number for both.
        scale_range: range of the factor.
        interpolation: how the image is resized.

    Raises:
        ValueError: the range is none.
    """

    def __init__(
        self,
        target_size: int | Sequence[int],
        scale_range: Sequence[float] = (0.1, 2.0),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__(interpolation)
        self.target_size = checked_size(target_size)
        self.scale_range = checked_range("scale_range", scale_range, 1e-6)

    def draw(self, sample: Sample, rng: random.Random) -> Size:
        fitting = min(wanted / length for wanted, length in zip(self.target_size, sample.size, strict=True))
        return scaled(sample.size, fitting * rng.uniform(*self.scale_range))


class _ResizedCrop(Transform[ResizedWindow]):
    """Draws a size, and then a window of the resized image; the two are done at once."""

    def __init__(self, size: _Resizing, crop: RandomCrop | FixedSizeCrop) -> None:
        self.resize = size
        self.crop = crop

    def draw(self, sample: Sample, rng: random.Random) -> ResizedWindow:
        size = self.resize.draw(sample, rng)
        assert size is not None
        return ResizedWindow(size, self.crop.window(size, rng))

    def apply(self, sample: Sample, parameters: ResizedWindow) -> Sample:
        return geometry.resize_and_crop(sample, *parameters, self.resize.interpolation, self.crop.fill)


class LargeScaleJitter(_ResizedCrop):
    """:class:`ScaleJitter` and :class:`FixedSizeCrop` in one step, of which only what is shown is computed.

    Args:
        size: height and width of the result, or one number for both.
        scale_range: range of the factor, see :class:`ScaleJitter`.
        fill: level of the padding in 0..255, one for all channels or one each.
        interpolation: how the image is resized.

    Raises:
        ValueError: the range is none.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale_range: Sequence[float] = (0.1, 2.0),
        fill: Fill = 0,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__(ScaleJitter(size, scale_range, interpolation), FixedSizeCrop(size, fill))


class RandomResizeAndCrop(_ResizedCrop):
    """:class:`RandomResize` and :class:`RandomCrop` in one step, of which only what is shown is computed.

    Args:
        min_size, max_size: range of the shorter side's length, both included.
        crop_size: height and width of the result, or one number for both.
        fill: level of the padding in 0..255, one for all channels or one each. Labels there are 255, which is ignored.
        interpolation: how the image is resized.

    Raises:
        ValueError: the range is none.
    """

    def __init__(
        self,
        min_size: int,
        max_size: int,
        crop_size: int | Sequence[int],
        fill: Fill = 0,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__(RandomResize(min_size, max_size, interpolation), RandomCrop(crop_size, fill))


def short_side(size: Size, length: int, longest: int | None) -> Size:
    """Height and width for a length of the shorter side; a longer side of no more than ``longest``."""
    short, long = sorted(size)
    new_short, new_long = length, int(length * long / short)
    if longest is not None and new_long > longest:
        new_short, new_long = int(longest * new_short / new_long), longest
    new_short, new_long = max(new_short, 1), max(new_long, 1)
    return (new_short, new_long) if size[0] <= size[1] else (new_long, new_short)


def scaled(size: Size, scale: float) -> Size:
    """Height and width times a factor, in whole pixels, at least one."""
    return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)
