"""Scenes with the class of each pixel: ``SPLIT/images/`` beside ``SPLIT/masks/``, and ``labels.txt``."""

import torch

from tools.compose.scenes import CLASSES, compose, jpeg
from tools.compose.writing import Order, written
from zoo_core.catalog.labels import BACKGROUND
from zoo_core.images import write_png

SIZE = 256


def write(order: Order, processes: int) -> None:
    """Writes a split."""
    for name in ("images", "masks"):
        (order.folder / order.split / name).mkdir(parents=True, exist_ok=True)
    (order.folder / "labels.txt").write_text("\n".join((BACKGROUND, *CLASSES, "")))
    for _ in written(order, _write_scene, processes):
        pass


def _write_scene(order: Order, number: int) -> None:
    rng = order.rng(number)
    scene = compose(order.sources, order.split, order.size, rng)
    classes = torch.zeros(order.size, order.size, dtype=torch.uint8)
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        classes[mask] = label + 1
    (order.folder / order.split / "images" / f"{number:05d}.jpg").write_bytes(jpeg(scene.image, rng))
    write_png(classes[None], order.folder / order.split / "masks" / f"{number:05d}.png")
