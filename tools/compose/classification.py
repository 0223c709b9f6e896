"""Garments as they are in Fashion-MNIST, in a folder for each class: ``train/bag/00035.png``."""

from tools import fashion_mnist
from tools.compose.writing import Order

SIZE = 28


def write(order: Order, processes: int) -> None:
    """Writes the first images of a split, as many as are wanted. They are written faster than processes start."""
    if order.size != SIZE:
        raise ValueError(f"Fashion-MNIST has images of {SIZE} x {SIZE} pixels, not {order.size}")
    split = {"train": "train", "val": "t10k"}[order.split]
    fashion_mnist.write_folders(order.folder, order.count, (split,), order.sources.fashion_mnist)
