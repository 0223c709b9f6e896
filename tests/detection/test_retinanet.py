"""RetinaNet's losses, on small cases that were worked out by hand."""

import math

import pytest
import torch

from zoo_detection.box_coding import BoxCoder
from zoo_detection.matching import Matcher
from zoo_detection.retinanet import RetinaNetHead, box_loss


def focal(probability, positive):
    """Equation 5 of the paper, alpha 0.25 and gamma 2."""
    if positive:
        return -0.25 * (1 - probability) ** 2 * math.log(probability)
    return -0.75 * probability**2 * math.log(1 - probability)


def test_retinanet():
    """Anchors: an object of class 1, one that is neither, and background, each with two classes."""
    head = RetinaNetHead(8, 1, 2)
    anchors = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    target = {"boxes": torch.tensor([[1.0, 0, 11, 10]]), "labels": torch.tensor([1])}
    matches = torch.tensor([0, Matcher.BETWEEN_THRESHOLDS, Matcher.BELOW_LOW_THRESHOLD])
    probability = torch.tensor([[0.2, 0.6], [0.9, 0.9], [0.1, 0.3]])
    offsets = torch.tensor([[[0.3, 0.0, 0.0, -0.2], [9.0, 9, 9, 9], [9.0, 9, 9, 9]]])
    outputs = {"cls_logits": probability.logit()[None], "bbox_regression": offsets}
    losses = head.compute_loss([target], outputs, [anchors], [matches])
    expected = focal(0.2, False) + focal(0.6, True) + focal(0.1, False) + focal(0.3, False)
    assert losses["classification"].item() == pytest.approx(expected, rel=1e-5)
    # The true offset is 0.1 in x: L1 0.2 there, and 0.2 in the height.
    assert losses["bbox_regression"].item() == pytest.approx(0.4, rel=1e-5)


def test_retinanet_divides_by_the_objects_of_each_image():
    head = RetinaNetHead(8, 1, 1)
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    targets = [
        {"boxes": anchors, "labels": torch.tensor([0, 0])},
        {"boxes": anchors[:0], "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    matches = [torch.tensor([0, 1]), torch.tensor([-1, -1])]
    outputs = {"cls_logits": torch.zeros(2, 2, 1), "bbox_regression": torch.ones(2, 2, 4)}
    losses = head.compute_loss(targets, outputs, [anchors] * 2, matches)
    assert losses["classification"].item() == pytest.approx((focal(0.5, True) + 2 * focal(0.5, False)) / 2)
    assert losses["bbox_regression"].item() == pytest.approx((8 / 2 + 0) / 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("l1", 2.5),
        ("smooth_l1", 2.0 - 0.5 + 0.5 * 0.5**2),
        ("giou", 1 + 1 / 3),  # nothing shared; a third of the enclosing box is covered by neither
        ("diou", 1 + 20**2 / (30**2 + 10**2 + 1e-7)),
        ("ciou", 1 + 20**2 / (30**2 + 10**2 + 1e-7)),
    ],
)
def test_box_losses(kind, expected):
    """The box lies two widths beside the anchor; the offsets for the anchor itself leave all of it to be learnt."""
    anchor, box = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 0, 30, 10]])
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    if kind in ("l1", "smooth_l1"):
        offsets = torch.tensor([[0.0, 0.0, 0.5, 0.0]])  # 2 too few in x, 0.5 too much in the width
    else:
        offsets = torch.zeros(1, 4)
    assert box_loss(kind, coder, anchor, box, offsets).item() == pytest.approx(expected, rel=1e-4)


def test_unknown_box_loss():
    with pytest.raises(ValueError, match="'l3'; there are l1, smooth_l1, giou"):
        box_loss("l3", BoxCoder((1.0, 1.0, 1.0, 1.0)), torch.ones(1, 4), torch.ones(1, 4), torch.ones(1, 4))
