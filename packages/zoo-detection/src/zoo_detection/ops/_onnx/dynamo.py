"""For the exporter with ``dynamo=True``. Importing this module adds to its table."""

from collections.abc import Sequence
from typing import Any

from onnxscript.function_libs.torch_lib.registration import torch_op
from onnxscript.onnx_opset import opset18 as op
from onnxscript.onnx_types import FLOAT

from zoo_detection.ops._onnx import translations


class _Graph:
    def op(self, name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        return getattr(op, name)(*inputs, **attributes)

    def constant(self, value: float | Sequence[int]) -> Any:
        if isinstance(value, Sequence):
            return op.Constant(value_ints=list(value))
        return op.Constant(value_floats=[value])

    def dtype(self, value: Any) -> int | None:
        return None if value.dtype is None else int(value.dtype)


g = _Graph()


# onnxscript reads the annotations: what has none is a tensor, or several.


@torch_op("zoo::nms", trace_only=True)
def nms(boxes, scores, iou_threshold: float):  # type: ignore[no-untyped-def]
    return translations.nms(g, boxes, scores, iou_threshold)


@torch_op("zoo::batched_nms", trace_only=True)
def batched_nms(boxes, scores, idxs, iou_threshold: float):  # type: ignore[no-untyped-def]
    return translations.batched_nms(g, boxes, scores, idxs, iou_threshold)


@torch_op("zoo::roi_align", trace_only=True)
def roi_align(  # type: ignore[no-untyped-def]
    input,
    rois,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
):
    return translations.roi_align(g, input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)


@torch_op("zoo::multiscale_roi_align", trace_only=True)
def multiscale_roi_align(  # type: ignore[no-untyped-def]
    inputs,
    rois,
    levels,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
):
    return translations.multiscale_roi_align(
        g, inputs, rois, levels, spatial_scales, pooled_height, pooled_width, sampling_ratio, aligned
    )


@torch_op("zoo::heatmaps_to_keypoints")
def heatmaps_to_keypoints(maps: FLOAT, rois: FLOAT) -> tuple[FLOAT, FLOAT]:
    """A loop over the boxes, each of which has a size of its own. Not traced: onnxscript compiles the statements.

    Names of variables go into the file: none may be what an output of a detector is called.
    """
    low = op.Slice(rois, [0], [2], [1])
    sides = op.Max(op.Sub(op.Slice(rois, [2], [4], [1]), low), 1.0)
    pixels = op.Ceil(sides)
    correction = op.Div(sides, pixels)
    sizes = op.Cast(pixels, to=7)
    regions = op.Gather(op.Shape(maps), 0)
    count = op.Shape(maps, start=1, end=2)
    # Of fixed shapes, which OpenVINO wants of what a loop carries.
    points = op.Expand(0.0, op.Concat(op.Shape(maps, start=0, end=2), [3], axis=0))
    best = op.Expand(0.0, op.Shape(maps, start=0, end=2))
    for i in range(regions):
        here = op.Reshape(i, [1])
        size = op.Reshape(op.Gather(sizes, here), [-1])
        width = op.Gather(size, [0])
        height = op.Gather(size, [1])
        enlarged = op.Resize(
            op.Gather(maps, here),
            None,
            None,
            op.Concat([1], count, height, width, axis=0),
            mode="cubic",
            cubic_coeff_a=-0.75,
            coordinate_transformation_mode="half_pixel",
        )
        flat = op.Reshape(enlarged, op.Concat(count, [-1], axis=0))
        place = op.ArgMax(flat, axis=1, keepdims=1)
        cells = op.Cast(op.Concat(op.Mod(place, width), op.Div(place, width), axis=1), to=1)
        places = op.Add(op.Mul(op.Add(cells, 0.5), op.Gather(correction, here)), op.Gather(low, here))
        ones = op.Expand(1.0, op.Concat(count, [1], axis=0))
        row = op.Reshape(i, [1, 1])
        points = op.ScatterND(points, row, op.Unsqueeze(op.Concat(places, ones, axis=1), [0]))
        best = op.ScatterND(best, row, op.Unsqueeze(op.ReduceMax(flat, [1], keepdims=0), [0]))
    return points, best
