"""Random crops: of any size to one size, of one size, around objects, and the reverse, a larger canvas."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms import geometry
from zoo_core.training.transforms.geometry import Fill
from zoo_core.training.transforms.sample import Sample, Transform, checked_probability, checked_range

__all__ = [
    "FixedSizeCrop",
    "IoUCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "ResizedWindow",
    "Sanitize",
    "Window",
    "ZoomOut",
]


class Window(NamedTuple):
    """A rectangle of whole pixels, which may reach over the edges of the image."""

    top: int
    left: int
    height: int
    width: int


class ResizedWindow(NamedTuple):
    """Height and width that an image is resized to, and a window of the result."""

    size: tuple[int, int]
    window: Window


class RandomResizedCrop(Transform[Window]):
    """A window of random area, shape and place, resized to one size, as for `Inception <https://arxiv.org/abs/1409.4842>`__.

    The area is uniform in ``scale``, the logarithm of the aspect ratio in that of ``ratio``. Where ten windows did not
    fit into the image, it is the largest central one whose ratio is allowed.

    Args:
        size: of the result: height and width, or one number for both.
        scale: area of the window as a share of the image's.
        ratio: width over height of the window.
        interpolation: how the image is resized.

    Raises:
        ValueError: a range is none.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ) -> None:
        self.size = checked_size(size)
        self.scale = checked_range("scale", scale, 0.0)
        self.ratio = checked_range("ratio", ratio, 1e-6)
        self.interpolation = geometry.resampling(interpolation)

    def draw(self, sample: Sample, rng: random.Random) -> Window:
        height, width = sample.size
        logarithms = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(*logarithms))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Window(rng.randint(0, height - h), rng.randint(0, width - w), h, w)
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w = min(width, max(round(height * ratio), 1))
        h = min(height, max(round(width / ratio), 1))
        return Window((height - h) // 2, (width - w) // 2, h, w)

    def apply(self, sample: Sample, parameters: Window) -> Sample:
        return geometry.resize(geometry.crop(sample, *parameters), *self.size, self.interpolation)


class RandomCrop(Transform[Window]):
    """A window of one size at a random place; a smaller image is padded, and lies at a random place in the window.

    Args:
        size: height and width of the result, or one number for both.
        fill: level of the padding in 0..255, one for all channels or one each. Labels there are 255, which is ignored.
        padding: pixels that the image is padded with on all sides before.
    """

    def __init__(self, size: int | Sequence[int], fill: Fill = 0, padding: int = 0) -> None:
        self.size = checked_size(size)
        self.fill = fill
        self.padding = padding

    def draw(self, sample: Sample, rng: random.Random) -> Window:
        return self.window(sample.size, rng)

    def window(self, size: tuple[int, int], rng: random.Random) -> Window:
        """A window of an image of that height and width."""
        places: list[int] = []
        for length, wanted in zip(size, self.size, strict=True):
            first, last = sorted((-self.padding, length + self.padding - wanted))
            places.append(rng.randint(first, last))
        return Window(places[0], places[1], *self.size)

    def apply(self, sample: Sample, parameters: Window) -> Sample:
        return geometry.crop(sample, *parameters, self.fill)


class FixedSizeCrop(Transform[Window]):
    """A window of one size at a random place; a smaller image is padded to the right and below.

    Behind :class:`ScaleJitter`, that is large scale jittering as for `Copy-Paste <https://arxiv.org/abs/2012.07177>`__.

    Args:
        size: height and width of the result, or one number for both.
        fill: level of the padding in 0..255, one for all channels or one each.
    """

    def __init__(self, size: int | Sequence[int], fill: Fill = 0) -> None:
        self.size = checked_size(size)
        self.fill = fill

    def draw(self, sample: Sample, rng: random.Random) -> Window:
        return self.window(sample.size, rng)

    def window(self, size: tuple[int, int], rng: random.Random) -> Window:
        """A window of an image of that height and width."""
        places = [rng.randint(0, max(length - wanted, 0)) for length, wanted in zip(size, self.size, strict=True)]
        return Window(places[0], places[1], *self.size)

    def apply(self, sample: Sample, parameters: Window) -> Sample:
        return geometry.crop(sample, *parameters, self.fill)


class IoUCrop(Transform[Window]):
    """A window that overlaps with an object by at least so much: the crop of `SSD <https://arxiv.org/abs/1512.02325>`__.

    One of the least overlaps is drawn; 1 stands for the whole image. Then windows are, until one has a centre of a box
    in it, and an overlap of at least that with one of those boxes. Where none of ``trials`` has, another least overlap
    is drawn. Instances whose centre is outside of the window go.

    Args:
        min_scale, max_scale: range of the window's height and width as shares of the image's.
        min_aspect_ratio, max_aspect_ratio: range of its width over its height.
        sampler_options: least overlaps (intersection over union) to choose from.
        trials: windows for each.

    Raises:
        ValueError: a range is none, or there are no options.
    """

    # How many least overlaps are drawn before the image stays as it is: options may all be impossible.
    _ROUNDS = 50

    def __init__(
        self,
        min_scale: float = 0.3,
        max_scale: float = 1.0,
        min_aspect_ratio: float = 0.5,
        max_aspect_ratio: float = 2.0,
        sampler_options: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
        trials: int = 40,
    ) -> None:
        self.scale = checked_range("min_scale and max_scale", (min_scale, max_scale), 0.0, 1.0)
        self.ratio = checked_range("min_aspect_ratio and max_aspect_ratio", (min_aspect_ratio, max_aspect_ratio))
        if not sampler_options:
            raise ValueError("sampler_options: expected at least one overlap")
        self.sampler_options = tuple(sampler_options)
        self.trials = trials

    def draw(self, sample: Sample, rng: random.Random) -> Window | None:
        if sample.boxes is None:
            raise ValueError("IoUCrop needs boxes, and this sample has none")
        if not len(sample.boxes):
            return None
        boxes = sample.boxes.tolist()
        for _ in range(self._ROUNDS):
            least = rng.choice(self.sampler_options)
            if least >= 1:
                return None
            for _ in range(self.trials):
                window = self._window(sample.size, rng)
                if window is not None and self._suits(window, boxes, least):
                    return window
        return None

    def _window(self, size: tuple[int, int], rng: random.Random) -> Window | None:
        height, width = size
        w, h = int(width * rng.uniform(*self.scale)), int(height * rng.uniform(*self.scale))
        if not (w and h and self.ratio[0] <= w / h <= self.ratio[1]):
            return None
        return Window(int((height - h) * rng.random()), int((width - w) * rng.random()), h, w)

    @staticmethod
    def _suits(window: Window, boxes: Sequence[Sequence[float]], least: float) -> bool:
        # A few boxes: plain numbers are quicker than tensors.
        top, left, height, width = window
        bottom, right = top + height, left + width
        area = height * width
        found = False
        for x1, y1, x2, y2 in boxes:
            if left < (x1 + x2) / 2 < right and top < (y1 + y2) / 2 < bottom:
                common = (min(x2, right) - max(x1, left)) * (min(y2, bottom) - max(y1, top))
                if common >= least * ((x2 - x1) * (y2 - y1) + area - common):
                    return True
                found = True
        return found and least <= 0

    def apply(self, sample: Sample, parameters: Window) -> Sample:
        assert sample.boxes is not None
        top, left, height, width = parameters
        centers = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
        low, high = centers.new_tensor([left, top]), centers.new_tensor([left + width, top + height])
        inside = ((centers > low) & (centers < high)).all(1)
        return geometry.crop(sample.keep(inside), *parameters)


class ZoomOut(Transform[Window]):
    """A larger canvas with the image at a random place, so that objects are small: of `SSD
    <https://arxiv.org/abs/1512.02325>`__.

    Args:
        fill: level of the canvas in 0..255, one for all channels or one each.
        side_range: height and width of the canvas as multiples of the image's.
        p: probability in [0, 1].

    Raises:
        ValueError: the canvas would be smaller than the image.
    """

    def __init__(self, fill: Fill = 0, side_range: Sequence[float] = (1.0, 4.0), p: float = 0.5) -> None:
        self.fill = fill
        self.side_range = checked_range("side_range", side_range, 1.0)
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> Window | None:
        if rng.random() >= self.p:
            return None
        height, width = sample.size
        side = rng.uniform(*self.side_range)
        h, w = int(height * side), int(width * side)
        return Window(-int((h - height) * rng.random()), -int((w - width) * rng.random()), h, w)

    def apply(self, sample: Sample, parameters: Window) -> Sample:
        return geometry.crop(sample, *parameters, self.fill)


class Sanitize(Transform[tuple[()]]):
    """Boxes clipped to the image; instances that are not to be seen in it go. Nothing is random here.

    Crops do so anyway, with a ``min_size`` of one pixel; this is for what a data set has, or what resizing made small.

    Args:
        min_size: instances go whose clipped box is narrower or lower than this, in pixels.
    """

    def __init__(self, min_size: float = 1.0) -> None:
        self.min_size = min_size

    def draw(self, sample: Sample, rng: random.Random) -> tuple[()]:
        return ()

    def apply(self, sample: Sample, parameters: tuple[()] = ()) -> Sample:
        return geometry.clean(sample, self.min_size)


def checked_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, of two numbers or one for both.

    Raises:
        ValueError: they are not positive, or there are others.
    """
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    if (not isinstance(size, int) and len(size) not in (1, 2)) or height < 1 or width < 1:
        raise ValueError(f"size must be a positive number, or height and width, got {size}")
    return int(height), int(width)
