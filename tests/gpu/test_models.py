"""Every builder on the GPU beside the same model on the CPU: float32, lower precisions, gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detection.exported import detector, picture
from support import recording, reference
from zoo_core.inference import optimize_for_inference

IMAGES = [
    name for task in ("classification", "segmentation", "video", "flow") for name in reference.builder_names(task)
]
FAMILIES = [
    name
    for task in ("classification", "segmentation", "video", "flow")
    for name in recording.smallest_of_each_family(task)
]
DETECTORS = reference.builder_names("detection")
GPU = torch.device("cuda")


def moved(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(GPU)
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    return type(value)(moved(part) for part in value)


def differences(got: object, expected: object) -> float:
    """The largest, relative to the largest value of each output."""
    pairs = list(zip(recording.outputs(got), recording.outputs(expected), strict=True))
    for ours, wanted in pairs:
        assert ours.is_cuda
        assert ours.shape == wanted.shape
        assert ours.isfinite().all()
    return max(float((ours.cpu().float() - wanted).abs().max() / wanted.abs().max()) for ours, wanted in pairs)


@pytest.mark.parametrize("name", IMAGES)
@torch.no_grad()
def test_outputs_equal_those_of_the_cpu(name: str, record_property: Callable[[str, object], None]) -> None:
    model, inputs = recording.small_model(name).eval(), recording.small_inputs(name)
    expected = model(*inputs)
    model.to(GPU)
    there = moved(inputs)
    found = {"float32": differences(model(*there), expected)}
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cuda", dtype):
            found[str(dtype)] = differences(model(*there), expected)
    record_property("differences", found)
    assert found["float32"] < 1e-3


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_models_made_fast_give_the_same(name: str, record_property: Callable[[str, object], None]) -> None:
    model, inputs = recording.small_model(name).eval(), recording.small_inputs(name)
    expected = model(*inputs)
    fast = optimize_for_inference(model.to(GPU))
    found = differences(fast(*moved(inputs)), expected)
    record_property("difference", found)
    assert found < 1e-3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_those_of_the_cpu(
    name: str, layout: torch.memory_format, record_property: Callable[[str, object], None]
) -> None:
    """In evaluation, where no layer draws; one that the batch's statistics would blow up is left alone."""

    def gradients(model: nn.Module, inputs: recording.Inputs) -> dict[str, Tensor]:
        model.zero_grad()
        sum(output.float().square().mean() for output in recording.outputs(model(*inputs))).backward()
        # A copy: on the CPU it would be the very tensor that moves with the model.
        return {key: value.grad.cpu().clone() for key, value in model.named_parameters() if value.grad is not None}

    model, inputs = recording.small_model(name).eval(), recording.small_inputs(name)
    expected = gradients(model, inputs)
    there = tuple(value.to(memory_format=layout) if value.dim() == 4 else value for value in moved(inputs))
    got = gradients(model.to(GPU, memory_format=layout), there)
    assert got.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    worst = max(float((got[key] - value).abs().max()) for key, value in expected.items()) / largest
    record_property("difference", worst)
    assert worst < 1e-2


@pytest.mark.parametrize("name", DETECTORS)
@torch.no_grad()
def test_detections_equal_those_of_the_cpu(name: str, record_property: Callable[[str, object], None]) -> None:
    model = detector(name).eval()
    images = [picture(2, 100, 140), picture(3, 140, 100)]
    expected = model(images)
    model.to(GPU)
    found = []
    for got, wanted in zip(model(moved(images)), expected, strict=True):
        assert got.keys() == wanted.keys()
        assert len(wanted["boxes"])
        assert torch.equal(got["labels"].cpu(), wanted["labels"])
        found.append({key: float((got[key].cpu() - wanted[key]).abs().max()) for key in wanted})
    record_property("differences", found)
    assert max(value["boxes"] for value in found) < 0.05
    assert max(value["scores"] for value in found) < 1e-3
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cuda", dtype):
            for result in model(moved(images)):
                assert all(value.is_cuda and value.float().isfinite().all() for value in result.values())


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_detectors_train(name: str, dtype: torch.dtype) -> None:
    """Losses and gradients of a step are finite, in mixed precision too."""
    model = detector(name).to(GPU).train()
    images = moved([picture(2, 100, 140), picture(3, 140, 100)])
    boxes = torch.tensor([[10.0, 12.0, 60.0, 70.0], [30.0, 20.0, 90.0, 95.0]])
    target: dict[str, Tensor] = {"boxes": boxes, "labels": torch.tensor([1, 1])}
    if name.startswith("maskrcnn"):
        target["masks"] = torch.ones(2, 140, 140, dtype=torch.uint8)
    if name.startswith("keypointrcnn"):
        target["keypoints"] = torch.full((2, 17, 3), 40.0)
    targets = [moved(target) for _ in images]
    if "masks" in target:
        targets = [
            t | {"masks": t["masks"][:, : x.shape[1], : x.shape[2]]} for t, x in zip(targets, images, strict=True)
        ]
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        losses = model(images, targets)
    loss = sum(losses.values())
    assert loss.isfinite()
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    scaler.scale(loss).backward()
    found = [value.grad for value in model.parameters() if value.grad is not None]
    assert found
    assert all(gradient.is_cuda for gradient in found)
    if dtype != torch.float16:
        assert all(gradient.isfinite().all() for gradient in found)
