"""Losses against values worked out by hand, and their gradients against finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zoo_detection.ops import (
    complete_box_iou,
    complete_box_iou_loss,
    distance_box_iou,
    distance_box_iou_loss,
    generalized_box_iou,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

PAIRS = [
    (generalized_box_iou_loss, generalized_box_iou),
    (distance_box_iou_loss, distance_box_iou),
    (complete_box_iou_loss, complete_box_iou),
]


def random_boxes(count: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g, dtype=torch.float64) * 10
    return torch.cat((corner, corner + 1 + 10 * torch.rand(count, 2, generator=g, dtype=torch.float64)), 1)


@pytest.mark.parametrize(("loss", "overlap"), PAIRS)
def test_box_losses_are_one_less_the_overlap(loss: Callable[..., Tensor], overlap: Callable[..., Tensor]) -> None:
    a, b = random_boxes(20, 0), random_boxes(20, 1)
    expected = 1 - overlap(a, b).diagonal()
    torch.testing.assert_close(loss(a, b), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss(a, b, reduction="sum"), expected.sum(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss(a, b, reduction="mean"), expected.mean(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss(a, a), torch.zeros(20, dtype=torch.float64), rtol=0, atol=1e-5)
    assert loss(a.half(), b.half()).dtype == torch.float32
    with pytest.raises(ValueError, match="unknown reduction 'xyz'"):
        loss(a, b, reduction="xyz")


@pytest.mark.parametrize(("loss", "overlap"), PAIRS)
def test_box_losses_of_nothing_and_of_empty_boxes(loss: Callable[..., Tensor], overlap: Callable[..., Tensor]) -> None:
    nothing = torch.zeros(0, 4, requires_grad=True)
    mean = loss(nothing, torch.zeros(0, 4), reduction="mean")
    assert mean.item() == 0
    mean.backward()
    boxes = torch.tensor([[1.0, 1, 1, 3]], requires_grad=True)  # no width
    value = loss(boxes, torch.tensor([[0.0, 0, 2, 2]]), reduction="sum")
    value.backward()
    assert value.isfinite()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


@pytest.mark.parametrize("loss", [generalized_box_iou_loss, distance_box_iou_loss])
def test_box_loss_gradients(loss: Callable[..., Tensor]) -> None:
    a, b = random_boxes(6, 2).requires_grad_(), random_boxes(6, 3)
    assert torch.autograd.gradcheck(lambda x: loss(x, b), a)


def test_complete_loss_treats_its_weight_as_constant() -> None:
    """As the paper: alpha has no gradient."""
    a, b = random_boxes(1, 2).requires_grad_(), random_boxes(1, 3)
    (got,) = torch.autograd.grad(complete_box_iou_loss(a, b).sum(), a)
    with torch.no_grad():
        angles = [torch.atan((x[:, 2] - x[:, 0]) / (x[:, 3] - x[:, 1])) for x in (a, b)]
        v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
        iou = 1 - (distance_box_iou_loss(a, b) - _distance_term(a, b))
        alpha = v / (1 - iou + v)
    angle = torch.atan((a[:, 2] - a[:, 0]) / (a[:, 3] - a[:, 1]))
    loss = distance_box_iou_loss(a, b) + alpha * 4 / math.pi**2 * (angle - angles[1]) ** 2
    (expected,) = torch.autograd.grad(loss.sum(), a)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def _distance_term(a: Tensor, b: Tensor) -> Tensor:
    centres = [(x[:, :2] + x[:, 2:]) / 2 for x in (a, b)]
    diagonal = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    return ((centres[0] - centres[1]) ** 2).sum(1) / (diagonal**2).sum(1)


def focal(logit: float, target: float, alpha: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    p_target = p if target == 1 else 1 - p
    weight = 1.0 if alpha < 0 else (alpha if target == 1 else 1 - alpha)
    return -weight * (1 - p_target) ** gamma * math.log(p_target)


@pytest.mark.parametrize("alpha", [-1, 0.25, 0.75, 1])
@pytest.mark.parametrize("gamma", [0, 1.5, 2])
def test_focal_loss(alpha: float, gamma: float) -> None:
    logits = torch.tensor([[-3.0, 0.1, 2.0], [5.0, -0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0.0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    expected = torch.tensor(
        [
            [focal(x, t, alpha, gamma) for x, t in zip(*row, strict=True)]
            for row in zip(logits.tolist(), targets.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha, gamma), expected)
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha, gamma, "sum"), expected.sum())
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha, gamma, "mean"), expected.mean())
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, targets, alpha, gamma), logits)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float64])
def test_focal_loss_takes_targets_of_any_dtype(dtype: torch.dtype) -> None:
    logits, targets = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 0.0, 1.0])
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, targets.to(dtype)), sigmoid_focal_loss(logits, targets), check_dtype=False
    )


def test_focal_loss_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0.0, 1, 1, 0]))
    assert torch.equal(loss[:2], torch.zeros(2))
    assert loss.isfinite().all()
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0, 0.1, 0.5, 1, 2, 3])
def test_gradients_of_the_focal_loss_are_finite(gamma: float, dtype: torch.dtype) -> None:
    """Those of the easiest examples are zero, and those of the hardest the weight of their class."""
    sizes = torch.tensor([20, 100, 8000, 65000], dtype=dtype)
    logits = torch.cat((sizes, -sizes)).requires_grad_()
    for positive, hard in ((0.0, sizes), (1.0, -sizes)):
        loss = sigmoid_focal_loss(logits, torch.full_like(logits, positive), 0.25, gamma)
        assert loss.dtype == dtype
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        weight = 0.25 if positive else 0.75
        easy_part, hard_part = (gradient[:4], gradient[4:]) if positive else (gradient[4:], gradient[:4])
        assert easy_part.abs().max() < 1e-6
        torch.testing.assert_close(hard_part.abs(), torch.full_like(hard, weight), rtol=1e-2, atol=0)
        torch.testing.assert_close(loss[:4] if not positive else loss[4:], weight * sizes, rtol=1e-2, atol=0)


def test_focal_loss_of_nothing_is_zero() -> None:
    logits = torch.zeros(0, requires_grad=True)
    for reduction in ("mean", "sum"):
        loss = sigmoid_focal_loss(logits, torch.zeros(0), reduction=reduction)
        assert loss.item() == 0
        assert loss.requires_grad


def test_focal_loss_errors() -> None:
    logits = torch.zeros(3)
    with pytest.raises(ValueError, match="unknown reduction"):
        sigmoid_focal_loss(logits, logits, reduction="average")
    with pytest.raises(ValueError, match="alpha must be in"):
        sigmoid_focal_loss(logits, logits, alpha=1.1)
