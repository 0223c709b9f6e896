"""FCOS's targets and losses, on small cases that were worked out by hand."""

import math

import pytest
import torch
from torch import nn

from zoo_detection import FCOS, AnchorGenerator


def focal(probability, positive):
    """Equation 5 of the paper, alpha 0.25 and gamma 2."""
    if positive:
        return -0.25 * (1 - probability) ** 2 * math.log(probability)
    return -0.75 * probability**2 * math.log(1 - probability)


class Body(nn.Module):
    out_channels = 32


def fcos():
    return FCOS(Body(), 2, anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2))


def test_fcos_matching():
    """Places at (4, 4), (12, 4), ... with size 8, and one at (8, 8) with size 16."""
    anchors = torch.tensor([[0.0, 0, 8, 8], [8.0, 0, 16, 8], [40.0, 0, 48, 8], [0.0, 0, 16, 16]])
    large, small = [0.0, 0.0, 30.0, 16.0], [2.0, 2.0, 8.0, 8.0]
    matches = fcos().match_anchors(anchors, torch.tensor([large, small]), [3, 1])
    # Place 0 is in both: the smaller one wins. Place 1 is in the large one, 3 from its centre (15, 8) in x, 4 in y.
    # Place 2 is outside. The farthest side of the large one is 22 from place 3, less than four anchors.
    assert matches.tolist() == [1, 0, -1, -1]


def test_fcos_centre_sampling():
    """The place is in the object, but 13 from its centre: more than 1.5 sizes of 8."""
    anchors, box = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 16, 16]]), torch.tensor([[0.0, 0.0, 34.0, 16.0]])
    assert fcos().match_anchors(anchors, box, [1, 1]).tolist() == [-1, -1]


def test_fcos_levels():
    """Farthest sides up to 64 belong to anchors of size 8 (the finest level), greater ones to the coarsest."""
    anchors = torch.tensor([[46.0, 46, 54, 54], [42.0, 42, 58, 58]])
    near, far = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[-20.0, -20, 120, 120]])
    assert fcos().match_anchors(anchors, near, [1, 1]).tolist() == [0, -1]
    assert fcos().match_anchors(anchors, far, [1, 1]).tolist() == [-1, 0]


def test_fcos_loss():
    """One place with an object: distances 2, 4, 6, 4 from its sides, so a centreness of sqrt(2 / 6)."""
    anchors = torch.tensor([[0.0, 0, 8, 8], [40.0, 0, 48, 8]])
    target = {"boxes": torch.tensor([[2.0, 0, 10, 8]]), "labels": torch.tensor([1])}
    distances = torch.tensor([[[2.0, 4, 6, 4], [0.0, 0, 0, 0]]]) / 8
    outputs = {
        "cls_logits": torch.zeros(1, 2, 2),
        "bbox_regression": distances,
        "bbox_ctrness": torch.zeros(1, 2, 1),
    }
    losses = fcos().head.compute_loss([target], outputs, [anchors], [torch.tensor([0, -1])])
    assert losses["classification"].item() == pytest.approx(focal(0.5, True) + 3 * focal(0.5, False))
    assert losses["bbox_regression"].item() == pytest.approx(0, abs=1e-5)
    assert losses["bbox_ctrness"].item() == pytest.approx(math.log(2))
    outputs["bbox_ctrness"] = torch.full((1, 2, 1), math.sqrt(1 / 3)).logit()
    entropy = -(math.sqrt(1 / 3) * math.log(math.sqrt(1 / 3)) + (1 - math.sqrt(1 / 3)) * math.log(1 - math.sqrt(1 / 3)))
    losses = fcos().head.compute_loss([target], outputs, [anchors], [torch.tensor([0, -1])])
    assert losses["bbox_ctrness"].item() == pytest.approx(entropy, rel=1e-5)
