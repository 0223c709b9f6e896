"""Non-maximum suppression against a loop in numpy, and in every corner."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo_detection.ops import batched_nms, nms

pytestmark = pytest.mark.usefixtures("implementation")

NAN, INF = math.nan, math.inf


def reference(boxes: Tensor, scores: Tensor, threshold: float, idxs: Tensor | None = None) -> list[int]:
    """Greedy suppression, box by box, in the boxes' own precision (float32 for half)."""
    dtype: Any = np.float64 if boxes.dtype == torch.float64 else np.float32
    b: Any = boxes.double().numpy().astype(dtype)
    s = scores.double().numpy()
    classes = np.zeros(len(b), np.int64) if idxs is None else idxs.numpy()
    order = sorted(range(len(b)), key=lambda i: (not math.isnan(s[i]), 0 if math.isnan(s[i]) else -s[i], i))
    removed = np.zeros(len(b), bool)
    kept = []
    with np.errstate(all="ignore"):
        areas = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        for i in order:
            if removed[i]:
                continue
            kept.append(i)
            w = np.minimum(b[i, 2], b[:, 2]) - np.maximum(b[i, 0], b[:, 0])
            h = np.minimum(b[i, 3], b[:, 3]) - np.maximum(b[i, 1], b[:, 1])
            inter = np.where(w > 0, w, dtype(0)) * np.where(h > 0, h, dtype(0))
            iou = inter / (areas[i] + areas - inter)
            assert iou.dtype == dtype
            removed |= (iou.astype(np.float64) > threshold) & (classes == classes[i])
    return kept


def random_boxes(
    count: int, low: float, high: float, extent: float, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g) * extent
    size = low + (high - low) * torch.rand(count, 2, generator=g)
    return torch.cat((corner, corner + size), 1).to(dtype), torch.rand(count, generator=g).to(dtype)


def test_hand_computed() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [0, 0, 10, 9]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    # Box 3 has the highest score. IoU with box 0: 90 / 100, with box 1: 50 / 90.
    kept = nms(boxes, scores, 0.5)
    assert kept.dtype == torch.int64
    assert kept.tolist() == [3, 2]
    assert nms(boxes, scores, 0.6).tolist() == [3, 1, 2]
    assert nms(boxes, scores, 0.9).tolist() == [3, 0, 1, 2]  # not greater than


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 191, 192, 193, 1000, 3000])
@pytest.mark.parametrize("threshold", [0.0, 0.004, 0.1, 0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize(("low", "high", "extent"), [(5, 105, 800), (1, 3, 12), (1, 600, 800)])
def test_random(count: int, threshold: float, low: float, high: float, extent: float) -> None:
    boxes, scores = random_boxes(count, low, high, extent, seed=count)
    assert nms(boxes, scores, threshold).tolist() == reference(boxes, scores, threshold)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_integer_coordinates_and_equal_scores(seed: int, dtype: torch.dtype) -> None:
    """Many exact ties, of scores and of the IoU with the threshold."""
    boxes, scores = random_boxes(400, 1, 8, 30, seed, dtype)
    boxes, scores = boxes.round(), (scores * 4).round()
    for threshold in (0.0, 0.25, 1 / 3, 0.5, 2 / 3, 1.0):
        assert nms(boxes, scores, threshold).tolist() == reference(boxes, scores, threshold)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_decides_in_float32(dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(500, 1, 40, 100, 3, dtype)
    kept = nms(boxes, scores, 0.4).tolist()
    assert kept == reference(boxes, scores, 0.4)
    assert kept == nms(boxes.float(), scores.float(), 0.4).tolist()


def test_threshold_is_not_rounded_to_the_boxes_dtype() -> None:
    # The IoU is 0.1 rounded to float32, which is a little more than 0.1.
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 1, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.1).tolist() == [0]
    assert nms(boxes, scores, float(torch.tensor(0.1))).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_few_boxes_are_far_away_or_huge(seed: int) -> None:
    boxes, scores = random_boxes(2000, 5, 60, 300, seed)
    boxes[:10] *= 1e6
    boxes[10:20] = torch.tensor([-1e5, -1e5, 1e5, 1e5]) + torch.randn(10, 4)
    boxes[20:25] = torch.tensor([0.0, 0.0, 1e30, 1e30])  # areas overflow
    for threshold in (0.3, 0.7):
        assert nms(boxes, scores, threshold).tolist() == reference(boxes, scores, threshold)


def test_large_offsets_lose_precision_alike() -> None:
    boxes, scores = random_boxes(1000, 5, 60, 300, 5)
    for offset in (1e6, -3e7):
        shifted = boxes + offset
        assert nms(shifted, scores, 0.5).tolist() == reference(shifted, scores, 0.5)


def test_thin_strips() -> None:
    g = torch.Generator().manual_seed(0)
    start = torch.rand(1500, generator=g) * 800
    vertical = torch.stack((start, torch.zeros(1500), start + 0.5, torch.full((1500,), 800.0)), 1)
    boxes = torch.cat((vertical[:750], vertical[750:][:, [1, 0, 3, 2]]))
    scores = torch.rand(1500, generator=g)
    assert nms(boxes, scores, 0.3).tolist() == reference(boxes, scores, 0.3)


@pytest.mark.parametrize("padding", [0, 300])  # with few boxes, and with enough for the search grid
def test_nan_and_infinite_coordinates_and_empty_boxes(padding: int) -> None:
    special = torch.tensor(
        [
            [0.0, 0, 1, NAN],
            [0, 0, 1, 1],
            [0, 0, 1, 1],
            [NAN, NAN, NAN, NAN],
            [0, 0, INF, INF],
            [-INF, -INF, INF, INF],
            [-INF, -INF, INF, INF],
            [INF, 0, INF, 1],
            [3, 3, 3, 3],
            [3, 3, 3, 3],
            [5, 5, 4, 4],  # inverted: has a positive "area", but overlaps nothing
            [4, 4, 5, 5],
            [1e-30, 1e-30, 2e-30, 2e-30],  # the area is zero in float32
            [1e-30, 1e-30, 2e-30, 2e-30],
        ]
    )
    far, _ = random_boxes(padding, 5, 9, 500, 1)
    boxes = torch.cat((special, far + 100))
    scores = torch.linspace(1, 0, len(boxes))
    for threshold in (0.0, 0.5):
        kept = nms(boxes, scores, threshold).tolist()
        assert kept == reference(boxes, scores, threshold)
        assert [i for i in kept if i < len(special)] == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]


def test_scores_that_are_nan_infinite_or_negative_zero() -> None:
    boxes = torch.arange(7).float()[:, None] * 10 + torch.tensor([0.0, 0, 1, 1])
    scores = torch.tensor([0.0, -INF, NAN, INF, -0.0, -1.0, NAN])
    assert nms(boxes, scores, 0.5).tolist() == [2, 6, 3, 0, 4, 5, 1]
    # A box with a NaN score suppresses as any other.
    assert nms(boxes[:1].repeat(7, 1), scores, 0.5).tolist() == [2]


def test_any_strides() -> None:
    boxes, scores = random_boxes(300, 5, 50, 100, 9)
    expected = reference(boxes, scores, 0.4)
    assert nms(boxes.t().contiguous().t(), scores, 0.4).tolist() == expected
    wide = torch.zeros(600, 9)
    wide[::2, ::2][:, :4] = boxes
    stretched = torch.stack((scores, scores), 1)[:, 0]
    assert not stretched.is_contiguous()
    assert nms(wide[::2, ::2][:, :4], stretched, 0.4).tolist() == expected
    assert nms(boxes.flip(0), scores.flip(0), 0.4).tolist() == [299 - i for i in expected]
    same = boxes[:1].expand(300, 4)
    assert nms(same, scores, 0.4).tolist() == [int(scores.argmax())]


def test_inputs_stay_as_they_are() -> None:
    boxes, scores = random_boxes(300, 5, 50, 100, 9)
    before = boxes.clone(), scores.clone()
    nms(boxes, scores, 0.5)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_categories_do_not_suppress_each_other(dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(3000, 5, 105, 300, 4)
    idxs = torch.randint(0, 7, (3000,), generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = batched_nms(boxes, scores, idxs, 0.5)
    assert kept.tolist() == reference(boxes, scores, 0.5, idxs)
    # The same as suppression in each category by itself.
    separate = torch.zeros(3000, dtype=torch.bool)
    for category in idxs.unique():
        where = (idxs == category).nonzero()[:, 0]
        separate[where[nms(boxes[where], scores[where], 0.5)]] = True
    assert torch.equal(separate.nonzero()[:, 0], kept.sort().values)


@pytest.mark.parametrize("count", [0, 1, 5, 999, 1001, 5000])
@pytest.mark.parametrize("categories", [1, 3, 91])
def test_batched_sizes(count: int, categories: int) -> None:
    boxes, scores = random_boxes(count, 5, 105, 600, count)
    idxs = torch.randint(-categories, categories, (count,), generator=torch.Generator().manual_seed(1))
    assert batched_nms(boxes, scores, idxs, 0.5).tolist() == reference(boxes, scores, 0.5, idxs)


def test_batched_with_huge_categories_and_coordinates() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [-INF, 0, 3, 3], [-50, -50, 10, 10], [-50, -50, 10, 9.9]])
    scores = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9])
    idxs = torch.tensor([2**62, -(2**62), 0, 7, 7])
    assert batched_nms(boxes, scores, idxs, 0.5).tolist() == [4, 2, 1, 0]


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "error", "message"),
    [
        (torch.zeros(3, 5), torch.zeros(3), 0.5, ValueError, r"boxes must have shape \(N, 4\).*\(3, 5\)"),
        (torch.zeros(4), torch.zeros(1), 0.5, ValueError, r"boxes must have shape \(N, 4\)"),
        (torch.zeros(3, 4), torch.zeros(3, 1), 0.5, ValueError, r"scores must have shape \(N,\)"),
        (torch.zeros(3, 4), torch.zeros(4), 0.5, ValueError, "4 scores and 3 boxes"),
        (torch.zeros(3, 4).long(), torch.zeros(3), 0.5, TypeError, "boxes must be floating point.*int64"),
        (torch.zeros(3, 4), torch.zeros(3).int(), 0.5, TypeError, "scores must be floating point.*int32"),
        (torch.zeros(3, 4), torch.zeros(3).double(), 0.5, TypeError, "same dtype.*float32 and torch.float64"),
        (torch.zeros(3, 4), torch.zeros(3, device="meta"), 0.5, ValueError, "same device.*cpu and meta"),
        (torch.zeros(3, 4), torch.zeros(3), -0.1, ValueError, "between 0 and 1.*-0.1"),
        (torch.zeros(3, 4), torch.zeros(3), 1.5, ValueError, "between 0 and 1"),
        (torch.zeros(3, 4), torch.zeros(3), NAN, ValueError, "between 0 and 1.*nan"),
    ],
)
def test_wrong_arguments(boxes: Tensor, scores: Tensor, threshold: float, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        nms(boxes, scores, threshold)
    with pytest.raises(error, match=message):
        batched_nms(boxes, scores, torch.zeros(3, dtype=torch.int64), threshold)


def test_wrong_categories() -> None:
    boxes, scores = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match="2 idxs and 3 boxes"):
        batched_nms(boxes, scores, torch.zeros(2, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"idxs must have shape \(N,\)"):
        batched_nms(boxes, scores, torch.zeros(3, 1, dtype=torch.int64), 0.5)
    with pytest.raises(TypeError, match=r"idxs must be a Tensor.*list"):
        batched_nms(torch.rand(1, 4), torch.rand(1), [0], 0.5)
    with pytest.raises(TypeError, match=r"idxs must be integers.*complex64"):
        batched_nms(boxes, scores, torch.zeros(3, dtype=torch.complex64), 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int32, torch.uint8, torch.bool])
def test_categories_of_any_dtype(dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(300, 5, 60, 100, 4)
    idxs = torch.randint(0, 2 if dtype == torch.bool else 5, (300,), generator=torch.Generator().manual_seed(0))
    expected = reference(boxes, scores, 0.3, idxs)
    assert batched_nms(boxes, scores, idxs.to(dtype), 0.3).tolist() == expected
    if dtype.is_floating_point:  # the numbers need not be whole, and below zero; -0 is 0
        assert batched_nms(boxes, scores, (idxs / 8 - 0.25).to(dtype), 0.3).tolist() == expected
        assert batched_nms(boxes, scores, -torch.zeros(300).to(dtype), 0.3).tolist() == nms(boxes, scores, 0.3).tolist()
        apart = torch.full((300,), NAN, dtype=dtype)
        assert len(batched_nms(boxes, scores, apart, 0.0)) == 300


@pytest.mark.filterwarnings("ignore:.*quantized:UserWarning", "ignore:.*quantize_per:UserWarning")
@pytest.mark.parametrize("dtype", [torch.quint8, torch.qint8, torch.qint32])
def test_quantized(dtype: torch.dtype) -> None:
    """As the integers that are stored; neither scale nor zero point changes an IoU or an order."""
    boxes, scores = random_boxes(200, 3, 30, 60, 5)
    quantized = torch.quantize_per_tensor(boxes, 0.7, 5, dtype)
    quantized_scores = torch.quantize_per_tensor(scores, 0.02, 0, dtype)
    stored = quantized.int_repr().double(), quantized_scores.int_repr().double()
    for threshold in (0.0, 0.3, 0.5):
        expected = reference(*stored, threshold)
        assert nms(quantized, quantized_scores, threshold).tolist() == expected
        assert batched_nms(quantized, quantized_scores, torch.zeros(200), threshold).tolist() == expected
    options = {"scales": torch.ones(4), "zero_points": torch.zeros(4).long(), "axis": 1, "dtype": torch.quint8}
    per_channel = torch._empty_per_channel_affine_quantized((200, 4), **options)
    with pytest.raises(TypeError, match="quantized per tensor"):
        nms(per_channel, scores, 0.5)


def test_a_threshold_of_one_drops_nothing_and_looks_at_no_pair() -> None:
    """200,000 boxes in one place, which took all pairs before."""
    count = 200_000
    boxes = torch.tensor([0.0, 0, 10, 10]) + torch.rand(count, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    scores = torch.rand(count, generator=torch.Generator().manual_seed(1))
    order = scores.argsort(descending=True, stable=True)
    assert torch.equal(nms(boxes, scores, 1.0), order)
    assert torch.equal(batched_nms(boxes, scores, torch.zeros(count), 1.0), order)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_iou_is_above_one(dtype: torch.dtype) -> None:
    """What the shortcut for a threshold of 1 rests on: of boxes that differ in the last digit, rounded as they are."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2000, 4, generator=generator, dtype=torch.float64) * torch.tensor([50, 50, 1, 1])
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.to(dtype)
    for other in (boxes, boxes.nextafter(torch.full_like(boxes, INF)), boxes.nextafter(torch.full_like(boxes, -INF))):
        sides = torch.minimum(boxes[:, 2:], other[:, 2:]) - torch.maximum(boxes[:, :2], other[:, :2])
        inter = sides.clamp(min=0).prod(1)
        areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, other)]
        assert (inter / (areas[0] + areas[1] - inter)).nan_to_num(0).max() <= 1


@pytest.mark.parametrize("threshold", [-0.1, 1.0000001, INF, NAN])
def test_operators_refuse_a_threshold_by_themselves(threshold: float) -> None:
    boxes, scores = random_boxes(3, 1, 3, 10, 0)
    with pytest.raises(RuntimeError, match=r"iou_threshold must be in \[0, 1\]"):
        torch.ops.zoo.nms(boxes, scores, threshold)
    with pytest.raises(RuntimeError, match=r"iou_threshold must be in \[0, 1\]"):
        torch.ops.zoo.batched_nms(boxes, scores, torch.zeros(3).long(), threshold)
    with pytest.raises(RuntimeError, match=r"iou_threshold must be in \[0, 1\]"):
        torch.ops.zoo.nms(boxes.to("meta"), scores.to("meta"), threshold)


def test_opcheck() -> None:
    boxes, scores = random_boxes(50, 5, 50, 100, 2)
    idxs = torch.arange(50) % 3
    torch.library.opcheck(torch.ops.zoo.nms.default, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.zoo.nms.default, (boxes.double().requires_grad_(), scores.double(), 0.0))
    torch.library.opcheck(torch.ops.zoo.nms.default, (boxes[:0], scores[:0], 0.5))
    torch.library.opcheck(torch.ops.zoo.batched_nms.default, (boxes, scores, idxs, 0.5))


class Detect(torch.nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> tuple[Tensor, Tensor]:
        best = nms(boxes, scores, 0.5)
        kept = batched_nms(boxes, scores, idxs, 0.5)[:20]
        return boxes[best] * 2, scores[kept] + 1


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend: str) -> None:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(Detect(), fullgraph=True, dynamic=True, backend=backend)
        for count in (50, 81, 1200):
            boxes, scores = random_boxes(count, 5, 50, 100, count)
            for got, expected in zip(
                compiled(boxes, scores, torch.arange(count) % 3),
                Detect()(boxes, scores, torch.arange(count) % 3),
                strict=True,
            ):
                torch.testing.assert_close(got, expected)


def test_export_with_dynamic_sizes() -> None:
    boxes, scores = random_boxes(50, 5, 50, 100, 2)
    n = torch.export.Dim("n", min=2, max=5000)
    program = torch.export.export(
        Detect(), (boxes, scores, torch.arange(50) % 3), dynamic_shapes=({0: n}, {0: n}, {0: n})
    )
    assert "zoo.batched_nms" in str(program.graph)
    for count in (2, 300, 3000):
        boxes, scores = random_boxes(count, 5, 50, 100, count)
        idxs = torch.arange(count) % 3
        for got, expected in zip(program.module()(boxes, scores, idxs), Detect()(boxes, scores, idxs), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_decides_in_float32(dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(500, 5, 50, 100, 2)
    expected = nms(boxes, scores.to(dtype).float(), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nms(boxes, scores.to(dtype), 0.5), expected)
        assert torch.equal(nms(boxes.double(), scores.to(dtype), 0.5), expected)
        assert torch.equal(batched_nms(boxes, scores.to(dtype), torch.zeros(500).long(), 0.5), expected)


def test_threads_change_nothing() -> None:
    boxes, scores = random_boxes(3000, 5, 105, 400, 0)
    idxs = torch.randint(0, 20, (3000,), generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(batched_nms(boxes, scores, idxs, 0.5))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
