"""Garments of Fashion-MNIST, cut out of their images of 28 x 28 pixels and coloured."""

import colorsys
import functools
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps, ImageStat

from tools import fashion_mnist
from zoo_core.images import pil_to_tensor, to_pil_image

SIDE = 28
# What can be seen through, such as a handle, belongs to the ground; in other garments a dark spot is a print.
_WITH_HOLES = frozenset({"sandal", "bag"})
_FAINTEST = 10


@dataclass(frozen=True)
class Garment:
    """A garment.

    Args:
        label: index in :data:`tools.fashion_mnist.CLASSES`.
        image: its brightness, of mode L, 28 x 28. The data set has it as a negative, as this has.
        shape: how much of each pixel is the garment, from 0 to 255, likewise.
    """

    label: int
    image: Image.Image
    shape: Image.Image


@dataclass(frozen=True)
class Cloth:
    """How colourful garments are.

    Args:
        dark: the least brightness of their bright places, from 0 to 1.
        patterned: share of them with stripes, checks or dots.
    """

    dark: float
    patterned: float


# Hides seams and folds of half of the garments, which nothing but their outline tells apart then.
BOLD = Cloth(dark=0.35, patterned=0.5)
PLAIN = Cloth(dark=0.55, patterned=0.15)


class Wardrobe:
    """The garments of a split. Those that fill nearly all or nothing of their image are left out, as cut off or torn.

    Args:
        folder: where Fashion-MNIST lies.
        split: ``"train"``, or ``"val"`` for those that are held out.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._images, self._labels = fashion_mnist.load("train" if split == "train" else "t10k", folder)
        self._of_label = [torch.where(self._labels == label)[0] for label in range(len(fashion_mnist.CLASSES))]

    def draw(self, rng: random.Random, label: int | None = None) -> Garment:
        """A garment at random: of all classes alike, or of one."""
        while True:
            chosen = rng.randrange(len(self._of_label)) if label is None else label
            places = self._of_label[chosen]
            image = to_pil_image(self._images[int(places[rng.randrange(len(places))])][None])
            shape = _shape(image, fashion_mnist.CLASSES[chosen])
            if 0.08 < ImageStat.Stat(shape).mean[0] / 255 < 0.9:
                return Garment(chosen, image, shape)


@functools.lru_cache(maxsize=2)
def wardrobe(folder: Path, split: str) -> Wardrobe:
    """The garments of a split, read once a process."""
    return Wardrobe(folder, split)


def _shape(image: Image.Image, name: str) -> Image.Image:
    soft = image.point([min(255, max(0, (level - _FAINTEST) * 16)) for level in range(256)])
    if name in _WITH_HOLES:
        return soft
    # What cannot be reached from the border is inside.
    outside = ImageOps.expand(soft.point([255 if level >= 128 else 0 for level in range(256)]), 1, 0)
    ImageDraw.floodfill(outside, (0, 0), 128)
    inside = outside.point([255 if level != 128 else 0 for level in range(256)]).crop((1, 1, SIDE + 1, SIDE + 1))
    return ImageChops.lighter(soft, inside)


def dressed(garment: Garment, side: int, cloth: Cloth, rng: random.Random) -> Image.Image:
    """A garment in colour, of mode RGBA, upright, ``side`` pixels wide and high with its empty border.

    It gets one of many colours, and some a pattern; its seams and folds are those of the image.
    """
    image = ImageOps.colorize(_brightness(garment).resize((side, side), Image.Resampling.BICUBIC), *_shades(cloth, rng))
    if rng.random() < cloth.patterned:
        image = ImageChops.multiply(image, _pattern(side, rng))
    if rng.random() < 0.5:
        image = _grainy(image, rng)
    # A crisp edge, of about a pixel, wherever half of a pixel of the small image is the garment; without its steps.
    grown = side / SIDE
    shape = garment.shape.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.45 * grown))
    slope = max(grown, 1.0)
    image.putalpha(shape.point([round(min(255, max(0, 128 + (level - 128) * slope))) for level in range(256)]))
    return image


def _brightness(garment: Garment) -> Image.Image:
    """The levels of a garment over the whole range, up to its edge and a pixel beyond."""
    # At the edge, pixels are in part the empty ground, which is 0: their neighbours tell what the garment is like.
    inside = garment.shape.filter(ImageFilter.MinFilter(3))
    filled = Image.composite(garment.image, garment.image.filter(ImageFilter.MaxFilter(3)), inside)
    # The data set shows negatives: what is bright there was dark.
    bright = ImageOps.invert(filled)
    return Image.blend(bright, ImageOps.autocontrast(bright, cutoff=2, mask=garment.shape), 0.7)


def _shades(cloth: Cloth, rng: random.Random) -> tuple[str, str]:
    """The colour of a garment's darkest and of its brightest places."""
    hue, saturation, value = rng.random(), rng.random() ** 1.5, rng.uniform(cloth.dark, 1)
    return _colour(hue, saturation, value * rng.uniform(0.15, 0.4)), _colour(hue, saturation, value)


def _colour(hue: float, saturation: float, value: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, saturation, value))


def _pattern(side: int, rng: random.Random) -> Image.Image:
    """Stripes, checks or dots, to be multiplied with."""
    period = max(3, round(side * rng.uniform(0.04, 0.16)))
    thick = max(1, round(period * rng.uniform(0.2, 0.6)))
    colour = _colour(rng.random(), rng.random(), rng.uniform(0.3, 0.9))
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    kind = rng.choice(("across", "along", "checks", "dots"))
    for place in range(-period // 2, side, period):
        if kind in ("across", "checks"):
            draw.rectangle((0, place, side, place + thick - 1), fill=colour)
        if kind in ("along", "checks"):
            draw.rectangle((place, 0, place + thick - 1, side), fill=colour)
        if kind == "dots":
            for other in range(-period // 2, side, period):
                draw.ellipse((place, other, place + thick, other + thick), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(0.5))


def _grainy(image: Image.Image, rng: random.Random) -> Image.Image:
    """The grain of a fabric, which the small image cannot have."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    levels = pil_to_tensor(image).float()
    grain = torch.randn(1, *levels.shape[1:], generator=generator)
    return to_pil_image((levels * (1 + rng.uniform(0.02, 0.08) * grain)).round().clamp(0, 255).to(torch.uint8))
