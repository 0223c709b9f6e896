"""Keypoints between heatmaps and images, and their loss, on small cases that were worked out by hand."""

import math

import pytest
import torch

from zoo_detection.keypoints import heatmaps_to_keypoints, keypointrcnn_loss, keypoints_to_heatmap


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_loss_without_a_visible_keypoint_is_zero(dtype):
    """Also of logits whose sum overflows in half precision."""
    logits = torch.full((1, 2, 56, 56), 100.0, dtype=dtype, requires_grad=True)
    for box in ([3.0, 3, 3, 3], [0.0, 0, 8, 8]):
        loss = keypointrcnn_loss(
            logits, [torch.tensor([box], dtype=dtype)], [torch.zeros(1, 2, 3)], [torch.tensor([0])]
        )
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.equal(gradient, torch.zeros_like(logits))


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
