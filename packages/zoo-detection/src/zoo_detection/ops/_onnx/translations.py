"""What each operator is in ONNX, written once for both exporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from zoo_detection.ops._fallback import round_down

# RoiAlign says where pixel centres are since this one; the others are older.
OPSET = 16

FLOAT, INT64, DOUBLE = 1, 7, 11  # ONNX's numbers of the dtypes
_LOWEST = torch.finfo(torch.float32).min


class Graph(Protocol):
    """Where nodes are added; values are whatever an exporter has for them."""

    def op(self, name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """A node; its output, or the tuple of its outputs if there are several."""
        ...

    def constant(self, value: float | Sequence[int]) -> Any:
        """float32 of shape (1,), or int64 of shape (N,)."""
        ...

    def dtype(self, value: Any) -> int | None:
        """ONNX's number of a value's dtype, if it is known."""
        ...


def columns(g: Graph, table: Any, first: int, end: int) -> Any:
    return g.op("Slice", table, g.constant([first]), g.constant([end]), g.constant([1]))


def _non_maximum_suppression(g: Graph, boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Indices of the boxes that stay, by class and decreasing score: int64 (K,).

    boxes: (N, 4). scores: float32 (C, N), the lowest number where a box is not of that class.
    """
    boxes = g.op("Cast", boxes, to=FLOAT)
    low, high = columns(g, boxes, 0, 2), columns(g, boxes, 2, 4)
    # ONNX takes any two opposite corners. Of ours, swapped ones make an empty box.
    boxes = g.op("Concat", low, g.op("Max", low, high), axis=1)
    count = g.op("Shape", boxes, start=0, end=1)
    # As every number above its float32 is above the threshold, comparing with either decides alike.
    threshold = g.constant(round_down(iou_threshold, torch.float32))
    kept = g.op(
        "NonMaxSuppression",
        g.op("Unsqueeze", boxes, g.constant([0])),
        g.op("Unsqueeze", scores, g.constant([0])),
        count,
        threshold,
        g.constant(_LOWEST),
    )
    # Rows of kept: image, class, box.
    return g.op("Reshape", g.op("Gather", kept, g.constant([2]), axis=1), g.constant([-1]))


def nms(g: Graph, boxes: Any, scores: Any, iou_threshold: float) -> Any:
    scores = g.op("Unsqueeze", g.op("Cast", scores, to=FLOAT), g.constant([0]))
    return _non_maximum_suppression(g, boxes, scores, iou_threshold)


def batched_nms(g: Graph, boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    scores = g.op("Cast", scores, to=FLOAT)
    # One row of scores for each category that there is, (C, N).
    categories = g.op("Unsqueeze", _distinct(g, idxs), g.constant([1]))
    is_of = g.op("Equal", categories, g.op("Unsqueeze", idxs, g.constant([0])))
    table = g.op("Where", is_of, scores, g.constant(_LOWEST))
    kept = _non_maximum_suppression(g, boxes, table, iou_threshold)
    # They come by category; what is wanted is by score, equal ones by index.
    nothing = g.op("Expand", g.constant([0]), g.op("Shape", idxs))
    stays = g.op("ScatterElements", nothing, kept, g.op("Expand", g.constant([1]), g.op("Shape", kept)), axis=0)
    kept = g.op("Reshape", g.op("NonZero", stays), g.constant([-1]))
    _, order = g.op("TopK", g.op("Gather", scores, kept, axis=0), g.op("Shape", kept), axis=0, outputs=2)
    return g.op("Gather", kept, order, axis=0)


def _distinct(g: Graph, idxs: Any) -> Any:
    values, *_ = g.op("Unique", idxs, sorted=1, outputs=4)
    return values


def roi_align(
    g: Graph,
    input: Any,
    rois: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    dtype = g.dtype(input)
    double = dtype == DOUBLE
    features = input if dtype in (FLOAT, DOUBLE) else g.op("Cast", input, to=FLOAT)
    images, boxes = columns(g, rois, 0, 1), columns(g, rois, 1, 5)
    pooled = g.op(
        "RoiAlign",
        features,
        g.op("Cast", boxes, to=DOUBLE if double else FLOAT),
        g.op("Cast", g.op("Reshape", images, g.constant([-1])), to=INT64),
        # Of ONNX's two modes one shifts by half a pixel; the other makes regions at least a pixel large, as ours does.
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=pooled_height,
        output_width=pooled_width,
        # ONNX's 0 is an adaptive number, as our numbers below 1 are.
        sampling_ratio=max(sampling_ratio, 0),
        spatial_scale=spatial_scale,
    )
    if aligned and sampling_ratio <= 0:
        # An empty region has no samples, of which one runtime makes zero and another 0 / 0.
        wide = g.op("Less", columns(g, boxes, 0, 1), columns(g, boxes, 2, 3))
        high = g.op("Less", columns(g, boxes, 1, 2), columns(g, boxes, 3, 4))
        filled = g.op("Reshape", g.op("And", wide, high), g.constant([-1, 1, 1, 1]))
        pooled = g.op("Where", filled, pooled, g.op("CastLike", g.constant(0.0), pooled))
    return pooled if features is input else g.op("CastLike", pooled, input)


def multiscale_roi_align(
    g: Graph,
    inputs: Sequence[Any],
    rois: Any,
    levels: Any,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    parts, places = [], []
    for level, (input, scale) in enumerate(zip(inputs, spatial_scales, strict=True)):
        here = g.op("NonZero", g.op("Equal", levels, g.constant([level])))
        here = g.op("Reshape", here, g.constant([-1]))
        rois_here = g.op("Gather", rois, here, axis=0)
        parts.append(roi_align(g, input, rois_here, scale, pooled_height, pooled_width, sampling_ratio, aligned))
        places.append(here)
    # Region i is in row k of the parts where places[k] = i.
    place = g.op("Concat", *places, axis=0)
    rows = g.op("Shape", place)
    _, row_of = g.op("TopK", place, rows, axis=0, largest=0, outputs=2)
    return g.op("Gather", g.op("Concat", *parts, axis=0), row_of, axis=0)
