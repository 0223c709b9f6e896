"""Colours of an image changed by Pillow: functions of a factor, and the transforms that draw it.

Levels are those that Pillow's own ``ImageEnhance`` and ``ImageOps`` give, though often by a shorter way: what depends
on a pixel's own level alone is looked up in a table. Frames of a clip are changed one by one in the same way.
"""

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image, ImageChops, ImageEnhance
from torch import Tensor

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms.sample import Picture, Sample, Transform, checked_probability, checked_range

__all__ = [
    "ADJUSTMENTS",
    "ColorJitter",
    "PhotometricDistort",
    "RandomGrayscale",
    "RandomPosterize",
    "RandomSolarize",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "autocontrast",
    "equalize",
    "grayscale",
    "invert",
    "on_frames",
    "permute_channels",
    "posterize",
    "solarize",
]

_LEVELS = torch.arange(256, dtype=torch.float32)


def on_frames(image: Picture, function: Callable[[Image.Image], Image.Image]) -> Picture:
    """A PIL image, or every frame of a clip, through a function of PIL images.

    Args:
        image: a PIL image, or uint8 Tensor[..., C, H, W] with one or three channels.
        function: gives an image of the same mode and size.
    """
    if not isinstance(image, Tensor):
        return function(image)
    frames = [pil_to_tensor(function(to_pil_image(frame))) for frame in image.reshape(-1, *image.shape[-3:])]
    return torch.stack(frames).reshape(image.shape)


# Functions of a PIL image --------------------------------------------------------------------------------------------


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Every level times a factor: 0 gives black, 1 the image, 2 twice the brightness."""
    return image.point(_blended(0, factor) * len(image.getbands()))


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Distance of every level from the mean of the image's brightness times a factor: 0 gives one grey, 1 the image."""
    counts = (image if image.mode == "L" else image.convert("L")).histogram()
    mean = int(sum(level * count for level, count in enumerate(counts)) / (image.width * image.height) + 0.5)
    return image.point(_blended(mean, factor) * len(image.getbands()))


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Distance of every pixel from its grey times a factor: 0 gives grey, 1 the image. A grey image stays as it is."""
    if image.mode == "L":
        return image
    return Image.blend(grayscale(image), image, factor)


def adjust_hue(image: Image.Image, shift: float) -> Image.Image:
    """Hues turned by a share of the circle, in [-0.5, 0.5]. A grey image stays as it is."""
    if image.mode == "L":
        return image
    steps = int(shift * 255)  # of 256
    same = list(range(256))
    table = [(hue + steps) % 256 for hue in same] + same + same
    return image.convert("HSV").point(table).convert("RGB")


def adjust_sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Distance of every level from the smoothed image times a factor: 0 gives the smoothed image, 1 the image."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Levels of so many bits, 0 to 8; the lower bits are cleared."""
    return image.point(_posterized(bits) * len(image.getbands()))


@functools.lru_cache(maxsize=9)
def _posterized(bits: int) -> tuple[int, ...]:
    mask = 0xFF & ~(2 ** (8 - bits) - 1)
    return tuple(level & mask for level in range(256))


def solarize(image: Image.Image, threshold: float) -> Image.Image:
    """Levels from a threshold on inverted."""
    table = [level if level < threshold else 255 - level for level in range(256)]
    return image.point(table * len(image.getbands()))


def invert(image: Image.Image) -> Image.Image:
    """Every level subtracted from 255."""
    return ImageChops.invert(image)


def autocontrast(image: Image.Image) -> Image.Image:
    """Each channel stretched so that its lowest level is 0 and its highest 255."""
    extrema: Any = image.getextrema()
    table: list[int] = []
    for low, high in (extrema,) if image.mode == "L" else extrema:
        table += _stretched(low, high)
    return image.point(table)


@functools.lru_cache(maxsize=256)
def _stretched(low: int, high: int) -> tuple[int, ...]:
    """The levels from ``low`` to ``high`` as they are from 0 to 255."""
    if high <= low:
        return tuple(range(256))
    scale = 255.0 / (high - low)
    offset = -low * scale
    return (*[0] * low, *[int(level * scale + offset) for level in range(low, high + 1)], *[255] * (255 - high))


def equalize(image: Image.Image) -> Image.Image:
    """Each channel's levels spread so that they are about equally frequent."""
    counts = image.histogram()
    table: list[int] = []
    for first in range(0, len(counts), 256):
        band = counts[first : first + 256]
        taken = [count for count in band if count]
        step = (sum(taken) - taken[-1]) // 255
        if step:
            table += [count // step for count in itertools.accumulate(band[:-1], initial=step // 2)]
        else:
            table += range(256)
    return image.point(table)


def grayscale(image: Image.Image) -> Image.Image:
    """The brightness of every pixel in all channels."""
    if image.mode == "L":
        return image
    grey = image.convert("L")
    return Image.merge("RGB", (grey, grey, grey))


def permute_channels(image: Image.Image, order: Sequence[int]) -> Image.Image:
    """The channels in another order. A grey image stays as it is."""
    if image.mode == "L":
        return image
    bands = image.split()
    return Image.merge(image.mode, [bands[place] for place in order])


def _blended(level: int, factor: float) -> list[int]:
    """``level + factor * (v - level)`` for all levels ``v``, in single precision and cut off, as Pillow blends."""
    table: list[int] = ((_LEVELS - level) * factor + level).clamp_(0, 255).to(torch.uint8).tolist()
    return table


ADJUSTMENTS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}

# Transforms ----------------------------------------------------------------------------------------------------------

Adjustments = tuple[tuple[str, float], ...]


def adjusted(image: Picture, adjustments: Adjustments) -> Picture:
    """An image or clip after adjustments, named as in ``ADJUSTMENTS``, in their order."""
    return on_frames(image, lambda frame: _adjusted(frame, adjustments))


def _adjusted(frame: Image.Image, adjustments: Adjustments) -> Image.Image:
    for name, factor in adjustments:
        frame = ADJUSTMENTS[name](frame, factor)
    return frame


class ColorJitter(Transform[Adjustments]):
    """Brightness, contrast, saturation and hue by random factors, in random order.

    Args:
        brightness, contrast, saturation: a number ``x`` for factors in ``[max(0, 1 - x), 1 + x]``, or the range itself.
        hue: a number ``x`` in [0, 0.5] for shifts in ``[-x, x]``, or the range itself.

    Raises:
        ValueError: a number is negative, or a range is none.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
    ) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)
        self.hue = checked_range("hue", hue if isinstance(hue, Sequence) else (-hue, hue), -0.5, 0.5)

    def draw(self, sample: Sample, rng: random.Random) -> Adjustments | None:
        return self.draw_adjustments(rng) or None

    def draw_adjustments(self, rng: random.Random) -> Adjustments:
        """Names and factors in the order in which they are to be applied."""
        ranges = (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.0))
        drawn = [
            (name, rng.uniform(*bounds)) for name, same in ranges if (bounds := getattr(self, name)) != (same, same)
        ]
        rng.shuffle(drawn)
        return tuple(drawn)

    def apply(self, sample: Sample, parameters: Adjustments) -> Sample:
        return sample.with_images(lambda image: adjusted(image, parameters))


def _factors(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return checked_range(name, value)
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return max(0.0, 1.0 - value), 1.0 + value


class PhotometricDistort(Transform[tuple[Adjustments, tuple[int, ...]]]):
    """The distortion of colours of `SSD <https://arxiv.org/abs/1512.02325>`__.

    Brightness, contrast, saturation and hue, each with a probability; contrast before saturation and hue, or behind
    them. Then, with the same probability, the channels in another order.

    Args:
        brightness, contrast, saturation: ranges of the factors.
        hue: range of the shift.
        p: probability in [0, 1] of each.

    Raises:
        ValueError: a range is none, or ``p`` no probability.
    """

    def __init__(
        self,
        brightness: Sequence[float] = (0.875, 1.125),
        contrast: Sequence[float] = (0.5, 1.5),
        saturation: Sequence[float] = (0.5, 1.5),
        hue: Sequence[float] = (-0.05, 0.05),
        p: float = 0.5,
    ) -> None:
        self.brightness = checked_range("brightness", brightness)
        self.contrast = checked_range("contrast", contrast)
        self.saturation = checked_range("saturation", saturation)
        self.hue = checked_range("hue", hue, -0.5, 0.5)
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Adjustments, tuple[int, ...]] | None:
        contrast_first = rng.random() < 0.5
        names = ["brightness", "saturation", "hue"]
        names.insert(1 if contrast_first else 3, "contrast")
        drawn = tuple((name, rng.uniform(*getattr(self, name))) for name in names if rng.random() < self.p)
        order = tuple(rng.sample(range(3), 3)) if rng.random() < self.p else ()
        return (drawn, order) if drawn or order else None

    def apply(self, sample: Sample, parameters: tuple[Adjustments, tuple[int, ...]]) -> Sample:
        adjustments, order = parameters

        def distorted(frame: Image.Image) -> Image.Image:
            frame = _adjusted(frame, adjustments)
            return permute_channels(frame, order) if order else frame

        return sample.with_images(lambda image: on_frames(image, distorted))


class RandomGrayscale(Transform[tuple[()]]):
    """Grey in all channels, with a probability.

    Args:
        p: probability in [0, 1].
    """

    def __init__(self, p: float = 0.1) -> None:
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[()] | None:
        return () if rng.random() < self.p else None

    def apply(self, sample: Sample, parameters: tuple[()] = ()) -> Sample:
        return sample.with_images(lambda image: on_frames(image, grayscale))


class RandomSolarize(Transform[float]):
    """Levels from a threshold on inverted, with a probability.

    Args:
        threshold: in 0..255.
        p: probability in [0, 1].
    """

    def __init__(self, threshold: float = 128, p: float = 0.5) -> None:
        self.threshold = threshold
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> float | None:
        return self.threshold if rng.random() < self.p else None

    def apply(self, sample: Sample, parameters: float) -> Sample:
        return sample.with_images(lambda image: on_frames(image, lambda frame: solarize(frame, parameters)))


class RandomPosterize(Transform[int]):
    """Levels of fewer bits, with a probability.

    Args:
        bits: how many of the eight are kept.
        p: probability in [0, 1].

    Raises:
        ValueError: ``bits`` is not in 0..8.
    """

    def __init__(self, bits: int, p: float = 0.5) -> None:
        if not 0 <= bits <= 8:
            raise ValueError(f"bits must lie in 0..8, got {bits}")
        self.bits = bits
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> int | None:
        return self.bits if rng.random() < self.p else None

    def apply(self, sample: Sample, parameters: int) -> Sample:
        return sample.with_images(lambda image: on_frames(image, lambda frame: posterize(frame, parameters)))
