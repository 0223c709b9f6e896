"""The operators with random shapes, strides, dtypes and values: the compiled ones do as pure torch does, or refuse."""

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo_detection import ops
from zoo_detection.ops import _fallback

from .fuzzing import evidence, fuzz

FLOATS = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
values = st.one_of(
    st.floats(-50, 50, width=32),
    st.integers(-4, 30).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 1e30, -1e30, 3.4e38, 65504.0, 2.0**31]),
)
sizes = st.one_of(st.integers(1, 9), st.sampled_from([0, -1, 33, 2**15, 2**15 + 1, 2**31, 2**62]))
scales = st.one_of(st.sampled_from([0.25, 1.0, 0.0, -1.0, 1e-30, 1e30, 1e300, math.nan, math.inf]), st.floats(0.01, 4))
ratios = st.one_of(st.integers(-2, 5), st.sampled_from([256, 257, 2**31 - 1, 2**62, -(2**62)]))


@st.composite
def tensors(draw: Any, *shape: int, dtype: torch.dtype) -> Tensor:
    """With any strides."""
    count = int(torch.Size(shape).numel())
    drawn = draw(st.lists(values, min_size=min(count, 40), max_size=min(count, 40)))
    flat = torch.tensor(drawn or [0.0], dtype=torch.float64).repeat(count // max(len(drawn), 1) + 1)[:count]
    tensor = flat.reshape(shape).to(dtype)
    if draw(st.booleans()):
        return tensor
    order = draw(st.permutations(range(len(shape))))
    back = [order.index(i) for i in range(len(shape))]
    return tensor.permute(order).contiguous().permute(back)


def outcome(function: Any, *arguments: Any) -> Any:
    """The result, or the error that says what was wrong."""
    try:
        return function(*arguments)
    except (RuntimeError, ValueError, TypeError) as error:
        assert "INTERNAL ASSERT" not in str(error)
        return error


def assert_alike(found: Any, expected: Any, dtype: torch.dtype) -> None:
    assert isinstance(found, Exception) == isinstance(expected, Exception), (found, expected)
    if isinstance(found, Exception):
        return
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
    for ours, other in zip(*((x if isinstance(x, list) else [x]) for x in (found, expected)), strict=True):
        assert ours.shape == other.shape
        assert ours.dtype == other.dtype
        # Of numbers that overflow, sums in another order overflow elsewhere.
        finite = ours.isfinite() & other.isfinite() & (ours.abs() < 1e4)
        torch.testing.assert_close(ours[finite], other[finite], rtol=tolerance, atol=tolerance)


@fuzz
@given(st.data())
def test_suppression(data: st.DataObject) -> None:
    dtype, count = data.draw(FLOATS), data.draw(st.integers(0, 400))
    boxes = data.draw(tensors(count, 4, dtype=dtype))
    scores = data.draw(tensors(count, dtype=data.draw(st.sampled_from([dtype, dtype, torch.float32]))))
    threshold = data.draw(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, -1.0, 1.5, math.nan])))
    idxs = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4))
    categories = torch.tensor(idxs).repeat(count // len(idxs) + 1)[:count]
    with evidence(repr((boxes, scores, categories, threshold)).encode(), "suppression.txt"):
        for name, arguments in (("nms", ()), ("batched_nms", (categories,))):
            found = outcome(getattr(torch.ops.zoo, name), boxes, scores, *arguments, threshold)
            expected = outcome(getattr(_fallback, name), boxes, scores, *arguments, threshold)
            assert isinstance(found, Exception) == isinstance(expected, Exception), (found, expected)
            if not isinstance(found, Exception):
                assert found.tolist() == expected.tolist()


@fuzz
@given(st.data())
def test_pooling(data: st.DataObject) -> None:
    dtype = data.draw(FLOATS)
    batch, channels = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([0, 1, 3, 16, 70]))
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    count = data.draw(st.integers(0, 5))
    x = torch.linspace(-1, 1, batch * channels * height * width).reshape(batch, channels, height, width).to(dtype)
    if data.draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    rois = data.draw(tensors(count, 5, dtype=data.draw(st.sampled_from([dtype, dtype, torch.float32]))))
    if data.draw(st.booleans()):
        rois[:, 0] = torch.arange(count) % batch
    pooled = data.draw(sizes), data.draw(sizes)
    scale, ratio, aligned = data.draw(scales), data.draw(ratios), data.draw(st.booleans())
    if min(pooled) > 0 and pooled[0] * pooled[1] <= 2**22 and (pooled[0] * pooled[1] > 2**10 or ratio > 5):
        x, rois, count = x[:, :1], rois[:1], min(count, 1)  # large, but no larger than has to be
        pooled = min(pooled[0], 64), min(pooled[1], 64) if ratio <= 5 else 1
    x = x[:, :1] if ratio > 5 else x
    with evidence(repr((x.shape, x.dtype, rois, pooled, scale, ratio, aligned)).encode(), "pooling.txt"):
        options = (scale, *pooled, ratio, aligned)
        found = outcome(torch.ops.zoo.roi_align, x, rois, *options)
        # The form in pure torch takes regions of any floating dtype.
        if isinstance(found, Exception) and rois.dtype != x.dtype:
            return
        expected = outcome(_fallback.roi_align, x, rois, *options)
        assert_alike(found, expected, dtype)
        if isinstance(found, Exception):
            return
        sides = (batch, x.shape[1], height, width)
        grad = torch.ones_like(found)
        backward = (grad, rois, *options[:3], *sides, *options[3:])
        assert_alike(
            outcome(torch.ops.zoo.roi_align_backward, *backward),
            outcome(_fallback.roi_align_backward, *backward),
            dtype,
        )


@fuzz
@given(st.data())
def test_functions(data: st.DataObject) -> None:
    """The public functions give a result or an error of ours for what users pass."""
    dtype = data.draw(
        st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool])
    )
    shape = data.draw(st.sampled_from([(3, 4), (0, 4), (1, 4), (4,), (2, 3, 4), (3, 5), ()]))
    boxes = data.draw(tensors(*shape, dtype=torch.float64)).nan_to_num(0, 100, 0).clamp(-100, 100).to(dtype)
    with evidence(repr(boxes).encode(), "functions.txt"):
        for function in (ops.box_area, ops.masks_to_boxes):
            outcome_of_any(function, boxes)
        for function in (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou):
            outcome_of_any(function, boxes, boxes)
        outcome_of_any(ops.nms, boxes, torch.rand(shape[:1]), 0.5)
        outcome_of_any(ops.batched_nms, boxes, torch.rand(shape[:1]), torch.zeros(shape[:1]), 0.5)
        outcome_of_any(ops.roi_align, torch.rand(1, 1, 4, 4), [boxes], 2)


def outcome_of_any(function: Any, *arguments: Any) -> None:
    try:
        function(*arguments)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        assert "INTERNAL ASSERT" not in str(error)
