"""Each loss, and what it is computed from, on small cases that were worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo_detection import (
    FCOS,
    SSD,
    AnchorGenerator,
    DefaultBoxGenerator,
    RegionProposalNetwork,
    RPNHead,
    box_iou,
    fastrcnn_loss,
)
from zoo_detection.box_coding import BoxCoder
from zoo_detection.keypoints import heatmaps_to_keypoints, keypointrcnn_loss, keypoints_to_heatmap
from zoo_detection.masks import maskrcnn_loss, paste_masks_in_image, project_masks_on_boxes
from zoo_detection.matching import Matcher
from zoo_detection.retinanet import RetinaNetHead, box_loss


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


def test_masks_in_boxes():
    """A mask of the left half of the image, looked at in a box whose left three quarters it covers."""
    mask = torch.zeros(1, 20, 20, dtype=torch.uint8)
    mask[0, :, :10] = 1
    seen = project_masks_on_boxes(mask, torch.tensor([[4.0, 0, 12, 8]]), torch.tensor([0]), 4)
    assert seen.shape == (1, 4, 4)
    assert torch.equal(seen[0, 0].round(), torch.tensor([1.0, 1, 1, 0]))


def test_mask_loss():
    """The mask of the true class counts: logits of 0 there give log 2, whatever the other class says."""
    mask = torch.ones(1, 20, 20, dtype=torch.uint8)
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = -100
    arguments = [torch.tensor([[4.0, 4, 12, 12]])], [mask], [torch.tensor([1])], [torch.tensor([0])]
    assert maskrcnn_loss(logits, *arguments).item() == pytest.approx(math.log(2))
    logits[:, 1] = 100
    assert maskrcnn_loss(logits, *arguments).item() == pytest.approx(0)


def test_mask_loss_without_regions():
    logits = torch.zeros(0, 2, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = maskrcnn_loss(logits, [torch.zeros(0, 4)], [torch.zeros(0, 20, 20)], [none], [none])
    assert loss.item() == 0
    loss.backward()


def test_pasting_masks_interpolates_in_the_box():
    """Against torch's own interpolation, box by box; outside is nothing. Boxes reach over the image's borders."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 1, 28, 28, generator=generator)
    boxes = torch.tensor(
        [[10.2, 5.7, 40.9, 30.1], [-20.5, -8.3, 12.0, 60.0], [55.0, 40.0, 90.0, 80.0], [3, 3, 3.2, 3.1], [0, 0, 64, 48]]
    )
    pasted = paste_masks_in_image(masks, boxes, (48, 64))
    assert pasted.shape == (5, 1, 48, 64)
    for mask, box, ours in zip(masks, boxes, pasted, strict=True):
        expected = torch.zeros(48, 64)
        half = (box[2:] - box[:2]) / 2 * 30 / 28
        centre = (box[2:] + box[:2]) / 2
        (x1, y1), (x2, y2) = (centre - half).long().tolist(), (centre + half).long().tolist()
        size = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        enlarged = F.interpolate(F.pad(mask, (1, 1, 1, 1))[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        for y in range(max(y1, 0), min(y1 + size[0], 48)):
            for x in range(max(x1, 0), min(x1 + size[1], 64)):
                expected[y, x] = enlarged[y - y1, x - x1]
        torch.testing.assert_close(ours[0], expected, rtol=1e-4, atol=1e-5)


def test_keypoints_in_heatmaps():
    """A box of 20x40 pixels, a heatmap of 4x4 cells of 5x10 pixels."""
    box = torch.tensor([[10.0, 10, 30, 50]])
    points = torch.tensor([[[10.0, 10, 1], [29.9, 49.9, 2], [30, 50, 1], [17, 35, 0], [9, 20, 1], [31, 20, 1]]])
    places, valid = keypoints_to_heatmap(points, box, 4)
    assert valid.tolist() == [[True, True, True, False, False, False]]
    assert places.tolist() == [[0, 15, 15, 0, 0, 0]]


def test_keypoint_loss():
    """A visible keypoint among 16 equal places gives log 16; an invisible one nothing."""
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    points = torch.tensor([[[12.0, 12, 1], [20, 20, 0]]])
    box = torch.tensor([[10.0, 10, 30, 50]])
    assert keypointrcnn_loss(logits, [box], [points], [torch.tensor([0])]).item() == pytest.approx(math.log(16))
    invisible = points * torch.tensor([1.0, 1.0, 0.0])
    loss = keypointrcnn_loss(logits, [box], [invisible], [torch.tensor([0])])
    assert loss.item() == 0
    loss.backward()
    with pytest.raises(ValueError, match="square, not 4x5"):
        keypointrcnn_loss(torch.zeros(1, 2, 4, 5), [box], [points], [torch.tensor([0])])


def test_peaks_of_heatmaps():
    """The cell (2, 1) of a 4x4 heatmap over a box of 40x80 pixels at (100, 200): its middle is at (125, 230)."""
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 2] = 5.0
    maps[0, 1, 3, 0] = 7.0
    points, scores = heatmaps_to_keypoints(maps, torch.tensor([[100.0, 200, 140, 280]]))
    assert (points[0, 0, :2] - torch.tensor([125.0, 230.0])).abs().max() <= 0.5
    assert points[0, 1, 0] < 110
    assert points[0, 1, 1] > 260
    assert points[..., 2].eq(1).all()
    assert scores[0, 0].item() == pytest.approx(5, rel=0.02)
    assert heatmaps_to_keypoints(maps[:0], torch.zeros(0, 4))[0].shape == (0, 2, 3)


def test_matching_uses_the_iou():
    """The quality that the matchers are given here is box_iou's: a third for two squares that share half."""
    quality = box_iou(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]]))
    assert quality.item() == pytest.approx(1 / 3)
