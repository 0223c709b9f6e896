"""Grids of images, by hand, and their files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from support.reference import noise
from zoo_core.drawing import make_grid, save_image
from zoo_core.images import read_image


def test_grid_by_hand() -> None:
    pictures = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 3, 1, 2)
    grid = make_grid(pictures, nrow=2, padding=1, pad_value=9)
    expected = [
        [9, 9, 9, 9, 9, 9, 9],
        [9, 1, 1, 9, 2, 2, 9],
        [9, 9, 9, 9, 9, 9, 9],
        [9, 3, 3, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9],
    ]
    assert grid.tolist() == [expected] * 3


def test_grid_of_one_is_the_picture() -> None:
    picture = noise(0, 1, 4, 5)
    for input in (picture, picture[0], picture[None], [picture]):
        assert torch.equal(make_grid(input), picture.expand(3, -1, -1))
    assert make_grid(noise(0, 5, 4, 4, 4)).shape == (4, 4 + 4, 5 * 6 + 2)


def test_grid_normalises_all_together_or_each() -> None:
    pictures = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).view(2, 1, 1, 2)
    arguments: dict[str, Any] = {"padding": 0, "normalize": True}
    assert make_grid(pictures, **arguments)[0].tolist() == [[0, 0.25, 0.5, 1]]
    assert make_grid(pictures, scale_each=True, **arguments)[0].tolist() == [[0, 1, 0, 1]]
    assert make_grid(pictures, value_range=(1, 3), **arguments)[0].tolist() == [[0, 0, 0.5, 1]]
    assert make_grid(torch.full((2, 1, 1, 1), 7.0), **arguments).isfinite().all()
    assert pictures.flatten().tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("tensor", "arguments", "error", "message"),
    [
        ("picture", {}, TypeError, "got str"),
        (["a", "b"], {}, TypeError, "got list"),
        ([], {}, ValueError, "one shape, got none"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 4, 5)], {}, ValueError, r"one shape, got .*\(3, 4, 4\), \(3, 4, 5\)"),
        (torch.zeros(0, 3, 4, 4), {}, ValueError, "at least one image"),
        (torch.zeros(1, 1, 3, 4, 4), {}, ValueError, "shape"),
        (torch.zeros(2, 3, 4, 4), {"nrow": 0}, ValueError, "nrow"),
        (torch.zeros(2, 3, 4, 4), {"padding": -1}, ValueError, "padding"),
        (torch.zeros(2, 3, 4, 4), {"normalize": True, "value_range": (1, 0)}, ValueError, "value_range"),
        (noise(0, 2, 3, 4, 4), {"normalize": True}, TypeError, r"uint8.*\.float\(\)"),
    ],
)
def test_wrong_grids(tensor: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_grid(tensor, **arguments)


def test_save_image(tmp_path: Path) -> None:
    pictures = noise(0, 3, 3, 6, 7) / 255
    save_image(pictures, tmp_path / "grid.png", nrow=2, padding=1)
    assert torch.equal(read_image(tmp_path / "grid.png"), (make_grid(pictures, nrow=2, padding=1) * 255).round().byte())
    with (tmp_path / "stream").open("wb") as file:
        save_image(torch.tensor([[[-1.0, 2.0, 0.5]]]), file, format="PNG")
    assert read_image(tmp_path / "stream").tolist() == [[[0, 255, 128]]] * 3
    with pytest.raises(TypeError, match="write_png"):
        save_image(noise(0, 3, 4, 4), tmp_path / "levels.png")
    with pytest.raises(ValueError, match="unknown file extension"):
        save_image(pictures, tmp_path / "grid.nothing")
