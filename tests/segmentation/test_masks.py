"""Indexed masks: the colours of Pascal VOC, and files that give back what was written."""

import pytest
import torch
from PIL import Image

from zoo_segmentation import pascal_palette, read_mask, write_mask

# From the data set's documentation.
PASCAL = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    12: (64, 0, 128),
    15: (192, 128, 128),
    20: (0, 64, 128),
    255: (224, 224, 192),
}


def test_palette():
    palette = pascal_palette()
    assert len(palette) == len(set(palette)) == 256
    assert {index: palette[index] for index in PASCAL} == PASCAL
    assert pascal_palette(21) == palette[:21]


def test_round_trip(tmp_path):
    labels = torch.arange(256, dtype=torch.uint8).view(8, 32)
    path = tmp_path / "mask.png"
    write_mask(labels, path)
    assert torch.equal(read_mask(path), labels)
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (32, 8))
        assert {index: picture.convert("RGB").getpixel((index % 32, index // 32)) for index in PASCAL} == PASCAL


def test_labels_of_another_dtype_and_layout(tmp_path):
    labels = torch.tensor([[0, 1, 2], [20, 7, 255]])
    write_mask(labels.t(), tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png").long(), labels.t())


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([[256]]),
        torch.tensor([[-1]]),
        torch.zeros(3, dtype=torch.uint8),
        torch.zeros(0, 2, dtype=torch.uint8),
    ],
)
def test_what_it_does_not_write(labels, tmp_path):
    with pytest.raises(ValueError):
        write_mask(labels, tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())


def test_palettes_of_others_and_grey_files(tmp_path):
    """A pixel's number is its class, whatever its colour."""
    indexed = Image.frombytes("P", (2, 1), bytes([3, 1]))
    indexed.putpalette([9, 9, 9] * 4)
    grey = Image.frombytes("L", (2, 1), bytes([3, 1]))
    for number, picture in enumerate((indexed, grey)):
        picture.save(tmp_path / f"{number}.png")
        assert read_mask(tmp_path / f"{number}.png").tolist() == [[3, 1]]


def test_what_it_does_not_read(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match=r"colours\.png: .*mode RGB"):
        read_mask(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        with pytest.raises(OSError, match=name):
            read_mask(tmp_path / name)
    # Pillow would start Ghostscript for it.
    (tmp_path / "mask.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%ImageData: 4 4 8 1 0 1 1 x\n"
    )
    with pytest.raises(OSError, match=r"mask\.png: not an image"):
        read_mask(tmp_path / "mask.png")
