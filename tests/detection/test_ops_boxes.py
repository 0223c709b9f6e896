"""Box utilities against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from zoo_detection.ops import (
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
    masks_to_boxes,
    remove_small_boxes,
)

A = torch.tensor([[0.0, 0, 10, 10], [0, 0, 4, 2]])
B = torch.tensor([[5.0, 5, 15, 15], [20, 0, 30, 10], [0, 0, 10, 10]])


def test_area() -> None:
    assert box_area(A).tolist() == [100, 8]
    assert box_area(torch.tensor([[1.0, 2, 3, 4]]), fmt="xywh").tolist() == [12]
    assert box_area(torch.tensor([[1.0, 2, 3, 4]]), fmt="cxcywh").tolist() == [12]
    assert box_area(A[None]).shape == (1, 2)
    # Half precision and small integers would overflow.
    half = box_area(torch.tensor([[0, 0, 1000, 1000]], dtype=torch.float16))
    assert half.dtype == torch.float32
    assert half.item() == 1_000_000
    assert box_area(torch.tensor([[0, 0, 200, 200]], dtype=torch.uint8)).item() == 40_000
    with pytest.raises(ValueError, match="unknown box format 'yxyx'"):
        box_area(A, fmt="yxyx")


def test_iou() -> None:
    iou = box_iou(A, B)
    assert iou.shape == (2, 3)
    torch.testing.assert_close(iou, torch.tensor([[25 / 175, 0, 1], [0, 0, 0.08]]))
    for fmt in ("xywh", "cxcywh"):
        a, b = (box_convert(boxes, "xyxy", fmt) for boxes in (A, B))
        torch.testing.assert_close(box_iou(a, b, fmt=fmt), iou)
    assert box_iou(A[:0], B).shape == (0, 3)
    torch.testing.assert_close(box_iou(A.long(), B.long()), iou)
    assert box_iou(A.half() * 90, B.half() * 90).dtype == torch.float32
    assert box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0  # without area


def test_generalized_iou() -> None:
    giou = generalized_box_iou(A[:1], B)
    expected = [25 / 175 - (225 - 175) / 225, 0 - (300 - 200) / 300, 1.0]
    torch.testing.assert_close(giou, torch.tensor([expected]))


def test_distance_and_complete_iou() -> None:
    diou = distance_box_iou(A[:1], B)
    expected = torch.tensor([[25 / 175 - 50 / 450, -(400 / 1000), 1.0]])
    torch.testing.assert_close(diou, expected)
    torch.testing.assert_close(complete_box_iou(A[:1], B), expected)  # all are squares
    v = 4 / math.pi**2 * (math.atan(1.0) - math.atan(2.0)) ** 2
    iou = 8 / 100
    centre_distance = (5 - 2) ** 2 + (5 - 1) ** 2
    alone = iou - centre_distance / 200 - v * v / (1 - iou + v)
    torch.testing.assert_close(complete_box_iou(A[:1], A[1:]), torch.tensor([[alone]]))
    for function in (generalized_box_iou, distance_box_iou, complete_box_iou):
        assert function(A.half(), B.half()).dtype == torch.float32
        assert function(A.long(), B.long()).shape == (2, 3)


def test_clip() -> None:
    boxes = torch.tensor([[-5.0, -6, 50, 60], [1, 2, 3, 4], [100, 100, 120, 120]])
    clipped = clip_boxes_to_image(boxes, (40, 30))
    assert clipped.tolist() == [[0, 0, 30, 40], [1, 2, 3, 4], [30, 40, 30, 40]]
    assert clip_boxes_to_image(boxes.long(), (40, 30)).dtype == torch.int64
    assert clip_boxes_to_image(torch.zeros(0, 4), (3, 3)).shape == (0, 4)
    assert clip_boxes_to_image(boxes.reshape(1, 3, 4), (40, 30)).shape == (1, 3, 4)


def test_remove_small() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9.9, 10], [0, 0, 10, 9.9], [5, 5, 25, 25]])
    assert remove_small_boxes(boxes, 10).tolist() == [0, 3]
    assert remove_small_boxes(boxes, 100).tolist() == []


UPRIGHT = {
    "xyxy": [10.0, 15, 30, 35],
    "xywh": [10.0, 15, 20, 20],
    "cxcywh": [20.0, 25, 20, 20],
}
# 90 degrees counter-clockwise about the centre (5, 3), of a box with width 4 and height 2: its unrotated top left
# corner (3, 2) comes to (4, 5), the bottom left of what one sees.
ROTATED = {
    "cxcywhr": [5.0, 3, 4, 2, 90],
    "xywhr": [4.0, 5, 4, 2, 90],
    "xyxyxyxy": [4.0, 5, 4, 1, 6, 1, 6, 5],
}


@pytest.mark.parametrize("formats", [UPRIGHT, ROTATED])
def test_convert(formats: dict[str, list[float]]) -> None:
    for in_fmt, given in formats.items():
        for out_fmt, expected in formats.items():
            boxes = torch.tensor([[given, given]])
            converted = box_convert(boxes, in_fmt, out_fmt)
            torch.testing.assert_close(converted, torch.tensor([[expected, expected]]), rtol=1e-5, atol=1e-5)
            assert converted.data_ptr() != boxes.data_ptr()


@pytest.mark.parametrize("degrees", [-170.0, -90.0, -30.0, 0.0, 45.0, 179.0])
def test_rotated_formats_invert_each_other(degrees: float) -> None:
    boxes = torch.tensor([[5.0, 3, 4, 2, degrees], [0, 0, 1, 7, degrees]])
    for fmt in ("xywhr", "xyxyxyxy"):
        back = box_convert(box_convert(boxes, "cxcywhr", fmt), fmt, "cxcywhr")
        torch.testing.assert_close(back, boxes, rtol=1e-4, atol=1e-4)


def test_convert_errors() -> None:
    with pytest.raises(ValueError, match="unknown box format 'foo'; expected one of xyxy, xywh"):
        box_convert(A, "xyxy", "foo")
    with pytest.raises(ValueError, match="one of them has a rotation"):
        box_convert(A, "xyxy", "xywhr")
    with pytest.raises(ValueError, match=r"last dimension of 4.*\(2, 3\)"):
        box_convert(A[:, :3], "xyxy", "xywh")
    with pytest.raises(TypeError, match="rotated boxes must be floating"):
        box_convert(torch.zeros(1, 5).long(), "cxcywhr", "xywhr")
    assert box_convert(A.long(), "xyxy", "xywh").dtype == torch.int64


def naive_mask_box(mask: Tensor) -> list[float]:
    points = [(x, y) for y, row in enumerate(mask.tolist()) for x, value in enumerate(row) if value]
    if not points:
        return [0.0, 0.0, 0.0, 0.0]
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_masks_to_boxes(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    masks = (torch.rand(20, 9, 13, generator=g) < 0.03).to(dtype)
    masks[0] = 0
    masks[1] = 1
    masks[2] = 0
    masks[2, 8, 12] = 1
    boxes = masks_to_boxes(masks)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [naive_mask_box(mask) for mask in masks]
    assert masks_to_boxes(masks[:0]).shape == (0, 4)
    with pytest.raises(ValueError, match=r"masks must have shape \(N, H, W\)"):
        masks_to_boxes(masks[0])


def test_export_and_compile() -> None:
    class Model(torch.nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return complete_box_iou(a, b), box_convert(clip_boxes_to_image(a, (8, 9)), "xyxy", "cxcywh")

    n = torch.export.Dim("n", min=1, max=100)
    program = torch.export.export(Model(), (A, B), dynamic_shapes=({0: n}, None))
    many = A.repeat(7, 1)
    for got, expected in zip(program.module()(many, B), Model()(many, B), strict=True):
        torch.testing.assert_close(got, expected)
