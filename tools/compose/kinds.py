"""The kinds of data sets, and the function that writes one."""

import importlib
from pathlib import Path

from tools.compose import sources
from tools.compose.writing import SPLITS, Order

# How many samples train and val have if nothing is said. What writes a kind is the module of its name.
KINDS = {
    "classification": (60_000, 10_000),
    "single": (40_000, 2_000),
    "detection": (4_000, 400),
    "segmentation": (8_000, 400),
    "video": (1_600, 400),
    "flow": (800, 64),
}


def compose(
    kind: str,
    folder: Path,
    *,
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    size: int | None = None,
    processes: int = 1,
    parts: sources.Sources | None = None,
) -> None:
    """Writes a data set in the layout that ``zoo train`` and ``zoo evaluate`` read.

    Args:
        kind: a key of :data:`KINDS`.
        folder: where to write. There must be nothing in it, as files of another data set would count.
        seed: of everything random. The same one writes the same files.
        train, val: how many samples of each split.
        size: width and height of the images; by default the kind's own.
        processes: how many write.
        parts: what to compose of; by default what is installed.

    Raises:
        FileNotFoundError: Fashion-MNIST or a photograph is not there; the message says how to get it.
        FileExistsError: the folder has something in it.
        ValueError: the kind has images of one size only.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} has something in it; give a new folder")
    parts = sources.here() if parts is None else parts
    module = importlib.import_module(f"tools.compose.{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, usual in zip(SPLITS, (train, val), KINDS[kind], strict=True):
        number = usual if count is None else count
        module.write(Order(folder, split, number, size or module.SIZE, seed, parts), processes)
