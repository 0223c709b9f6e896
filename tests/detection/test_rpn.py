"""Targets and loss of region proposals, on small cases that were worked out by hand."""

import math

import pytest
import torch

from zoo_detection import AnchorGenerator, RegionProposalNetwork, RPNHead


def rpn():
    return RegionProposalNetwork(
        AnchorGenerator(((8,),), ((1.0,),)),
        RPNHead(4, 1),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=4,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 10, "testing": 10},
        post_nms_top_n={"training": 10, "testing": 10},
        nms_thresh=0.7,
    )


def test_region_proposal_targets():
    """The first anchor is the object, the second overlaps it by half of itself (IoU 1/3), the third not at all."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    labels, boxes = rpn().assign_targets_to_anchors(
        [anchors, anchors], [{"boxes": anchors[:1]}, {"boxes": anchors[:0]}]
    )
    assert labels[0].tolist() == [1, -1, 0]
    assert boxes[0][0].tolist() == [0, 0, 10, 10]
    assert labels[1].tolist() == [0, 0, 0]


def test_region_proposal_loss():
    """All four anchors are sampled: one object, three background. Logits of 0 give log 2 each."""
    network = rpn()
    deltas = torch.zeros(1, 4, 4)
    deltas[0, 0] = torch.tensor([0.0, 2.0, 0.0, 0.0])
    objectness, box = network.compute_loss(
        torch.zeros(1, 4), deltas, [torch.tensor([1.0, 0, 0, 0])], [torch.zeros(4, 4)]
    )
    assert objectness.item() == pytest.approx(math.log(2))
    assert box.item() == pytest.approx((2 - 1 / 18) / 4)


def test_region_proposal_loss_leaves_out_what_is_neither():
    logits = torch.tensor([[0.0, 50.0, 0.0, -50.0]])
    labels = [torch.tensor([1.0, -1.0, 0.0, -1.0])]
    objectness, _ = rpn().compute_loss(logits, torch.zeros(1, 4, 4), labels, [torch.zeros(4, 4)])
    assert objectness.item() == pytest.approx(math.log(2))
