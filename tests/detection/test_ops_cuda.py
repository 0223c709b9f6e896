"""The CUDA kernels against the CPU's results. Runs where a GPU is at hand."""

import pytest
import torch
from torch import Tensor

from zoo_detection import ops
from zoo_detection.ops import batched_nms, nms, roi_align

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def random_boxes(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=g) * 800
    boxes = torch.cat((corner, corner + 5 + 100 * torch.rand(count, 2, generator=g)), 1)
    return boxes.to(dtype), (torch.rand(count, generator=g) * 500).round().to(dtype)  # with equal scores


def test_compiled_kernels_serve() -> None:
    assert ops.backend()["cuda"] == "compiled"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1023, 1024, 1025, 5000, 30000])
def test_nms(count: int, dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(count, dtype)
    idxs = torch.arange(count) % 5
    for threshold in (0.0, 0.1, 0.5, 1.0):
        assert torch.equal(nms(boxes.cuda(), scores.cuda(), threshold).cpu(), nms(boxes, scores, threshold))
        got = batched_nms(boxes.cuda(), scores.cuda(), idxs.cuda(), threshold)
        assert torch.equal(got.cpu(), batched_nms(boxes, scores, idxs, threshold))


def test_nms_of_special_values() -> None:
    boxes, scores = random_boxes(3000)
    boxes[::7, 0] = float("nan")
    boxes[::11, 2] = float("inf")
    boxes[::13, 2:] = boxes[::13, :2]
    scores[::17] = float("nan")
    for threshold in (0.0, 0.5):
        assert torch.equal(nms(boxes.cuda(), scores.cuda(), threshold).cpu(), nms(boxes, scores, threshold))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(dtype: torch.dtype, memory_format: torch.memory_format, ratio: int, aligned: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 70, 40, 50, generator=g).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    corner = torch.rand(100, 2, generator=g) * 200 - 20
    rois = torch.cat((torch.arange(100)[:, None] % 2, corner, corner - 5 + 80 * torch.rand(100, 2, generator=g)), 1).to(
        dtype if dtype == torch.float64 else torch.float32
    )
    there = x.detach().cuda().requires_grad_()
    expected = roi_align(x, rois, (7, 5), 0.25, ratio, aligned)
    got = roi_align(there, rois.cuda(), (7, 5), 0.25, ratio, aligned)
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4}.get(dtype, 3e-2)
    torch.testing.assert_close(got.cpu(), expected, rtol=tolerance, atol=tolerance)
    assert got.stride() == expected.stride()
    grad = torch.randn(expected.shape, generator=g).to(dtype)
    expected.backward(grad)
    got.backward(grad.cuda())
    assert there.grad is not None
    torch.testing.assert_close(there.grad.cpu(), x.grad, rtol=10 * tolerance, atol=10 * tolerance)


def test_multiscale_roi_align_and_regions_without_an_image() -> None:
    g = torch.Generator().manual_seed(0)
    features = {str(i): torch.randn(2, 20, 64 >> i, 64 >> i, generator=g) for i in range(4)}
    corner = torch.rand(2, 50, 2, generator=g) * 150
    boxes = list(torch.cat((corner, corner + 100 * torch.rand(2, 50, 2, generator=g) ** 2), 2))
    pool = ops.MultiScaleRoIAlign(list(features), 7, 2, canonical_scale=56)
    got = pool({k: v.cuda() for k, v in features.items()}, [b.cuda() for b in boxes], [(256, 256)] * 2)
    torch.testing.assert_close(got.cpu(), pool(features, boxes, [(256, 256)] * 2), rtol=1e-4, atol=1e-4)
    wrong = torch.tensor([[7.0, 0, 0, 10, 10], [0, 0, 0, 10, 10]], device="cuda")
    pooled = roi_align(features["0"].cuda(), wrong, 2)
    assert pooled[0].isnan().all()
    assert pooled[1].isfinite().all()
