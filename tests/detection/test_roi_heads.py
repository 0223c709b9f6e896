"""The loss of the second stage, on small cases that were worked out by hand."""

import math

import pytest
import torch

from zoo_detection import fastrcnn_loss


def test_fast_rcnn():
    """Two regions: an object of class 1, and background. Uniform logits give log 3; the background has no box."""
    logits = torch.zeros(2, 3)
    offsets = torch.zeros(2, 12)
    offsets[0, 4:8] = torch.tensor([1.0, 0.0, 0.05, 0.0])  # class 1's
    offsets[:, 8:] = 100.0  # of no interest
    classes, boxes = fastrcnn_loss(logits, offsets, [torch.tensor([1, 0])], [torch.zeros(2, 4)])
    assert classes.item() == pytest.approx(math.log(3))
    # Smooth L1 with beta 1/9: |1| - 1/18, and 0.05**2 * 9 / 2; over two regions.
    assert boxes.item() == pytest.approx((1 - 1 / 18 + 0.05**2 * 4.5) / 2)


def test_fast_rcnn_without_objects():
    logits, offsets = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 12, requires_grad=True)
    classes, boxes = fastrcnn_loss(logits, offsets, [torch.tensor([0, 0])], [torch.full((2, 4), -torch.inf)])
    assert boxes.item() == 0
    (classes + boxes).backward()
    assert offsets.grad is None or (offsets.grad == 0).all()
