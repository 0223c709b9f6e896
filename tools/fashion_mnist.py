"""Reads Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it.

`Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms <https://arxiv.org/abs/1708.07747>`__:
28 x 28 grey images of ten kinds of clothing, 60,000 for training and 10,000 held out. MIT licence.

    python -m tools.fashion_mnist DIRECTORY            # writes the first held-out image of each kind as a PNG file
    python -m tools.fashion_mnist DIRECTORY --folders  # all images, as `zoo evaluate` reads them: val/ankle-boot/...
"""

import argparse
import gzip
import struct
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from zoo_core.images import write_png

DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load(split: str, directory: Path = DIRECTORY) -> tuple[Tensor, Tensor]:
    """One split of the data set.

    Args:
        split: ``"train"`` or ``"t10k"`` (held out).
        directory: folder with the four ``*-ubyte.gz`` files.

    Returns:
        Images, uint8 Tensor[N, 28, 28], and class indices, int64 Tensor[N].

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: a file is not what the data set's are.
    """
    images = _read(directory / f"{split}-images-idx3-ubyte.gz", dims=3)
    classes = _read(directory / f"{split}-labels-idx1-ubyte.gz", dims=1)
    return images, classes.long()


def _read(path: Path, dims: int) -> Tensor:
    """The IDX format: two zero bytes, 8 for uint8, the number of dimensions, their big-endian sizes, the elements."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; install the data set: apt-get install dataset-fashion-mnist")
    with gzip.open(path) as file:
        content = file.read()
    head = struct.calcsize(f">4B{dims}I")
    zero, zero2, kind, found, *shape = struct.unpack(f">4B{dims}I", content[:head])
    if (zero, zero2, kind, found) != (0, 0, 8, dims):
        raise ValueError(f"{path} is no IDX file of uint8 with {dims} dimensions")
    return torch.frombuffer(bytearray(content[head:]), dtype=torch.uint8).reshape(shape)


def write_samples(directory: Path) -> list[Path]:
    """Writes the first held-out image of each class, named by its class: ``ankle-boot.png``. Returns the files."""
    images, classes = load("t10k")
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for index, name in enumerate(CLASSES):
        first = int((classes == index).nonzero()[0])
        written.append(directory / f"{folder_name(name)}.png")
        write_png(images[first].unsqueeze(0), str(written[-1]), compression_level=9)
    return written


def folder_name(label: str) -> str:
    """A class as files and folders have it: ``ankle-boot``."""
    return label.lower().replace("/", "-").replace(" ", "-")


def write_folders(
    directory: Path,
    limit: int | None = None,
    splits: Collection[str] = ("train", "t10k"),
    source: Path = DIRECTORY,
) -> None:
    """Writes the data set with a folder for each class: ``train/bag/00035.png``, and ``val`` for what is held out.

    Args:
        directory: where to write.
        limit: write only the first so many images of each split.
        splits: write only these.
        source: folder of the data set as it is installed.
    """
    for split, name in (("train", "train"), ("t10k", "val")):
        if split not in splits:
            continue
        images, classes = load(split, source)
        for label in CLASSES:
            (directory / name / folder_name(label)).mkdir(parents=True, exist_ok=True)
        for place, (image, index) in enumerate(zip(images[:limit], classes[:limit].tolist(), strict=True)):
            path = directory / name / folder_name(CLASSES[index]) / f"{place:05d}.png"
            write_png(image.unsqueeze(0), str(path), compression_level=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--folders", action="store_true", help="all images, in a folder for each class")
    arguments = parser.parse_args()
    if arguments.folders:
        write_folders(arguments.directory)
    else:
        print("\n".join(map(str, write_samples(arguments.directory))))


if __name__ == "__main__":
    main()
