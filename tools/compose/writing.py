"""Samples by number, over processes: the same files for a seed, however many write them."""

import concurrent.futures
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from tools.compose.sources import Sources

SPLITS = ("train", "val")
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Args:
        folder: of the data set.
        split: ``"train"`` or ``"val"``.
        count: how many samples.
        size: width and height of the images.
        seed: of everything random.
        sources: what is composed of.
    """

    folder: Path
    split: str
    count: int
    size: int
    seed: int
    sources: Sources

    def rng(self, number: object) -> random.Random:
        """The generator of a sample. That of another seed, split or number has nothing in common with it."""
        return random.Random(f"{self.seed}/{self.split}/{number}")


def written(order: Order, write: Callable[[Order, int], T], processes: int) -> Iterator[T]:
    """Calls ``write`` for each number of an order, and yields what it returns, in their order.

    Args:
        order: what is to be written.
        write: a function of a module, which other processes find by its name.
        processes: how many work; one is this one.
    """
    if processes == 1:
        for number in range(order.count):
            yield write(order, number)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        # A few at a time for each process, so that none waits for another at the end.
        chunk = max(1, min(32, order.count // (4 * processes)))
        yield from pool.map(write, [order] * order.count, range(order.count), chunksize=chunk)
