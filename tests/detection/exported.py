"""Detectors whose scores are as far apart as a trained one's, as ONNX files, and how their outputs are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from support.recording import without_collection
from tools import trained_like
from tools.trained_like import image as picture

__all__ = ["OF_EACH_FAMILY", "assert_equal_detections", "detector", "largest_differences", "picture", "to_onnx"]

# The smallest of each family.
OF_EACH_FAMILY = [
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]


def detector(name: str, **options: Any) -> nn.Module:
    """A model that resizes images to few pixels, with parameters that give it scores without ties."""
    kwargs: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 320}
    kwargs |= {"box_detections_per_img": 20} if "rcnn" in name else {"detections_per_img": 20}
    return trained_like.detector(name, seen=(160, 220), **(kwargs | options))


def to_onnx(model: nn.Module, path: Path, size: tuple[int, int]) -> Path:
    """The model for an image of any size, traced with one of the given size."""
    dynamic = {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    with torch.no_grad(), without_collection():
        (found,) = model([picture(1, *size)])
        torch.onnx.export(
            model,
            ([picture(1, *size)],),
            path,
            dynamo=True,
            dynamic_shapes=([dynamic],),
            output_names=list(found),
            verbose=False,
            external_data=False,
        )
    return path


@torch.no_grad()
def largest_differences(run: Callable[..., list[Tensor]], model: nn.Module, image: Tensor) -> dict[str, float]:
    """How far a file's outputs are from the model's, each as a share of the largest number that it may be.

    Of keypoints, one in a hundred is left out: rounding decides where two cells of a heatmap are nearly equally high.
    Their scores show that the other cell is as good.
    """
    (expected,) = model([image])
    found = run(image)
    assert len(expected["boxes"]) > 0
    assert [tuple(value.shape) for value in found] == [tuple(value.shape) for value in expected.values()]
    unit = {"boxes": max(image.shape), "keypoints": max(image.shape), "keypoints_scores": 10.0}
    differences = {}
    for value, (key, wanted) in zip(found, expected.items(), strict=True):
        each = (value.double() - wanted.double()).abs().amax(-1).flatten().sort().values
        considered = each[: len(each) - len(each) // 100] if key == "keypoints" else each
        differences[key] = considered[-1].item() / unit.get(key, 1.0)
    return differences


def assert_equal_detections(ours: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    """Compares what a program gives for some images with the model's own detections, of which there are some."""
    assert len(ours) == len(expected)
    for image, wanted in zip(ours, expected, strict=True):
        assert image.keys() == wanted.keys()
        assert len(wanted["boxes"]) > 0
        for key, value in wanted.items():
            torch.testing.assert_close(image[key], value, rtol=1e-4, atol=1e-4, msg=lambda text, k=key: f"{k}: {text}")
