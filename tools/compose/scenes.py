"""Scenes: garments of many sizes, rotated, some behind others, on a ground; with the mask of what is seen of each."""

import io
import math
import random
from dataclasses import dataclass

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tools import fashion_mnist
from tools.compose import garments, grounds
from tools.compose.sources import Sources
from zoo_core.images import pil_to_tensor, to_pil_image

# What is told apart in scenes, and the classes of Fashion-MNIST that belong to it. The four that cover the upper body
# differ in length of sleeves and buttons, and even upright and alone people name 84 of 100 of all classes right.
CLASSES = {
    "top": ("T-shirt/top", "pullover", "coat", "shirt"),
    "trouser": ("trouser",),
    "dress": ("dress",),
    "sandal": ("sandal",),
    "sneaker": ("sneaker",),
    "bag": ("bag",),
    "ankle boot": ("ankle boot",),
}
_MOST = 6
# Of a scene's side: that of a garment's own image, which has a border.
_SMALLEST, _LARGEST = 0.2, 0.85
# Of the side of an image of one garment.
_ALONE = (0.6, 0.95)
# Of what an object would be alone: with less of it to be seen it is not placed, or what would hide it is not.
_LEAST_SEEN = 0.5
_LEAST_PIXELS = 64
_TRIES = 6


@dataclass(frozen=True)
class Scene:
    """An image and its objects.

    Args:
        image: in RGB.
        labels: index in :data:`CLASSES` of each object, from the rearmost to the foremost.
        masks: what is seen of each: bool Tensor[N, H, W]. No two of them share a pixel, and none is empty.
    """

    image: Image.Image
    labels: tuple[int, ...]
    masks: Tensor


def compose(sources: Sources, split: str, size: int, rng: random.Random) -> Scene:
    """A scene of a split, ``size`` pixels wide and high, with one to six objects."""
    wardrobe = garments.wardrobe(sources.fashion_mnist, split)
    image = grounds.ground(sources, split, (size, size), rng)
    labels: list[int] = []
    masks: list[Tensor] = []
    whole: list[int] = []
    for _ in range(rng.randint(1, _MOST)):
        label, garment = _drawn(wardrobe, rng)
        for _ in range(_TRIES):
            # Small ones are as frequent as large ones: uniform in the logarithm.
            side = round(size * math.exp(rng.uniform(math.log(_SMALLEST), math.log(_LARGEST))))
            layer, place = _placed(garments.dressed(garment, side, garments.PLAIN, rng), size, rng)
            covers = pil_to_tensor(_canvas(layer.getchannel("A"), place, size))[0] >= 128
            alone = sum(layer.getchannel("A").histogram()[128:])
            rest = [mask & ~covers for mask in masks]
            counts = [int(mask.sum()) for mask in rest]
            if int(covers.sum()) < max(_LEAST_SEEN * alone, _LEAST_PIXELS) or any(
                count < max(_LEAST_SEEN * full, _LEAST_PIXELS) for count, full in zip(counts, whole, strict=True)
            ):
                continue
            _cast_shadow(image, layer, place, side, rng)
            image.paste(layer, place, layer)
            labels, masks, whole = [*labels, label], [*rest, covers], [*whole, int(covers.sum())]
            break
    image = Camera.draw(rng).take(image, rng)
    return Scene(image, tuple(labels), torch.stack(masks) if masks else torch.zeros(0, size, size).bool())


def compose_one(sources: Sources, split: str, size: int, rng: random.Random) -> tuple[Image.Image, int]:
    """One garment that fills most of an image, ``size`` pixels wide and high, as it is in scenes; and its label."""
    image = grounds.ground(sources, split, (size, size), rng)
    label, garment = _drawn(garments.wardrobe(sources.fashion_mnist, split), rng)
    layer = _turned(garments.dressed(garment, size, garments.PLAIN, rng), rng)
    side = size * rng.uniform(*_ALONE)
    layer.thumbnail((side, side), Image.Resampling.BICUBIC)
    place = round(rng.uniform(0, size - layer.width)), round(rng.uniform(0, size - layer.height))
    _cast_shadow(image, layer, place, round(side), rng)
    image.paste(layer, place, layer)
    return Camera.draw(rng).take(image, rng), label


def _drawn(wardrobe: garments.Wardrobe, rng: random.Random) -> tuple[int, garments.Garment]:
    """A garment at random, of all classes of scenes alike, and the index of its class."""
    label = rng.randrange(len(CLASSES))
    name = rng.choice(list(CLASSES.values())[label])
    return label, wardrobe.draw(rng, fashion_mnist.CLASSES.index(name))


def _placed(layer: Image.Image, size: int, rng: random.Random) -> tuple[Image.Image, tuple[int, int]]:
    """A garment turned, and its upper left corner in the scene. At the border a part of it may be outside."""
    layer = _turned(layer, rng)
    x, y = (round(rng.uniform(-0.2 * side, size - 0.8 * side)) for side in layer.size)
    return layer, (x, y)


def _turned(layer: Image.Image, rng: random.Random) -> Image.Image:
    """A garment turned, nearly all of them by less than an eighth of a turn, without an empty border."""
    if rng.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = layer.rotate(rng.gauss(0, 20), Image.Resampling.BICUBIC, expand=True)
    return layer.crop(layer.getchannel("A").getbbox())


def _canvas(alpha: Image.Image, place: tuple[int, int], size: int) -> Image.Image:
    whole = Image.new("L", (size, size))
    whole.paste(alpha, place)
    return whole


def _cast_shadow(image: Image.Image, layer: Image.Image, place: tuple[int, int], side: int, rng: random.Random) -> None:
    blur, far = side * rng.uniform(0.01, 0.05), side * rng.uniform(0, 0.06)
    border = math.ceil(3 * blur)
    shadow = Image.new("L", (layer.width + 2 * border, layer.height + 2 * border))
    strength = rng.uniform(0, 0.6)
    shadow.paste(layer.getchannel("A").point([round(strength * level) for level in range(256)]), (border, border))
    angle = rng.uniform(0, 2 * math.pi)
    corner = (
        round(place[0] - border + far * math.cos(angle)),
        round(place[1] - border + far * math.sin(angle)),
    )
    image.paste("black", corner, shadow.filter(ImageFilter.GaussianBlur(blur)))


@dataclass(frozen=True)
class Camera:
    """What a camera does to an image.

    Args:
        blur: how far it is out of focus, in pixels.
        noise: standard deviation, in levels of 255.
    """

    blur: float
    noise: float

    @classmethod
    def draw(cls, rng: random.Random) -> "Camera":
        """A camera at random; half of them are good ones."""
        return cls(rng.uniform(0.3, 1.0) * (rng.random() < 0.3), rng.uniform(1, 8) * (rng.random() < 0.5))

    def take(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The image as this camera takes it, with noise of its own."""
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        if self.noise:
            generator = torch.Generator().manual_seed(rng.getrandbits(63))
            levels = pil_to_tensor(image).float()
            levels += self.noise * torch.randn(levels.shape, generator=generator)
            image = to_pil_image(levels.round().clamp(0, 255).to(torch.uint8))
        return image


def jpeg(image: Image.Image, rng: random.Random) -> bytes:
    """The image as a file of its own quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=rng.randint(80, 95))
    return file.getvalue()
