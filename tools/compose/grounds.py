"""What is behind garments: parts of photographs, and now and then a procedural texture."""

import functools
import random
from pathlib import Path

from PIL import Image, ImageChops, ImageEnhance, ImageOps

from tools.compose.sources import Sources
from tools.synthetic_motion import noise_texture, shapes_texture
from zoo_core.images import open_image, to_pil_image

_PROCEDURAL = 0.25
# They take long to make, and of each there are many parts.
_TEXTURES = 64
# Photographs of cameras have far more pixels than scenes, and take long to decode.
_LONGEST = 1600


@functools.lru_cache(maxsize=64)
def photograph(path: Path) -> Image.Image:
    """A photograph in RGB, with at most ``_LONGEST`` pixels a side, kept for the process."""
    image = open_image(path)
    image.thumbnail((_LONGEST, _LONGEST))
    return image


@functools.lru_cache(maxsize=2 * _TEXTURES)
def procedural(split: str, number: int) -> Image.Image:
    """A procedural texture of a split, kept for the process: noise and shapes in turn."""
    rng = random.Random(f"{split}/texture/{number}")
    return to_pil_image((noise_texture if number % 2 else shapes_texture)(rng))


def ground(sources: Sources, split: str, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A ground of a size (width, height): a part of a photograph at random, mirrored and with colours changed.

    One in four is procedural instead, so that there are more grounds than photographs.
    """
    if rng.random() < _PROCEDURAL:
        image = procedural(split, rng.randrange(_TEXTURES))
    else:
        photographs = sources.photographs(split)
        image = photograph(photographs[rng.randrange(len(photographs))])
    share = rng.uniform(0.35, 1)
    aspect = size[0] / size[1]
    width = share * min(image.width, image.height * aspect)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - width / aspect)
    part = image.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + width / aspect), reducing_gap=3)
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    if rng.random() < 0.5:
        # Light of another colour, without which photographs in grey would stay grey.
        part = ImageChops.multiply(part, Image.new("RGB", size, tuple(rng.randint(150, 255) for _ in range(3))))
    for enhance, spread in ((ImageEnhance.Brightness, 0.3), (ImageEnhance.Contrast, 0.3), (ImageEnhance.Color, 0.6)):
        part = enhance(part).enhance(1 + rng.uniform(-spread, spread))
    return part
