"""JPEGs like a camera's, made of the photographs that scikit-image and scikit-learn ship: always the same ones.

Not a benchmark: benchmarks take their images from here.
"""

import math
import random
from pathlib import Path

from PIL import Image, ImageOps

from tools.compose.sources import installed

PHOTOGRAPHS = (
    *("skimage/astronaut.png", "skimage/chelsea.png", "skimage/coffee.png", "skimage/motorcycle_left.png"),
    *("skimage/rocket.jpg", "skimage/retina.jpg", "sklearn/china.jpg", "sklearn/flower.jpg"),
)
_ASPECTS = (4 / 3, 3 / 2, 1.0, 16 / 9, 3 / 4, 2 / 3)


def photographs() -> list[Image.Image]:
    """The photographs, which are looked up without importing the packages that they are in."""
    try:
        return [Image.open(installed(name)).convert("RGB") for name in PHOTOGRAPHS]
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None


def write(folder: Path, count: int, *, seed: int = 0, sides: tuple[int, int] = (500, 4000)) -> list[Path]:
    """Writes JPEGs whose longer side is uniformly between ``sides``, unless they are there already.

    A large one is not a small photograph blown up, which would be too smooth: it is paved with photographs at one to
    two times their size, each the mirror image of its neighbour.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = photographs()
    draw = random.Random(seed)
    paths = []
    for number in range(count):
        long, aspect = draw.randint(*sides), draw.choice(_ASPECTS)
        scale, quality = draw.uniform(1, 2), draw.choice((75, 85, 90, 95))
        size = (long, round(long / aspect)) if aspect >= 1 else (round(long * aspect), long)
        tiles = [draw.randrange(len(sources)) for _ in range(4)]
        paths.append(folder / f"{number:05d}.jpg")
        if not paths[-1].exists():
            beside = paths[-1].with_suffix(".part")
            _paved(size, [sources[tile] for tile in tiles], scale).save(beside, "JPEG", quality=quality)
            beside.replace(paths[-1])
    return paths


def _paved(size: tuple[int, int], sources: list[Image.Image], scale: float) -> Image.Image:
    tile = round(640 * scale), round(440 * scale)
    tiles = [ImageOps.fit(source, tile) for source in sources]
    image = Image.new("RGB", size)
    for row in range(math.ceil(size[1] / tile[1])):
        for column in range(math.ceil(size[0] / tile[0])):
            one = tiles[(row + column) % len(tiles)]
            one = ImageOps.mirror(one) if column % 2 else one
            image.paste(ImageOps.flip(one) if row % 2 else one, (column * tile[0], row * tile[1]))
    return image
