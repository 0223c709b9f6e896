"""What all forms of the IoU and all losses of boxes have in common.

The functions take boxes (..., 4) that broadcast against each other, so that they serve pairs of corresponding boxes as
well as all pairs. What they give, and their gradients, is finite for all boxes whose coordinates and areas do not
overflow:

- a flat box, or one with swapped corners (``x2 < x1`` or ``y2 < y1``), has no area and overlaps nothing: its IoU is 0,
  even with itself;
- where even the enclosing box has no area, or no diagonal, nothing is subtracted for it;
- a box that is a point has no aspect ratio to differ in.
"""

import math
from typing import Any

import torch
from torch import Tensor


class _HalfToSingle(torch.autograd.Function):
    """Of gradients that float16 cannot hold, which those by the sides of narrow boxes are, the largest that it can."""

    generate_vmap_rule = True

    @staticmethod
    def forward(boxes: Tensor) -> Tensor:
        return boxes.float()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        most = torch.finfo(torch.float16).max
        return grad.clamp(-most, most).half()


def upcast(boxes: Tensor) -> Tensor:
    """To float32, float64 or int64, in which neither differences nor areas overflow."""
    if boxes.dtype == torch.float16 and boxes.requires_grad:
        return _HalfToSingle.apply(boxes)
    if boxes.is_floating_point():
        return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    return boxes.long()


def _least(dtype: torch.dtype) -> float:
    """Areas and squares below this are nothing (2**-100 in single precision): their inverses are close to overflow."""
    return torch.finfo(dtype).tiny ** 0.8


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """``a / b``, finite for any b that is not negative. Where b is nothing, a is too in all of our uses."""
    if not b.is_floating_point():
        return a / b.clamp(min=1)
    least = _least(b.dtype)
    if a.requires_grad or b.requires_grad:
        # What is divided by nothing has no gradient, instead of a gigantic one.
        a = torch.where(b > least, a, a.detach())
    return a / b.clamp(min=least)


def _sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Widths and heights, 0 for swapped corners."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0], sides[..., 1]


def inter_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of the intersection and of the union, each (...)."""
    # Coordinate by coordinate: of all pairs, operations over the many are several times as fast as over the two axes.
    (left1, top1, right1, bottom1), (left2, top2, right2, bottom2) = boxes1.unbind(-1), boxes2.unbind(-1)
    # Where a box has swapped corners, so has the intersection.
    width = (torch.minimum(right1, right2) - torch.maximum(left1, left2)).clamp(min=0)
    height = (torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2)).clamp(min=0)
    inter = width * height
    (width1, height1), (width2, height2) = _sides(boxes1), _sides(boxes2)
    return inter, width1 * height1 + width2 * height2 - inter


def _enclosing_sides(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Width and height of the smallest box around all corners, (..., 2)."""
    corners1, corners2 = (boxes.unflatten(-1, (2, 2)) for boxes in (boxes1, boxes2))
    low = torch.minimum(corners1.amin(-2), corners2.amin(-2))
    return torch.maximum(corners1.amax(-2), corners2.amax(-2)) - low


def iou(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    inter, union = inter_union(boxes1, boxes2)
    return _quotient(inter, union + eps if eps else union)


def generalized(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    inter, union = inter_union(boxes1, boxes2)
    sides = _enclosing_sides(boxes1, boxes2)
    enclosing = sides[..., 0] * sides[..., 1]
    return _quotient(inter, union + eps) - _quotient(enclosing - union, enclosing + eps)


def _distance_term(boxes1: Tensor, boxes2: Tensor, eps: float) -> Tensor:
    """Squared distance of the centres over the squared diagonal of the enclosing box."""
    diagonal = (_enclosing_sides(boxes1, boxes2) ** 2).sum(-1) + eps
    centres = [(boxes[..., :2] + boxes[..., 2:]) / 2 for boxes in (boxes1, boxes2)]
    return _quotient(((centres[0] - centres[1]) ** 2).sum(-1), diagonal)


def _angle(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The angle of the diagonal against the vertical, and whether there is one."""
    width, height = _sides(boxes)
    if not width.is_floating_point():
        width, height = width.float(), height.float()
    # Its derivative has the squared diagonal below it.
    exists = width * width + height * height > _least(width.dtype)
    return torch.atan2(width.where(exists, 0), height.where(exists, 1)), exists


def _aspect_term(boxes1: Tensor, boxes2: Tensor, overlap: Tensor, eps: float) -> Tensor:
    """The term for different aspect ratios. Its weight counts as a constant, as in the paper."""
    (angle1, exists1), (angle2, exists2) = _angle(boxes1), _angle(boxes2)
    v = (4 / math.pi**2) * ((angle1 - angle2) ** 2).where(exists1 & exists2, 0)
    with torch.no_grad():
        alpha = _quotient(v, (1 - overlap).clamp(min=0) + v + eps)
    return alpha * v


def distance(boxes1: Tensor, boxes2: Tensor, eps: float, iou_eps: float = 0.0) -> Tensor:
    return iou(boxes1, boxes2, iou_eps) - _distance_term(boxes1, boxes2, eps)


def complete(boxes1: Tensor, boxes2: Tensor, eps: float, iou_eps: float = 0.0) -> Tensor:
    overlap = iou(boxes1, boxes2, iou_eps)
    return overlap - _distance_term(boxes1, boxes2, eps) - _aspect_term(boxes1, boxes2, overlap, eps)
