"""Boxes: non-maximum suppression, areas, overlaps and conversions.

Unless said otherwise boxes are ``(x1, y1, x2, y2)`` in pixels with ``x1 <= x2`` and ``y1 <= y2``:
Tensor[N, 4].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo_core.tracing import one_node
from zoo_detection.ops import _library, _overlap  # noqa: F401  (_library defines torch.ops.zoo)
from zoo_detection.ops._checks import require, require_floating, require_same_device, shape_of


def _check_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), but their shape is {shape_of(boxes)}")
    if scores.dim() != 1:
        raise ValueError(f"scores must have shape (N,), but their shape is {shape_of(scores)}")
    require(
        scores.shape[0] == boxes.shape[0],
        lambda: f"there must be one score per box, but there are {scores.shape[0]} scores and {boxes.shape[0]} boxes",
    )
    require_floating("boxes", boxes)
    require_floating("scores", scores)
    if boxes.dtype != scores.dtype and not torch.is_autocast_enabled(boxes.device.type):
        raise TypeError(
            f"boxes and scores must have the same dtype, but they are {boxes.dtype} and {scores.dtype}; convert one"
        )
    require_same_device("boxes", boxes, "scores", scores)
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be between 0 and 1, but it is {iou_threshold}")


def _from_quantized(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Quantized boxes or scores as the integers that they are: neither an IoU nor an order depends on scale and offset.

    float64 holds them, and areas of them, exactly.
    """
    if not any(tensor.is_quantized for tensor in tensors):
        return tensors
    for tensor in tensors:
        if tensor.is_quantized and tensor.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            raise TypeError(f"boxes and scores must be quantized per tensor, but one is {tensor.qscheme()}")
    return tuple((tensor.int_repr() if tensor.is_quantized else tensor).double() for tensor in tensors)


@one_node
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: drops each box that overlaps a box of higher score too much.

    Goes through the boxes by decreasing score and keeps a box unless its intersection over union with one that was kept
    is greater than ``iou_threshold``. The second box below covers 90 of the 110 pixels that it and the first cover:

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    >>> nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5)
    tensor([0, 2])

    The time grows a little faster than the number of boxes. Its bound is all pairs, to which many boxes in one place
    come near at a threshold close to 1, where nearly all of them stay; at 1 nothing is dropped, and no pair looked at.

    Args:
        boxes: float Tensor[N, 4], any floating dtype; half precision is computed in float32. A box that is
            empty (``x2 <= x1`` or ``y2 <= y1``), has a NaN coordinate, or an infinite area overlaps nothing and is
            kept. Quantized per tensor, they are compared exactly.
        scores: Tensor[N], of the dtype of the boxes. Equal scores go by index; NaN is above every number, as
            in :func:`torch.sort`.
        iou_threshold: in [0, 1].

    Returns:
        int64 tensor: the indices of the boxes that stay, by decreasing score. Equal on every device.

    Raises:
        ValueError: a wrong shape or threshold, or tensors on different devices.
        TypeError: a dtype that is not floating, or two different ones.
    """
    boxes, scores = _from_quantized(boxes, scores)
    _check_nms(boxes, scores, iou_threshold)
    return torch.ops.zoo.nms(boxes, scores, iou_threshold)


@one_node
def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression in each category by itself.

    The result is what :func:`nms` gives for each category alone, whatever the coordinates are: boxes are not shifted
    apart, a common trick that rounds them.

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    >>> batched_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 2, 1]), iou_threshold=0.5)
    tensor([0, 1, 2])

    Args:
        boxes: float Tensor[N, 4], as for :func:`nms`.
        scores: Tensor[N].
        idxs: integer or float Tensor[N]: the category of each box. Boxes of different categories do not
            suppress each other. NaN is a category by itself.
        iou_threshold: in [0, 1].

    Returns:
        int64 tensor: the indices of the boxes that stay, by decreasing score over all categories.

    Raises:
        ValueError: a wrong shape or threshold, or tensors on different devices.
        TypeError: a wrong dtype.
    """
    boxes, scores = _from_quantized(boxes, scores)
    _check_nms(boxes, scores, iou_threshold)
    if not isinstance(idxs, Tensor):
        raise TypeError(f"idxs must be a Tensor[N], not {type(idxs).__name__}; make one with torch.tensor(idxs)")
    if idxs.dim() != 1:
        raise ValueError(f"idxs must have shape (N,), but their shape is {shape_of(idxs)}")
    require(
        idxs.shape[0] == boxes.shape[0],
        lambda: f"there must be one category per box, but there are {idxs.shape[0]} idxs and {boxes.shape[0]} boxes",
    )
    if idxs.is_complex() or idxs.is_quantized:
        raise TypeError(f"idxs must be integers, or floating, but their dtype is {idxs.dtype}")
    require_same_device("boxes", boxes, "idxs", idxs)
    idxs = _ranks(idxs) if idxs.is_floating_point() else idxs.long()
    return torch.ops.zoo.batched_nms(boxes, scores, idxs, iou_threshold)


def _ranks(values: Tensor) -> Tensor:
    """Equal numbers for equal values and different ones for different values: int64, as values."""
    ordered, order = values.sort()
    first = torch.ones_like(order)
    first[1:] = (ordered[1:] != ordered[:-1]).long()
    return torch.empty_like(order).scatter_(0, order, first.cumsum(0))


@one_node
def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """The indices of the boxes whose sides are both at least ``min_size``.

    Args:
        boxes: Tensor[N, 4].
        min_size: in pixels.

    Returns:
        int64 tensor of the indices, ascending.
    """
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return torch.where((widths >= min_size) & (heights >= min_size))[0]


@one_node
def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Moves what lies outside of an image to its border.

    Args:
        boxes: Tensor[..., 4].
        size: height and width of the image.

    Returns:
        Boxes of the same shape and dtype, with x in [0, width] and y in [0, height].
    """
    height, width = size
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack((x, y), -1).flatten(-2)


# Conversions. Every format is turned into xyxy, or, if it has an angle, into cxcywhr, and from there into any other.


def _xywh_to_xyxy(boxes: Tensor) -> Tensor:
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x, y, x + w, y + h), -1)


def _cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h), -1)


def _xyxy_to_xywh(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1, y1, x2 - x1, y2 - y1), -1)


def _xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def _turned(dx: Tensor, dy: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """The vector (dx, dy), turned counter-clockwise as seen in an image, whose y axis points down."""
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    return dx * cos + dy * sin, dy * cos - dx * sin


def _cxcywhr_to_xywhr(boxes: Tensor) -> Tensor:
    x, y, w, h, r = boxes.unbind(-1)
    dx, dy = _turned(-w / 2, -h / 2, r)
    return torch.stack((x + dx, y + dy, w, h, r), -1)


def _xywhr_to_cxcywhr(boxes: Tensor) -> Tensor:
    x, y, w, h, r = boxes.unbind(-1)
    dx, dy = _turned(w / 2, h / 2, r)
    return torch.stack((x + dx, y + dy, w, h, r), -1)


def _cxcywhr_to_corners(boxes: Tensor) -> Tensor:
    x, y, w, h, r = boxes.unbind(-1)
    corners = []
    for sign_x, sign_y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        dx, dy = _turned(sign_x * w / 2, sign_y * h / 2, r)
        corners += [x + dx, y + dy]
    return torch.stack(corners, -1)


def _corners_to_cxcywhr(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2, x3, y3, x4, y4 = boxes.unbind(-1)
    return torch.stack(
        (
            (x1 + x3) / 2,
            (y1 + y3) / 2,
            torch.hypot(x2 - x1, y2 - y1),
            torch.hypot(x4 - x1, y4 - y1),
            torch.rad2deg(torch.atan2(y1 - y2, x2 - x1)),
        ),
        -1,
    )


def _same(boxes: Tensor) -> Tensor:
    return boxes


_UPRIGHT: dict[str, tuple[int, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "xyxy": (4, _same, _same),
    "xywh": (4, _xywh_to_xyxy, _xyxy_to_xywh),
    "cxcywh": (4, _cxcywh_to_xyxy, _xyxy_to_cxcywh),
}
_ROTATED: dict[str, tuple[int, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "cxcywhr": (5, _same, _same),
    "xywhr": (5, _xywhr_to_cxcywhr, _cxcywhr_to_xywhr),
    "xyxyxyxy": (8, _corners_to_cxcywhr, _cxcywhr_to_corners),
}


@one_node
def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Converts boxes from one format to another.

    ========== ======================================================================
    xyxy       left, top, right and bottom
    xywh       left and top, width, height
    cxcywh     centre, width, height
    xywhr      corner, width, height, and rotation about that corner in degrees
    cxcywhr    centre, width, height, rotation about the centre in degrees
    xyxyxyxy   the four corners, beginning at the top left one of the unrotated box
    ========== ======================================================================

    A box 4 wide and 2 high around (4, 4), and the same stood upright, by a quarter turn counter-clockwise: what was its
    top left corner is at the bottom left.

    >>> box_convert(torch.tensor([[4.0, 4, 4, 2]]), "cxcywh", "xyxy")
    tensor([[2., 3., 6., 5.]])
    >>> box_convert(torch.tensor([[4.0, 4, 4, 2, 90]]), "cxcywhr", "xyxyxyxy").round()
    tensor([[3., 6., 3., 2., 5., 2., 5., 6.]])

    Args:
        boxes: Tensor[..., 4], Tensor[..., 5] or Tensor[..., 8], as ``in_fmt`` says. Rotated boxes must be floating.
        in_fmt: the format that they have.
        out_fmt: the format to give them, both with a rotation or both without.

    Returns:
        A new tensor in the other format; integers become floating where a side is halved. Rotations are
        counter-clockwise as seen in the image.

    Raises:
        ValueError: an unknown format, formats that cannot be converted to each other, or a wrong last dimension.
    """
    for formats in (_UPRIGHT, _ROTATED):
        if in_fmt not in formats or out_fmt not in formats:
            continue
        width, to_base, _ = formats[in_fmt]
        if boxes.shape[-1] != width:
            raise ValueError(f"{in_fmt} boxes have a last dimension of {width}, but the shape is {shape_of(boxes)}")
        if in_fmt == out_fmt:
            return boxes.clone()
        if formats is _ROTATED:
            require_floating("rotated boxes", boxes)
        return formats[out_fmt][2](to_base(boxes))
    known = (*_UPRIGHT, *_ROTATED)
    for fmt in (in_fmt, out_fmt):
        if fmt not in known:
            raise ValueError(f"unknown box format {fmt!r}; expected one of {', '.join(known)}")
    raise ValueError(f"{in_fmt} cannot be converted to {out_fmt}: one of them has a rotation and the other has none")


def _upcast(boxes: Tensor) -> Tensor:
    """To a dtype in which areas do not overflow."""
    if boxes.is_floating_point():
        return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    return boxes if boxes.dtype in (torch.int32, torch.int64) else boxes.int()


def _upright(name: str, boxes: Tensor, fmt: str) -> Tensor:
    if fmt not in _UPRIGHT:
        raise ValueError(f"unknown box format {fmt!r}; expected one of {', '.join(_UPRIGHT)}")
    if boxes.shape[-1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), but the shape is {shape_of(boxes)}")
    return boxes if fmt == "xyxy" else box_convert(boxes, fmt, "xyxy")


@one_node
def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """Areas of boxes.

    Args:
        boxes: Tensor[..., 4].
        fmt: ``"xyxy"``, ``"xywh"`` or ``"cxcywh"``, see :func:`box_convert`.

    Returns:
        Tensor[...]. Half precision is computed, and returned, in float32, and small integers in int32.
    """
    boxes = _upcast(boxes)
    if fmt in ("xywh", "cxcywh"):
        return boxes[..., 2] * boxes[..., 3]
    boxes = _upright("boxes", boxes, fmt)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _pairs(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Upcast, and so that each broadcasts against each."""
    return _overlap.upcast(boxes1)[..., :, None, :], _overlap.upcast(boxes2)[..., None, :, :]


@one_node
def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of each pair of boxes.

    Two squares of 4x4 pixels with 2x2 in common cover 28 together, and 4 / 28 = 0.14:

    >>> box_iou(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 2, 6, 6], [5, 5, 9, 9]]))
    tensor([[0.1429, 0.0000]])

    Args:
        boxes1: Tensor[N, 4].
        boxes2: Tensor[M, 4].
        fmt: format of both, see :func:`box_convert`: ``"xyxy"``, ``"xywh"`` or ``"cxcywh"``.

    Returns:
        Tensor[N, M], values in [0, 1]. A box without area (flat, a point, or with swapped corners) overlaps
        nothing: 0, with itself too. Half precision is computed, and returned, in float32.
    """
    return _overlap.iou(*_pairs(_upright("boxes1", boxes1, fmt), _upright("boxes2", boxes2, fmt)))


@one_node
def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalized IoU of each pair of boxes, from `Generalized Intersection over Union
    <https://arxiv.org/abs/1902.09630>`__: IoU less the share of the enclosing box that neither of the two covers.

    Two squares of 4x4 pixels with 2x2 in common leave 8 of the 36 pixels around them: 4 / 28 - 8 / 36 = -0.08. Boxes
    that do not overlap get less the farther apart they are:

    >>> generalized_box_iou(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 2, 6, 6], [5, 5, 9, 9]]))
    tensor([[-0.0794, -0.6049]])

    Args:
        boxes1: Tensor[N, 4].
        boxes2: Tensor[M, 4].

    Returns:
        Tensor[N, M], values in [-1, 1]; 0 where the enclosing box has no area. A box without area as for
        :func:`box_iou`.
    """
    return _overlap.generalized(*_pairs(_upright("boxes1", boxes1, "xyxy"), _upright("boxes2", boxes2, "xyxy")))


@one_node
def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Distance IoU of each pair of boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__: IoU less the
    squared distance of the centres over the squared diagonal of the enclosing box.

    Two squares of 4x4 pixels with 2x2 in common: 4 / 28 - (2**2 + 2**2) / (6**2 + 6**2) = 0.03.

    >>> distance_box_iou(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 2, 6, 6]]))
    tensor([[0.0317]])

    Args:
        boxes1: Tensor[N, 4].
        boxes2: Tensor[M, 4].
        eps: is added to the squared diagonal.

    Returns:
        Tensor[N, M]. A box without area has an IoU of 0, as for :func:`box_iou`; its centre counts.
    """
    return _overlap.distance(*_pairs(_upright("boxes1", boxes1, "xyxy"), _upright("boxes2", boxes2, "xyxy")), eps)


@one_node
def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Complete IoU of each pair of boxes, from `Distance-IoU Loss <https://arxiv.org/abs/1911.08287>`__: distance IoU
    less a term for different aspect ratios.

    A square of 4x4 pixels and a box 8 wide and 4 high that has it as its left half: the IoU is 0.5, the distance term
    2**2 / (8**2 + 4**2) = 0.05, and v = 4 / pi**2 * (atan(4 / 4) - atan(8 / 4))**2 = 0.042, which counts by the weight
    v / (1 - 0.5 + v) = 0.077.

    >>> complete_box_iou(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0, 8, 4]]))
    tensor([[0.4468]])

    Args:
        boxes1: Tensor[N, 4].
        boxes2: Tensor[M, 4].
        eps: keeps the quotients finite.

    Returns:
        Tensor[N, M]. A box without area has an IoU of 0, as for :func:`box_iou`; one without a diagonal has
        no aspect ratio to differ in.
    """
    return _overlap.complete(*_pairs(_upright("boxes1", boxes1, "xyxy"), _upright("boxes2", boxes2, "xyxy")), eps)


@one_node
def masks_to_boxes(masks: Tensor) -> Tensor:
    """The smallest boxes around masks.

    >>> masks_to_boxes(torch.tensor([[[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]]]))
    tensor([[1., 1., 2., 2.]])

    Args:
        masks: Tensor[N, H, W], any dtype: what is not zero belongs to the mask.

    Returns:
        float32 Tensor[N, 4]: the first and the last column and row of each mask, as ``x1, y1, x2, y2``, both
        included. Zeros for an empty mask.
    """
    if masks.dim() != 3:
        raise ValueError(f"masks must have shape (N, H, W), but their shape is {shape_of(masks)}")
    if masks.numel() == 0:
        return masks.new_zeros((masks.shape[0], 4), dtype=torch.float32)
    covered = masks != 0
    sides = []
    for dim in (1, 2):  # over the rows: columns
        line = covered.any(dim).int()  # argmax takes no bool
        last = line.shape[1] - 1 - line.flip(1).argmax(1)
        sides.append((line.argmax(1), last.where(line.any(1), 0)))
    (x1, x2), (y1, y2) = sides
    return torch.stack((x1, y1, x2, y2), 1).float()
