"""SSD's loss, on small cases that were worked out by hand."""

import math

import pytest
import torch
from torch import nn

from zoo_detection import SSD, DefaultBoxGenerator


class Body(nn.Module):
    out_channels = 32


def ssd():
    body = Body()
    body.out_channels = [32]
    return SSD(body, DefaultBoxGenerator([[]], scales=[0.5, 0.5]), (100, 100), 2, positive_fraction=0.25)


def test_ssd_mines_hard_negatives():
    """One object and five background boxes: the three of these with the greatest losses count."""
    model = ssd()
    anchors = torch.tensor([[0.0, 0, 10, 10]] + [[50.0, 50, 60, 60]] * 5)
    target = {"boxes": anchors[:1], "labels": torch.tensor([1])}
    probability = torch.tensor([0.7, 0.1, 0.5, 0.2, 0.4, 0.3])  # of the object's class
    logits = torch.stack(((1 - probability).log(), probability.log()), 1)[None]
    offsets = torch.zeros(1, 6, 4)
    offsets[0, 0, 0] = 3.0
    losses = model.compute_loss([target], {"cls_logits": logits, "bbox_regression": offsets}, [anchors])
    expected = -sum(math.log(p) for p in (0.7, 0.5, 0.6, 0.7))
    assert losses["classification"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["bbox_regression"].item() == pytest.approx(2.5)


def test_ssd_learns_from_an_image_without_objects():
    """It counts as an image with one matched box: its three hardest background boxes, over a count of one."""
    anchors = torch.tensor([[50.0, 50, 60, 60]] * 5)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    probability = torch.tensor([0.1, 0.5, 0.2, 0.4, 0.3])  # of the object's class
    logits = torch.stack(((1 - probability).log(), probability.log()), 1)[None].requires_grad_()
    losses = ssd().compute_loss([nothing], {"cls_logits": logits, "bbox_regression": torch.zeros(1, 5, 4)}, [anchors])
    assert losses["classification"].item() == pytest.approx(-sum(math.log(1 - p) for p in (0.5, 0.4, 0.3)), rel=1e-5)
    assert losses["bbox_regression"].item() == 0
    losses["classification"].backward()
    # A step against the gradient makes the background of these three more likely, and leaves the others.
    pushed = [1, 3, 4]
    assert (logits.grad[0, pushed, 0] < 0).all()
    assert (logits.grad[0, pushed, 1] > 0).all()
    assert logits.grad[0, [0, 2]].abs().max() == 0


def test_ssd_counts_an_image_without_objects_beside_others():
    anchors = torch.tensor([[0.0, 0, 10, 10]] + [[50.0, 50, 60, 60]] * 5)
    targets = [
        {"boxes": anchors[:1], "labels": torch.tensor([1])},
        {"boxes": anchors[:0], "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    outputs = {"cls_logits": torch.zeros(2, 6, 2), "bbox_regression": torch.zeros(2, 6, 4)}
    losses = ssd().compute_loss(targets, outputs, [anchors] * 2)
    assert losses["classification"].item() == pytest.approx((4 + 3) * math.log(2) / 2)
    with_objects = ssd().compute_loss(targets[:1] * 2, outputs, [anchors] * 2)
    assert with_objects["classification"].item() == pytest.approx(4 * math.log(2))  # the published one
