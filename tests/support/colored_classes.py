"""A data set of classes that a classifier learns in a few steps."""

import random
from pathlib import Path

from PIL import Image


def paint(folder: Path, count: int, labels: tuple[str, ...] = ("blue", "green", "red")) -> None:
    """Images that their colour tells apart."""
    rng = random.Random(0)
    for place, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            levels = [rng.randrange(150) + 100 * (2 - channel == place) for channel in range(3)]
            Image.new("RGB", (20, 24), tuple(levels)).save(folder / label / f"{number}.png")
