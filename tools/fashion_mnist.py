"""Reads Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it.

`Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms <https://arxiv.org/abs/1708.07747>`__:
28 x 28 grey images of ten kinds of clothing, 60,000 for training and 10,000 held out. MIT licence.

    python -m tools.fashion_mnist DIRECTORY     # writes the first held-out image of each kind as a PNG file
"""

import argparse
import gzip
import struct
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
    pictures = _read(directory / f"{split}-images-idx3-ubyte.gz", dims=3)
    classes = _read(directory / f"{split}-labels-idx1-ubyte.gz", dims=1)
    return pictures, classes.long()


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
    pictures, classes = load("t10k")
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for index, name in enumerate(CLASSES):
        first = int((classes == index).nonzero()[0])
        written.append(directory / f"{name.lower().replace('/', '-').replace(' ', '-')}.png")
        write_png(pictures[first].unsqueeze(0), str(written[-1]), compression_level=9)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    print("\n".join(map(str, write_samples(parser.parse_args().directory))))


if __name__ == "__main__":
    main()
