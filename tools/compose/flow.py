"""Pairs of images with known optical flow: ``SPLIT/frames/00003/1.png``, ``2.png`` and ``SPLIT/flow/00003/1.flo``."""

import functools
import random
from pathlib import Path

import torch

from tools.compose.writing import Order, written
from tools.synthetic_motion import Pairs, make_pairs, texture_bank
from zoo_core.images import write_png
from zoo_flow import write_flo

SIZE = 192
LARGEST_MOTION = 24.0
_PROCEDURAL, _VIEWS = 40, 5
_TOGETHER = 8


def write(order: Order, processes: int) -> None:
    """Writes a split."""
    for name in ("frames", "flow"):
        (order.folder / order.split / name).mkdir(parents=True, exist_ok=True)
    groups = -(-order.count // _TOGETHER)
    for _ in written(_counted(order, groups), functools.partial(_write_pairs, order.count), processes):
        pass


def _counted(order: Order, count: int) -> Order:
    return Order(order.folder, order.split, count, order.size, order.seed, order.sources)


@functools.lru_cache(maxsize=2)
def _textures(seed: int, split: str, photographs: tuple[Path, ...]) -> torch.Tensor:
    # What is held out has other procedural textures too.
    rng = random.Random(f"{seed}/{split}/textures")
    return texture_bank(rng.getrandbits(31), _PROCEDURAL, photographs, _VIEWS)


def pairs(order: Order, group: int) -> Pairs:
    """Eight pairs, whose largest motion is drawn from up to 24 pixels at 192 x 192, and in proportion to the side."""
    textures = _textures(order.seed, order.split, order.sources.photographs(order.split))
    generator = torch.Generator().manual_seed(order.rng(group).getrandbits(63))
    return make_pairs(_TOGETHER, order.size, LARGEST_MOTION * order.size / SIZE, textures, generator)


def _write_pairs(total: int, order: Order, group: int) -> None:
    made = pairs(order, group)
    for place, number in enumerate(range(group * _TOGETHER, min((group + 1) * _TOGETHER, total))):
        frames, flow = (order.folder / order.split / name / f"{number:05d}" for name in ("frames", "flow"))
        frames.mkdir(exist_ok=True)
        flow.mkdir(exist_ok=True)
        for name, image in (("1.png", made.image1), ("2.png", made.image2)):
            write_png((255 * image[place]).round().to(torch.uint8), frames / name, compression_level=1)
        write_flo(made.flow[place], flow / "1.flo")
