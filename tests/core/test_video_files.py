"""What is common to the packages that read videos; their own tests hold it to real files."""

import struct
from enum import Flag
from types import SimpleNamespace

import pytest
import torch

from zoo_core.pyav import is_cover, name_for_ffmpeg, upright


def frame(*matrix):
    """One whose file shows x' = a x + c y and y' = b x + d y."""
    a, b, c, d = (value << 16 for value in matrix)
    return SimpleNamespace(side_data={"DISPLAYMATRIX": struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)})


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [[1, 2, 3], [4, 5, 6]]),
        ((0, 1, -1, 0), [[4, 1], [5, 2], [6, 3]]),  # clockwise
        ((-1, 0, 0, -1), [[6, 5, 4], [3, 2, 1]]),
        ((0, -1, 1, 0), [[3, 6], [2, 5], [1, 4]]),
        ((-1, 0, 0, 1), [[3, 2, 1], [6, 5, 4]]),  # mirrored
    ],
)
def test_upright(matrix, expected):
    pixels = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert upright(pixels, frame(*matrix)).tolist() == expected
    assert upright(pixels.expand(3, 2, 3), frame(*matrix)).tolist() == [expected] * 3


def test_a_frame_of_which_the_file_says_nothing():
    pixels = torch.zeros(3, 2, 2)
    assert upright(pixels, SimpleNamespace(side_data={})) is pixels


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12:30.mp4").touch()
    assert name_for_ffmpeg("12:30.mp4") == "./12:30.mp4"
    assert name_for_ffmpeg(tmp_path / "12:30.mp4") == str(tmp_path / "12:30.mp4")
    assert name_for_ffmpeg("https://example.org/a.mp4") == "https://example.org/a.mp4"


def test_covers():
    assert is_cover(SimpleNamespace(disposition=0x0400 | 0x0001))
    flags = Flag("Disposition", {"default": 0x0001, "attached_pic": 0x0400})
    assert is_cover(SimpleNamespace(disposition=flags.default | flags.attached_pic))
    assert not is_cover(SimpleNamespace(disposition=flags.default))
    assert not is_cover(SimpleNamespace(disposition=0x0001))
