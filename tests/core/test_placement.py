"""Where labels go, in cases laid out by hand."""

import doctest
import itertools
import random

import pytest
import torch

from zoo_core.drawing import placement
from zoo_core.drawing.placement import place_labels

SIZE = (40, 12)


def places(boxes, size=SIZE, bounds=(200, 200)):
    return [tuple(place) for place in place_labels(boxes, [size] * len(boxes), bounds).tolist()]


def shared(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def test_the_examples_of_the_docstring():
    assert doctest.testmod(placement).failed == 0


def test_none():
    assert place_labels([], [], (10, 10)).shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((50, 60, 150, 160), (50, 48, 90, 60)),  # above
        ((50, 0, 150, 160), (50, 0, 90, 12)),  # no room above: inside
        ((50, 0, 80, 20), (50, 20, 90, 32)),  # too small for it: below
        ((180, 60, 200, 160), (160, 48, 200, 60)),  # shifted into the picture
        ((-30, 60, 60, 160), (0, 48, 40, 60)),
        ((0, 0, 200, 200), (0, 0, 40, 12)),  # as large as the picture
        ((300, 300, 400, 400), (160, 188, 200, 200)),  # outside of it
    ],
)
def test_one(box, expected):
    assert places([box]) == [expected]


def test_a_boat_is_not_covered():
    """75 x 18 pixels, with labels as high as that, wherever it lies."""
    for x, y in itertools.product((0, 100, 425), (0, 3, 200, 350, 382)):
        boat = (x, y, x + 75, y + 18)
        (label,) = places([boat], (90, 18), (500, 400))
        assert shared(label, boat) == 0


def test_labels_of_neighbours_do_not_lie_over_each_other():
    boxes = [(50, 50, 120, 120), (55, 52, 125, 118), (52, 54, 118, 125), (48, 49, 121, 122)]
    found = places(boxes)
    assert all(shared(a, b) == 0 for a, b in itertools.combinations(found, 2))
    assert found[0] == (50, 38, 90, 50), "the best has the best place"


def test_a_label_does_not_cover_a_small_neighbour():
    large, small = (50, 60, 150, 160), (52, 46, 80, 58)  # where the label of the large one would go
    found = places([large, small])
    assert shared(found[0], small) == 0
    assert shared(found[1], small) == 0


def test_a_label_does_not_seem_to_be_that_of_another_box():
    wide, other = (10, 0, 190, 190), (100, 0, 200, 80)
    blocked = (0, 0, 60, 14)  # takes the place at the upper left
    found = places([wide, other, blocked])
    assert shared(found[0], other) == 0


def test_a_label_larger_than_the_picture():
    assert places([(5, 5, 15, 15)], (60, 30), (20, 20)) == [(0, 0, 60, 30)]


@pytest.mark.parametrize("count", [5, 30, 60])
def test_random_crowds(count):
    """All lie inside; hardly any over another as long as there is room for all."""
    generator = random.Random(count)
    boxes = []
    for _ in range(count):
        x, y = generator.uniform(-30, 780), generator.uniform(-30, 580)
        boxes.append((x, y, x + generator.uniform(10, 200), y + generator.uniform(10, 200)))
    found = places(boxes, (60, 14), (800, 600))
    for x1, y1, x2, y2 in found:
        assert 0 <= x1 < x2 <= 800
        assert 0 <= y1 < y2 <= 600
    overlapping = sum(shared(a, b) > 0 for a, b in itertools.combinations(found, 2))
    assert overlapping <= count // 20


def test_places_are_the_same_every_time():
    boxes = torch.rand((20, 4), generator=torch.Generator().manual_seed(1)) * 100
    boxes[:, 2:] += boxes[:, :2]
    assert places(boxes.tolist()) == places(boxes.tolist())
