"""Losses for box regression and for classification with many easy negatives."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "mean":
        # The mean over nothing is zero, with a gradient.
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    if reduction == "sum":
        return loss.sum()
    raise ValueError(f"unknown reduction {reduction!r}; expected 'none', 'mean' or 'sum'")


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """Focal loss, from `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`__.

    Args:
        inputs: logits, float tensor of any shape.
        targets: of the same shape: 1 for the positive class, 0 for the negative one.
        alpha: weight in [0, 1] of the positive examples (the negative ones have ``1 - alpha``), or negative for no
            weights.
        gamma: exponent that makes easy examples count less.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        The loss, of the shape of the inputs for ``"none"``, otherwise a scalar.

    Raises:
        ValueError: an alpha above 1, or an unknown reduction.
    """
    if alpha > 1:
        raise ValueError(f"alpha must be in [0, 1], or negative for no weights, but it is {alpha}")
    p = torch.sigmoid(inputs)
    cross_entropy = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_target = p * targets + (1 - p) * (1 - targets)
    loss = cross_entropy * (1 - p_target) ** gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    if reduction == "mean":
        return loss.mean()
    return _reduce(loss, reduction)


def _upcast(boxes: Tensor) -> Tensor:
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def _inter_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union of corresponding boxes, each of shape (...)."""
    sides = torch.minimum(boxes1[..., 2:], boxes2[..., 2:]) - torch.maximum(boxes1[..., :2], boxes2[..., :2])
    inter = sides.clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes1, boxes2)]
    return inter, areas[0] + areas[1] - inter


def _enclosing_sides(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    return torch.maximum(boxes1[..., 2:], boxes2[..., 2:]) - torch.minimum(boxes1[..., :2], boxes2[..., :2])


def generalized_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - GIoU`` of corresponding boxes, from `Generalized Intersection over Union
    <https://arxiv.org/abs/1902.09630>`__.

    Args:
        boxes1: tensor of shape (N, 4), ``x1, y1, x2, y2``.
        boxes2: tensor of shape (N, 4).
        reduction: ``"none"``, ``"mean"`` (zero for no boxes) or ``"sum"``.
        eps: keeps the quotients finite.

    Returns:
        Loss of shape (N,) for ``"none"``, otherwise a scalar. Half precision is computed in float32.
    """
    boxes1, boxes2 = _upcast(boxes1), _upcast(boxes2)
    inter, union = _inter_union(boxes1, boxes2)
    enclosing = _enclosing_sides(boxes1, boxes2).prod(-1)
    giou = inter / (union + eps) - (enclosing - union) / (enclosing + eps)
    return _reduce(1 - giou, reduction)


def _distance_iou_loss(boxes1: Tensor, boxes2: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The loss, and the IoU."""
    inter, union = _inter_union(boxes1, boxes2)
    iou = inter / (union + eps)
    diagonal = (_enclosing_sides(boxes1, boxes2) ** 2).sum(-1) + eps
    centres = [(b[..., :2] + b[..., 2:]) / 2 for b in (boxes1, boxes2)]
    distance = ((centres[0] - centres[1]) ** 2).sum(-1)
    return 1 - iou + distance / diagonal, iou


def distance_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - DIoU`` of corresponding boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__.

    Args and returns as for :func:`generalized_box_iou_loss`.
    """
    loss, _ = _distance_iou_loss(_upcast(boxes1), _upcast(boxes2), eps)
    return _reduce(loss, reduction)


def complete_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - CIoU`` of corresponding boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__.

    Args and returns as for :func:`generalized_box_iou_loss`.
    """
    boxes1, boxes2 = _upcast(boxes1), _upcast(boxes2)
    loss, iou = _distance_iou_loss(boxes1, boxes2, eps)
    angles = [torch.atan((b[..., 2] - b[..., 0]) / (b[..., 3] - b[..., 1])) for b in (boxes1, boxes2)]
    v = (4 / math.pi**2) * (angles[1] - angles[0]) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return _reduce(loss + alpha * v, reduction)
