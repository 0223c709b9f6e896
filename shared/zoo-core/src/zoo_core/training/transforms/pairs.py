"""Pairs of images with the flow between them: colours that may differ, what is covered in the second, random sizes.

As for `RAFT <https://arxiv.org/abs/2003.12039>`__. Flips are those of all samples; a flow's sign follows them.
"""

import random
from collections.abc import Sequence

from PIL import Image, ImageStat

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms import geometry
from zoo_core.training.transforms.color import Adjustments, ColorJitter, adjusted
from zoo_core.training.transforms.crops import ResizedWindow, Window, checked_size
from zoo_core.training.transforms.sample import Sample, Transform, checked_probability, checked_range

__all__ = ["AsymmetricColorJitter", "EraseSecond", "FlowResizeCrop"]


class AsymmetricColorJitter(Transform[tuple[Adjustments, Adjustments]]):
    """Colours of both images by the same factors, or of each by its own.

    Args:
        brightness, contrast, saturation, hue: see :class:`ColorJitter`.
        p: probability in [0, 1] that each has its own.

    Raises:
        ValueError: a range is none, or ``p`` no probability.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
        p: float = 0.2,
    ) -> None:
        self.jitter = ColorJitter(brightness, contrast, saturation, hue)
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Adjustments, Adjustments]:
        first = self.jitter.draw_adjustments(rng)
        return first, self.jitter.draw_adjustments(rng) if rng.random() < self.p else first

    def apply(self, sample: Sample, parameters: tuple[Adjustments, Adjustments]) -> Sample:
        first, second = parameters
        if sample.second is None:
            raise ValueError("AsymmetricColorJitter takes pairs of images, and this sample has one")
        return sample.replace(image=adjusted(sample.image, first), second=adjusted(sample.second, second))


class EraseSecond(Transform[tuple[Window, ...]]):
    """Rectangles of the second image covered with its mean colour, as if something had come in between.

    Args:
        p: probability in [0, 1].
        size: range of their height and width in pixels; they are cut off at the edges.
        most: the largest number of them; at least one.

    Raises:
        ValueError: a range is none, or ``p`` no probability.
    """

    def __init__(self, p: float = 0.5, size: Sequence[int] = (50, 100), most: int = 2) -> None:
        self.p = checked_probability(p)
        low, high = checked_range("size", size, 1)
        self.size = int(low), int(high)
        if most < 1:
            raise ValueError(f"most must be positive, got {most}")
        self.most = most

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Window, ...] | None:
        if rng.random() >= self.p:
            return None
        height, width = sample.size
        return tuple(
            Window(rng.randrange(height), rng.randrange(width), rng.randint(*self.size), rng.randint(*self.size))
            for _ in range(rng.randint(1, self.most))
        )

    def apply(self, sample: Sample, parameters: tuple[Window, ...]) -> Sample:
        if not isinstance(sample.second, Image.Image):
            raise ValueError("EraseSecond takes pairs of PIL images, and this sample is none")
        mean = tuple(round(level) for level in ImageStat.Stat(sample.second).mean)
        second = sample.second.copy()
        for top, left, height, width in parameters:
            second.paste(mean if len(mean) > 1 else mean[0], (left, top, left + width, top + height))
        return sample.replace(second=second)


class FlowResizeCrop(Transform[ResizedWindow]):
    """Both images and their flow at a random scale, perhaps stretched, and a window of one size.

    The image never gets smaller than the window. Displacements are scaled along. A flow with gaps (NaN), as KITTI's,
    keeps its known values: each goes to the pixel that its own becomes.

    Args:
        crop_size: height and width of the result, or one number for both.
        min_scale, max_scale: range of the scale's logarithm to base 2.
        stretch_prob: probability in [0, 1] that height and width get another factor each.
        max_stretch: range of that factor's logarithm to base 2, both ways.
        resize_prob: probability in [0, 1] of another scale than 1.
        interpolation: how the images are resized.

    Raises:
        ValueError: a range is none, or a probability is outside of [0, 1].
    """

    def __init__(
        self,
        crop_size: int | Sequence[int],
        min_scale: float = -0.2,
        max_scale: float = 0.5,
        stretch_prob: float = 0.8,
        max_stretch: float = 0.2,
        resize_prob: float = 0.8,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        self.crop_size = checked_size(crop_size)
        self.scale = checked_range("min_scale and max_scale", (min_scale, max_scale), -float("inf"))
        self.stretch_prob = checked_probability(stretch_prob)
        self.max_stretch = max_stretch
        self.resize_prob = checked_probability(resize_prob)
        self.interpolation = geometry.resampling(interpolation)

    def draw(self, sample: Sample, rng: random.Random) -> ResizedWindow:
        scales = [1.0, 1.0]
        if rng.random() < self.resize_prob:
            scales = [2 ** rng.uniform(*self.scale)] * 2
            if rng.random() < self.stretch_prob:
                scales = [scale * 2 ** rng.uniform(-self.max_stretch, self.max_stretch) for scale in scales]
        size = [
            max(round(length * scale), wanted)
            for length, scale, wanted in zip(sample.size, scales, self.crop_size, strict=True)
        ]
        places = [rng.randint(0, length - wanted) for length, wanted in zip(size, self.crop_size, strict=True)]
        return ResizedWindow((size[0], size[1]), Window(places[0], places[1], *self.crop_size))

    def apply(self, sample: Sample, parameters: ResizedWindow) -> Sample:
        return geometry.resize_and_crop(sample, *parameters, self.interpolation)
