"""How far detections of a file are from the model's, where rounding has let another box stay."""

import math

import pytest
import torch
from torch import Tensor

from zoo_core.exporting.checking import difference

SIZE = (100, 200)


def detections(count: int) -> dict[str, Tensor]:
    """Boxes that lie apart, each of 10 pixels, with scores of steps that are no rounding."""
    corner = torch.stack((torch.arange(count) % 15 * 12.0, torch.arange(count) // 15 * 12.0), 1)
    return {
        "boxes": torch.cat((corner, corner + 10), 1),
        "scores": torch.linspace(0.9, 0.5, count),
        "labels": torch.arange(count) % 3,
    }


def moved(count: int, pixels: float, indices: list[int]) -> dict[str, Tensor]:
    found = detections(count)
    found["boxes"][indices] += pixels
    return found


def test_of_what_is_the_same():
    assert difference(detections(20), detections(20), size=SIZE).value == 0
    found = detections(20)
    found["scores"] += 1e-4
    same = difference(found, detections(20), size=SIZE)
    assert (same.output, same.note) == ("scores", "20 detections")
    assert same.value == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("pixels", [2.0, 50.0])  # 2 of 200 are near enough to be paired
def test_one_box_in_twenty_may_be_another(pixels):
    found = difference(moved(20, pixels, [3]), detections(20), size=SIZE)
    assert found.value == 0
    assert found.note == "1 of 20 detections have no counterpart"


def test_more_may_not():
    near = difference(moved(20, 2.0, [3, 8]), detections(20), size=SIZE)
    assert near.value == pytest.approx(0.01)
    assert near.output == "boxes"
    assert difference(moved(20, 50.0, [3, 8]), detections(20), size=SIZE).value == math.inf
    both = moved(20, 2.0, [3])
    both["boxes"][8] += 50.0
    assert difference(both, detections(20), size=SIZE).value == pytest.approx(0.01)


def test_a_box_that_has_moved_a_little_is_the_same():
    found = difference(moved(20, 0.5, [3]), detections(20), size=SIZE)
    assert found.value == pytest.approx(0.0025)
    assert found.note == "20 detections"


def test_many_boxes_of_a_file_that_is_wrong():
    assert difference(moved(60, 2.0, list(range(60))), detections(60), size=SIZE).value == pytest.approx(0.01)
