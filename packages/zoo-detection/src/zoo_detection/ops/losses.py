"""Losses for box regression and for classification with many easy negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.tracing import one_node
from zoo_detection.ops import _overlap
from zoo_detection.ops._checks import shape_of
from zoo_detection.precision import in_single_or_better


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "mean":
        # The mean over nothing is zero, with a gradient.
        return loss.mean() if loss.numel() > 0 else 0.0 * loss.sum()
    if reduction == "sum":
        return loss.sum()
    raise ValueError(f"unknown reduction {reduction!r}; expected 'none', 'mean' or 'sum'")


@one_node
def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """Focal loss, from `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`__.

    Args:
        inputs: logits, float tensor of any shape.
        targets: of the same shape and any dtype: 1 for the positive class, 0 for the negative one.
        alpha: weight in [0, 1] of the positive examples (the negative ones have ``1 - alpha``), or negative for no
            weights.
        gamma: exponent that makes easy examples count less, 0 or more.
        reduction: ``"none"``, ``"mean"`` (zero for no inputs) or ``"sum"``.

    Returns:
        The loss, of the shape of the inputs for ``"none"``, otherwise a scalar, with finite gradients for any finite
        logits. Half precision is computed in float32.

    Raises:
        ValueError: an alpha above 1, or an unknown reduction.
    """
    if alpha > 1:
        raise ValueError(f"alpha must be in [0, 1], or negative for no weights, but it is {alpha}")
    if not targets.is_floating_point():  # one_hot gives integers, and a comparison truth values
        targets = targets.to(inputs.dtype)
    dtype = inputs.dtype
    # Derivatives overflow in half precision.
    inputs, targets = in_single_or_better(inputs), in_single_or_better(targets)
    is_half = inputs.dtype != dtype
    p = torch.sigmoid(inputs)
    cross_entropy = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_target = p * targets + (1 - p) * (1 - targets)
    p_other = 1 - p_target
    if 0 < gamma < 1:  # the power's derivative at zero, where the easiest examples are, is infinite
        p_other = p_other.clamp_min(torch.finfo(p_other.dtype).tiny)
    loss = cross_entropy * p_other**gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    loss = _reduce(loss, reduction)
    return loss.to(dtype) if is_half and not torch.is_autocast_enabled(loss.device.type) else loss


def _pairs(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        if boxes.shape[-1] != 4:
            raise ValueError(f"{name} must have shape (N, 4), but the shape is {shape_of(boxes)}")
    return _overlap.upcast(boxes1), _overlap.upcast(boxes2)


@one_node
def generalized_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - GIoU`` of corresponding boxes, from `Generalized Intersection over Union
    <https://arxiv.org/abs/1902.09630>`__.

    Args:
        boxes1: Tensor[N, 4], ``x1, y1, x2, y2``.
        boxes2: Tensor[N, 4].
        reduction: ``"none"``, ``"mean"`` (zero for no boxes) or ``"sum"``.
        eps: keeps the quotients finite.

    Returns:
        Loss, Tensor[N], for ``"none"``, otherwise a scalar, with finite gradients for any finite boxes: a box without
        area (flat, a point, or with swapped corners) overlaps nothing. Half precision is computed in float32.

    Raises:
        ValueError: boxes of another shape, or an unknown reduction.
    """
    return _reduce(1 - _overlap.generalized(*_pairs(boxes1, boxes2), eps), reduction)


@one_node
def distance_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - DIoU`` of corresponding boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__.

    Args and returns as for :func:`generalized_box_iou_loss`.
    """
    return _reduce(1 - _overlap.distance(*_pairs(boxes1, boxes2), eps, eps), reduction)


@one_node
def complete_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """``1 - CIoU`` of corresponding boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__.

    Args and returns as for :func:`generalized_box_iou_loss`.
    """
    return _reduce(1 - _overlap.complete(*_pairs(boxes1, boxes2), eps, eps), reduction)
