"""What holds for any boxes: overlaps and losses, suppression, pooling, encoders."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo_detection.box_coding import BoxCoder, BoxLinearCoder
from zoo_detection.masks import paste_masks_in_image, project_masks_on_boxes
from zoo_detection.ops import (
    _fallback,
    batched_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    complete_box_iou_loss,
    distance_box_iou,
    distance_box_iou_loss,
    generalized_box_iou,
    generalized_box_iou_loss,
    masks_to_boxes,
    nms,
    remove_small_boxes,
    roi_align,
)

FORMS = [
    (box_iou, None),
    (generalized_box_iou, generalized_box_iou_loss),
    (distance_box_iou, distance_box_iou_loss),
    (complete_box_iou, complete_box_iou_loss),
]
LOSSES = [(loss, overlap) for overlap, loss in FORMS if loss is not None]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]

# Whole numbers, so that many are equal, touch, or are flat; and far-apart and tiny ones.
coordinates = st.one_of(
    st.integers(-4, 8).map(float),
    st.sampled_from([0.0, 1e-30, -1e-20, 1e-4, 3.5, 1e4, -6e4, 6e4]),
    st.floats(-100, 100),
)
any_boxes = st.lists(st.tuples(*[coordinates] * 4), min_size=1, max_size=6)


def upright(boxes: list[tuple[float, ...]]) -> Tensor:
    b = torch.tensor(boxes, dtype=torch.float64)
    return torch.cat((torch.minimum(b[:, :2], b[:, 2:]), torch.maximum(b[:, :2], b[:, 2:])), 1)


boxes_in_order = any_boxes.map(upright)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "overlap"), LOSSES)
@given(a=any_boxes, b=any_boxes)
def test_values_and_gradients_are_finite(
    loss: Callable[..., Tensor], overlap: Callable[..., Tensor], dtype: torch.dtype, a: list, b: list
) -> None:
    """Of any boxes: flat, points, equal, far apart, with swapped corners; in every dtype; in pairs and all pairs."""
    for eps in (1e-7, 0.0):
        first, second = (torch.tensor(x, dtype=torch.float64).to(dtype).requires_grad_() for x in (a, b))
        keywords = {} if overlap is generalized_box_iou else {"eps": eps}
        table = overlap(first, second, **keywords)
        count = min(len(a), len(b))
        losses = loss(first[:count], second[:count], eps=eps)
        for value in (table, losses):
            assert value.isfinite().all()
            for grad in torch.autograd.grad(value.sum(), (first, second), retain_graph=True):
                assert grad.isfinite().all()
        assert losses.min() >= -1e-3
        assert losses.max() <= 3 + 1e-3


@pytest.mark.parametrize("overlap", [overlap for overlap, _ in FORMS])
@given(a=any_boxes, b=any_boxes)
def test_overlaps_are_symmetric_and_of_boxes_alone(overlap: Callable[..., Tensor], a: list, b: list) -> None:
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    table = overlap(first, second)
    torch.testing.assert_close(overlap(second, first), table.T)
    torch.testing.assert_close(overlap(first[-1:], second), table[-1:])
    assert table.max() <= 1 + 1e-12
    assert table.min() >= (-2 if overlap is complete_box_iou else -1) - 1e-12
    if overlap is box_iou:
        assert table.min() >= 0


@given(a=any_boxes, b=any_boxes)
def test_iou_equals_fractions(a: list, b: list) -> None:
    """Worked out without rounding; a box with a side that is not positive has no area."""
    table = box_iou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    for (i, first), (j, second) in itertools.product(enumerate(a), enumerate(b)):
        x = [Fraction(value) for value in first]
        y = [Fraction(value) for value in second]
        areas = [max(z[2] - z[0], 0) * max(z[3] - z[1], 0) for z in (x, y)]
        inter = max(min(x[2], y[2]) - max(x[0], y[0]), 0) * max(min(x[3], y[3]) - max(x[1], y[1]), 0)
        union = areas[0] + areas[1] - inter
        assert table[i, j].item() == pytest.approx(float(inter / union) if union else 0.0, rel=1e-9, abs=1e-9)


FLAT = {
    "a point and a flat box": ([0, 0, 0, 0], [0, 0, 2, 0], (0, 0, -1 / 4, -1 / 4)),
    "the same point": ([3, 3, 3, 3], [3, 3, 3, 3], (0, 0, 0, 0)),
    "two points": ([0, 0, 0, 0], [3, 4, 3, 4], (0, -1, -1, -1)),
    "the same flat box": ([0, 0, 2, 0], [0, 0, 2, 0], (0, 0, 0, 0)),
    "flat boxes on a line": ([0, 0, 1, 0], [3, 0, 4, 0], (0, 0, -9 / 16, -9 / 16)),
    # Aspects of 90 and 0 degrees: v = 1, its weight 1 / (1 + 1).
    "crossed flat boxes": ([0, 1, 2, 1], [1, 0, 1, 2], (0, -1, 0, -1 / 2)),
    "a box and a point in it": ([0, 0, 2, 2], [1, 1, 1, 1], (0, 0, 0, 0)),
    "a box and a point beside it": ([0, 0, 2, 2], [4, 1, 4, 1], (0, -1 / 2, -9 / 20, -9 / 20)),
    "swapped corners": ([2, 2, 0, 0], [0, 0, 2, 2], (0, 0, 0, 0)),
    "one side swapped": ([2, 0, 0, 2], [0, 0, 2, 2], None),
    "the same box": ([0, 0, 2, 1], [0, 0, 2, 1], (1, 1, 1, 1)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", list(FLAT))
def test_flat_boxes_by_hand(case: str, dtype: torch.dtype) -> None:
    first, second, expected = FLAT[case]
    a, b = torch.tensor([first], dtype=dtype), torch.tensor([second], dtype=dtype)
    if expected is None:
        # No area, an angle of 0 beside one of 45 degrees.
        v = 4 / math.pi**2 * (math.pi / 4) ** 2
        expected = (0, 0, 0, -v * v / (1 + v))
    for (overlap, loss), value in zip(FORMS, expected, strict=True):
        assert overlap(a, b).item() == pytest.approx(value, abs=1e-5), overlap.__name__
        if loss is not None:
            assert loss(a, b).item() == pytest.approx(1 - value, abs=1e-5), loss.__name__


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_integer_boxes(dtype: torch.dtype) -> None:
    a, b = [[0, 0, 10, 10], [90, 90, 120, 120]], [[100, 100, 110, 120], [5, 5, 5, 9]]
    for overlap, _ in FORMS:
        expected = overlap(torch.tensor(a).double(), torch.tensor(b).double())
        found = overlap(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


# Utilities


@given(boxes_in_order, st.sampled_from(["xyxy", "xywh", "cxcywh"]), st.sampled_from(["xyxy", "xywh", "cxcywh"]))
def test_conversions_invert_each_other(boxes: Tensor, first: str, second: str) -> None:
    there = box_convert(box_convert(boxes, "xyxy", first), first, second)
    torch.testing.assert_close(box_convert(there, second, "xyxy"), boxes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(box_area(there, second), box_area(boxes), rtol=1e-6, atol=1e-5)


@given(boxes_in_order, st.integers(1, 50), st.integers(1, 50), st.floats(0, 20))
def test_clipped_and_small_boxes(boxes: Tensor, height: int, width: int, least: float) -> None:
    clipped = clip_boxes_to_image(boxes, (height, width))
    assert (clipped >= 0).all()
    assert (clipped <= torch.tensor([width, height, width, height])).all()
    assert torch.equal(clip_boxes_to_image(clipped, (height, width)), clipped)
    inside = (boxes >= 0).all(1) & (boxes <= torch.tensor([width, height, width, height])).all(1)
    assert torch.equal(clipped[inside], boxes[inside])
    kept = remove_small_boxes(boxes, least).tolist()
    assert kept == [i for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()) if x2 - x1 >= least and y2 - y1 >= least]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))
def test_the_box_of_a_rectangle(left: int, top: int, width: int, height: int) -> None:
    mask = torch.zeros(1, 13, 14, dtype=torch.bool)
    mask[0, top : top + height, left : left + width] = True
    assert masks_to_boxes(mask).tolist() == [[left, top, left + width - 1, top + height - 1]]


# Suppression

many_boxes = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(-1, 9), st.integers(-1, 9), st.integers(0, 5)),
    max_size=40,
)
thresholds = st.one_of(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), st.floats(0, 1))


def greedy(boxes: Tensor, order: list[int], threshold: float) -> list[int]:
    """Box by box with fractions."""
    b = [[Fraction(value) for value in box] for box in boxes.tolist()]

    def overlap(i: int, j: int) -> Fraction:
        sides = [min(b[i][k + 2], b[j][k + 2]) - max(b[i][k], b[j][k]) for k in (0, 1)]
        areas = [(b[n][2] - b[n][0]) * (b[n][3] - b[n][1]) for n in (i, j)]
        empty = any(b[n][2] <= b[n][0] or b[n][3] <= b[n][1] for n in (i, j))
        inter = Fraction(0) if empty or min(sides) <= 0 else sides[0] * sides[1]
        return inter / (sum(areas) - inter) if inter else Fraction(0)

    kept: list[int] = []
    for i in order:
        # A quotient of small whole numbers, rounded to float32, is compared.
        if all(torch.tensor(float(overlap(i, j)), dtype=torch.float64).float().item() <= threshold for j in kept):
            kept.append(i)
    return kept


@given(many_boxes, thresholds)
def test_suppression_is_greedy(rows: list, threshold: float) -> None:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    boxes, scores = torch.cat((table[:, :2], table[:, :2] + table[:, 2:4]), 1), table[:, 4]
    order = scores.argsort(descending=True, stable=True).tolist()
    expected = greedy(boxes, order, threshold)
    found = nms(boxes, scores, threshold).tolist()
    assert found == expected
    assert _fallback.nms(boxes, scores, threshold).tolist() == expected
    # What stays, stays by itself.
    assert nms(boxes[found], scores[found], threshold).tolist() == list(range(len(found)))


@given(many_boxes, thresholds, st.integers(1, 4))
def test_categories_are_suppressed_each_by_itself(rows: list, threshold: float, categories: int) -> None:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    boxes, scores = torch.cat((table[:, :2], table[:, :2] + table[:, 2:4]), 1), table[:, 4]
    idxs = torch.arange(len(rows)) % categories
    kept = set(batched_nms(boxes, scores, idxs, threshold).tolist())
    assert kept == set(batched_nms(boxes, scores, idxs.float() * 0.5, threshold).tolist())
    for category in range(categories):
        members = (idxs == category).nonzero()[:, 0]
        of_category = members[nms(boxes[members], scores[members], threshold)].tolist()
        assert kept & set(members.tolist()) == set(of_category)


# Pooling

regions = st.lists(
    st.tuples(st.integers(0, 1), *[st.integers(-24, 88).map(lambda value: value / 8)] * 4), min_size=1, max_size=8
)


@given(
    regions,
    st.sampled_from([-1, 1, 2, 3]),
    st.booleans(),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 20),
    st.sampled_from([0.5, 1.0]),
)
def test_pooling(rows: list, ratio: int, aligned: bool, size: tuple[int, int], channels: int, scale: float) -> None:
    """Equal to pure torch; linear in the features; the same for each region, image and channel alone."""
    rois = torch.tensor(rows, dtype=torch.float64)
    x = torch.randn(2, channels, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(channels))
    options = (size, scale, ratio, aligned)
    pooled = roi_align(x, rois, *options)
    torch.testing.assert_close(_fallback.roi_align(x, rois, scale, *size, ratio, aligned), pooled)
    torch.testing.assert_close(roi_align(2 * x + 0, rois, *options), 2 * pooled)
    torch.testing.assert_close(roi_align(x, rois.flip(0), *options), pooled.flip(0))
    torch.testing.assert_close(roi_align(x[:, :1], rois[:1], *options), pooled[:1, :1])
    bounds = roi_align(torch.ones_like(x), rois, *options)
    assert bounds.min() >= -1e-12
    assert bounds.max() <= 1 + 1e-12


# Encoders

positive = st.floats(0.5, 50)
placed = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), positive, positive), min_size=1, max_size=5)


def from_sides(rows: list) -> Tensor:
    return box_convert(torch.tensor(rows, dtype=torch.float64), "cxcywh", "xyxy")


@given(placed, placed, st.tuples(*[st.sampled_from([1.0, 5.0, 10.0])] * 4))
def test_encoded_boxes_decode_to_themselves(first: list, second: list, weights: tuple) -> None:
    count = min(len(first), len(second))
    boxes, anchors = from_sides(first[:count]), from_sides(second[:count])
    coder = BoxCoder(weights, bbox_xform_clip=math.log(1000))
    codes = coder.encode_single(boxes, anchors)
    torch.testing.assert_close(coder.decode_single(codes, anchors), boxes, rtol=1e-9, atol=1e-6)
    # Shifted and enlarged together, they are encoded alike.
    torch.testing.assert_close(coder.encode_single(boxes * 3 + 7, anchors * 3 + 7), codes, rtol=1e-9, atol=1e-6)
    for by_size in (False, True):
        linear = BoxLinearCoder(by_size)
        torch.testing.assert_close(linear.decode(linear.encode(boxes, anchors), anchors), boxes, rtol=1e-9, atol=1e-6)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(4, 14), st.integers(4, 14), st.integers(7, 28))
def test_masks_in_boxes_and_in_images(left: int, top: int, width: int, height: int, size: int) -> None:
    """A mask that fills its box comes to all ones in it, and back to its rectangle in the image."""
    mask = torch.zeros(1, 30, 30, dtype=torch.uint8)
    mask[0, top : top + height, left : left + width] = 1
    box = torch.tensor([[left, top, left + width - 1, top + height - 1]], dtype=torch.float32)
    inside = project_masks_on_boxes(mask, box, torch.tensor([0]), size)
    torch.testing.assert_close(inside, torch.ones(1, size, size), rtol=0, atol=1e-5)
    pasted = paste_masks_in_image(inside[:, None], box, (30, 30))
    assert pasted.shape == (1, 1, 30, 30)
    assert pasted.min() >= 0
    assert pasted.max() <= 1 + 1e-5
    core = pasted[0, 0, top + 1 : top + height - 1, left + 1 : left + width - 1]
    assert (core > 0.5).all()
    outside = torch.ones(30, 30, dtype=torch.bool)
    outside[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2] = False
    assert (pasted[0, 0][outside] == 0).all()
