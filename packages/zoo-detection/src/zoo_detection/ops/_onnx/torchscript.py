"""For the exporter with ``dynamo=False``. Importing this module adds to its table."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch.onnx import symbolic_helper

from zoo_detection.ops._onnx import translations

_SUFFIXES = {bool: "i", int: "i", float: "f", str: "s"}


class _Graph:
    def __init__(self, context: Any) -> None:
        self._context = context

    def op(self, name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        named = {f"{key}_{_SUFFIXES[type(value)]}": value for key, value in attributes.items()}
        return self._context.op(name, *inputs, outputs=outputs, **named)

    def constant(self, value: float | Sequence[int]) -> Any:
        tensor = torch.tensor(value, dtype=torch.int64) if isinstance(value, Sequence) else torch.tensor([value])
        return self._context.op("Constant", value_t=tensor.float() if tensor.is_floating_point() else tensor)

    def dtype(self, value: Any) -> int | None:
        names = {"Float": 1, "Half": 10, "Double": 11, "BFloat16": 16}
        return names.get(value.type().scalarType())


@symbolic_helper.parse_args("v", "v", "f")
def nms(context: Any, boxes: Any, scores: Any, iou_threshold: float) -> Any:
    return translations.nms(_Graph(context), boxes, scores, iou_threshold)


@symbolic_helper.parse_args("v", "v", "v", "f")
def batched_nms(context: Any, boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    return translations.batched_nms(_Graph(context), boxes, scores, idxs, iou_threshold)


@symbolic_helper.parse_args("v", "v", "f", "i", "i", "i", "b")
def roi_align(
    context: Any,
    input: Any,
    rois: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    g = _Graph(context)
    return translations.roi_align(g, input, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)


@symbolic_helper.parse_args("v", "v", "v", "fs", "i", "i", "i", "b")
def multiscale_roi_align(
    context: Any,
    inputs: Any,
    rois: Any,
    levels: Any,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    g, maps = _Graph(context), list(inputs.node().inputs())
    return translations.multiscale_roi_align(
        g, maps, rois, levels, spatial_scales, pooled_height, pooled_width, sampling_ratio, aligned
    )


@symbolic_helper.parse_args("v", "v")
def heatmaps_to_keypoints(context: Any, maps: Any, rois: Any) -> Any:
    """A loop over the boxes, each of which has a size of its own."""
    g = _Graph(context)
    low, high = translations.columns(g, rois, 0, 2), translations.columns(g, rois, 2, 4)
    sides = g.op("Max", g.op("Sub", high, low), g.constant(1.0))
    pixels = g.op("Ceil", sides)
    correction = g.op("Div", sides, pixels)
    sizes = g.op("Cast", pixels, to=translations.INT64)
    shape = g.op("Shape", maps, start=0, end=2)
    count = g.op("Shape", maps, start=1, end=2)
    points = g.op("Expand", g.constant(0.0), g.op("Concat", shape, g.constant([3]), axis=0))
    scores = g.op("Expand", g.constant(0.0), shape)
    true = context.op("Constant", value_t=torch.tensor(True))
    boxes = context.op("Gather", context.op("Shape", maps), context.op("Constant", value_t=torch.tensor(0)))

    results = context.op("Loop", boxes, true, points, scores, outputs=2)
    block = results[0].node().addBlock()
    index, condition, points, scores = (block.addInputToBlock() for _ in range(4))
    body_context = dataclasses.replace(context, block=block)
    body = _Graph(body_context)
    here = body.op("Reshape", index, body.constant([1]))
    size = body.op("Reshape", body.op("Gather", sizes, here), body.constant([-1]))
    width = body.op("Gather", size, body.constant([0]))
    height = body.op("Gather", size, body.constant([1]))
    nothing = body_context.op("Constant", value_t=torch.zeros(0))
    enlarged = body.op(
        "Resize",
        body.op("Gather", maps, here),
        nothing,
        nothing,
        body.op("Concat", body.constant([1]), count, height, width, axis=0),
        mode="cubic",
        cubic_coeff_a=-0.75,
        coordinate_transformation_mode="half_pixel",
    )
    flat = body.op("Reshape", enlarged, body.op("Concat", count, body.constant([-1]), axis=0))
    place = body.op("ArgMax", flat, axis=1, keepdims=1)
    highest = body.op("GatherElements", flat, place, axis=1)
    cells = body.op("Concat", body.op("Mod", place, width), body.op("Div", place, width), axis=1)
    cells = body.op("Add", body.op("Cast", cells, to=translations.FLOAT), body.constant(0.5))
    places = body.op("Add", body.op("Mul", cells, body.op("Gather", correction, here)), body.op("Gather", low, here))
    ones = body.op("Expand", body.constant(1.0), body.op("Concat", count, body.constant([1]), axis=0))
    row = body.op("Reshape", index, body.constant([1, 1]))
    zero = body.constant([0])
    points_of_box = body.op("Unsqueeze", body.op("Concat", places, ones, axis=1), zero)
    scores_of_box = body.op("Reshape", highest, body.constant([1, -1]))
    for value in (
        condition,
        body.op("ScatterND", points, row, points_of_box),
        body.op("ScatterND", scores, row, scores_of_box),
    ):
        block.registerOutput(value)
    return results


for function in (nms, batched_nms, roi_align, multiscale_roi_align, heatmaps_to_keypoints):
    torch.onnx.register_custom_op_symbolic(f"zoo::{function.__name__}", function, translations.OPSET)
