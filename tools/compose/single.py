"""One garment an image, on a ground, in a folder for each class: what scenes show, for a classifier to begin with."""

from tools import fashion_mnist
from tools.compose.scenes import CLASSES, compose_one, jpeg
from tools.compose.writing import Order, written

SIZE = 72


def write(order: Order, processes: int) -> None:
    """Writes a split."""
    for name in CLASSES:
        (order.folder / order.split / fashion_mnist.folder_name(name)).mkdir(parents=True, exist_ok=True)
    for _ in written(order, _write_image, processes):
        pass


def _write_image(order: Order, number: int) -> None:
    rng = order.rng(number)
    image, label = compose_one(order.sources, order.split, order.size, rng)
    name = fashion_mnist.folder_name(tuple(CLASSES)[label])
    (order.folder / order.split / name / f"{number:05d}.jpg").write_bytes(jpeg(image, rng))
