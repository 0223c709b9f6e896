"""ONNX files of the operators, by both exporters, and of one detector of each family, in ONNX Runtime.

All detectors, straight from the model, and in OpenVINO too: `nox -s exports`.
"""

import gc
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detection.exported import OF_EACH_FAMILY, assert_equal_detections, detector, largest_differences, picture
from support.recording import without_collection
from support.runtimes import onnx_runtime
from zoo_detection import MultiScaleRoIAlign, batched_nms, nms, roi_align
from zoo_detection.keypoints import heatmaps_to_keypoints

DYNAMIC = torch.export.Dim.DYNAMIC
EXPORTERS = pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])


def export(path: Path, model: nn.Module, inputs: tuple[Tensor, ...], dynamic: list[list[int]], dynamo: bool) -> Any:
    """The model as an ONNX file; ``dynamic`` has the dimensions of each input whose size may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter is deprecated, and traces
        if dynamo:
            shapes = tuple(dict.fromkeys(dims, DYNAMIC) for dims in dynamic)
            torch.onnx.export(model, inputs, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        else:
            names = [f"x{i}" for i in range(len(inputs))]
            axes = {name: {dim: f"{name}_{dim}" for dim in dims} for name, dims in zip(names, dynamic, strict=True)}
            torch.onnx.export(model, inputs, path, dynamo=False, opset_version=18, input_names=names, dynamic_axes=axes)
    return onnx_runtime(path)


def boxes_of(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Some of them empty or with swapped corners."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 30
    return torch.cat((corner, corner + torch.rand(count, 2, generator=generator) * 30 - 3), 1).to(dtype)


class Suppression(nn.Module):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> tuple[Tensor, Tensor]:
        return nms(boxes, scores, self.threshold), batched_nms(boxes, scores, idxs, self.threshold)


@EXPORTERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_suppression(dynamo: bool, dtype: torch.dtype, threshold: float, tmp_path: Path) -> None:
    def inputs(count: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(count)
        # Below zero too, and with equal ones.
        scores = torch.randn(count, generator=generator).mul(8).round().div(8)
        idxs = torch.randint(-3, 4, (count,), generator=generator) * 1_000_003
        boxes = boxes_of(count, count)
        if threshold == 0.5:
            boxes = boxes.round()  # many pairs with an IoU of exactly 1/2
        return boxes.to(dtype), scores.to(dtype), idxs

    model = Suppression(threshold)
    run = export(tmp_path / "nms.onnx", model, inputs(40), [[0], [0], [0]], dynamo)
    for count in (40, 300, 1, 0):
        for found, expected in zip(run(*inputs(count)), model(*inputs(count)), strict=True):
            assert found.dtype == torch.int64
            assert found.tolist() == expected.tolist()


class Pooling(nn.Module):
    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        pooled = [roi_align(x, rois, (3, 2), 0.5, ratio, aligned) for ratio in (-1, 0, 2) for aligned in (False, True)]
        return *pooled, roi_align(x, [rois[:, 1:], rois[:0, 1:]], 2, 0.25, 1)


@EXPORTERS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_roi_align(dynamo: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    def inputs(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(count)
        images = torch.randint(0, 2, (count, 1), generator=generator)
        x = torch.randn(2, 4, height, width, generator=generator)
        return x.to(dtype), torch.cat((images, boxes_of(count, count)), 1).to(dtype)

    model = Pooling()
    run = export(tmp_path / "pool.onnx", model, inputs(20, 15, 18), [[2, 3], [0]], dynamo)
    tolerance = {torch.float32: 1e-5, torch.float16: 5e-3, torch.float64: 1e-10}[dtype]
    for count, height, width in ((20, 15, 18), (50, 9, 31), (1, 1, 1), (0, 5, 5)):
        given = inputs(count, height, width)
        for found, expected in zip(run(*given), model(*given), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(["fine", "middle", "coarse"], (3, 2), 2, canonical_scale=28)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor, boxes: Tensor) -> Tensor:
        return self.pool({"fine": fine, "middle": middle, "coarse": coarse}, [boxes], [(200, 240)])


@EXPORTERS
def test_multiscale_roi_align(dynamo: bool, tmp_path: Path) -> None:
    """Also where some level, or each, has no box."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 4, 200 // side, 240 // side, generator=generator) for side in (4, 8, 16)]
    model = Pyramid()
    boxes = {count: boxes_of(count, count) * 4 for count in (30, 7, 1, 0)}
    run = export(tmp_path / "pyramid.onnx", model, (*maps, boxes[30]), [[], [], [], [0]], dynamo)
    for given in (*boxes.values(), boxes[30][:, :2].repeat(1, 2)):
        torch.testing.assert_close(run(*maps, given)[0], model(*maps, given), rtol=0, atol=1e-5)


class Keypoints(nn.Module):
    def forward(self, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        return heatmaps_to_keypoints(maps, boxes)


@EXPORTERS
def test_keypoints(dynamo: bool, tmp_path: Path) -> None:
    def inputs(count: int) -> tuple[Tensor, Tensor]:
        return torch.randn(count, 5, 14, 14, generator=torch.Generator().manual_seed(count)), boxes_of(count, 0) * 3

    model = Keypoints()
    run = export(tmp_path / "keypoints.onnx", model, inputs(4), [[0], [0]], dynamo)
    for count in (4, 9, 1, 0):
        for found, expected in zip(run(*inputs(count)), model(*inputs(count)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_a_program_that_was_exported_before_is_translated_too(tmp_path: Path) -> None:
    boxes, scores = boxes_of(20, 0), torch.rand(20)
    program = torch.export.export(Suppression(0.5), (boxes, scores, torch.arange(20) % 3))
    torch.onnx.export(program, (), tmp_path / "nms.onnx", dynamo=True, verbose=False)
    found, _ = onnx_runtime(tmp_path / "nms.onnx")(boxes, scores, torch.arange(20) % 3)
    assert found.tolist() == nms(boxes, scores, 0.5).tolist()


LOADED = """
import sys
{before}
import zoo_detection
print(sorted({{"torch.onnx", "onnx", "onnxscript"}} & set(sys.modules)))
import torch, io
class M(torch.nn.Module):
    def forward(self, boxes, scores):
        return zoo_detection.nms(boxes, scores, 0.5)
x = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [5, 5, 9, 9]]), torch.tensor([0.5, 0.7, 0.1])
torch.onnx.export(M(), x, io.BytesIO(), dynamo=True, verbose=False)
torch.onnx.export(M(), x, io.BytesIO(), dynamo=False)
print(any("zoo_detection.ops._after_import" in type(f).__module__ for f in sys.meta_path))
"""


@pytest.mark.parametrize(
    ("before", "loaded"),
    [
        ("", []),
        ("import torch.onnx", ["torch.onnx"]),
        (
            "import torch.onnx, onnxscript.function_libs.torch_lib.ops",
            ["onnx", "onnxscript", "torch.onnx"],
        ),
    ],
)
def test_exporters_are_not_imported_but_known_whatever_comes_first(before: str, loaded: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOADED.format(before=before)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == str(loaded)
    assert lines[-1] == "False"  # nothing waits for an import any more


@pytest.mark.parametrize("name", OF_EACH_FAMILY)
def test_a_detector_of_each_family(name: str, tmp_path: Path) -> None:
    """As a program of torch.export, and as the file that is made of it."""
    model, size = detector(name), (70, 90)
    with torch.no_grad():
        with without_collection():
            program = torch.export.export(model, ([picture(1, *size)],))
        exported = program.module()
        for seed in (1, 2):
            (expected,) = model([picture(seed, *size)])
            assert_equal_detections(exported([picture(seed, *size)]), [expected])
    path = tmp_path / "model.onnx"
    with without_collection():
        names = list(expected)  # which nothing else in the file may have
        torch.onnx.export(program, (), path, output_names=names, dynamo=True, verbose=False, external_data=False)
    del program, exported
    run = onnx_runtime(path)
    differences = largest_differences(run, model, picture(2, *size))
    assert differences.pop("labels") == 0
    assert max(differences.values()) < 1e-3, differences
    del model, run
    gc.collect()
