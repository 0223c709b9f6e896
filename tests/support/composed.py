"""Small parts to compose data sets of: garments that are plain shapes, and photographs of one colour each."""

import gzip
import struct
from pathlib import Path

import torch

from tools.compose.sources import Sources
from zoo_core.images import write_png

RED, BLUE = (200, 30, 30), (30, 30, 200)


def sources(folder: Path, count: int = 40) -> Sources:
    """Fashion-MNIST's files with rectangles, wider with each class; a red photograph to train on, a blue held out."""
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        labels = torch.arange(count, dtype=torch.uint8) % 10
        images = torch.zeros(count, 28, 28, dtype=torch.uint8)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[4:24, 9 - label // 2 : 19 + label // 2] = 150 + 5 * label
        _write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        _write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    photographs = []
    for name, colour in (("red", RED), ("blue", BLUE)):
        plain = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 120, 160)
        photographs.append(folder / f"{name}.png")
        write_png(plain.contiguous(), photographs[-1])
    return Sources(folder, (photographs[0],), (photographs[1],))


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _write_idx(path: Path, values: torch.Tensor) -> None:
    head = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(head + bytes(values.flatten().tolist())))
