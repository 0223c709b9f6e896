"""Detectors whose scores are as far apart as a trained one's, as ONNX files, and how their outputs are compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools import trained_like
from tools.trained_like import image as picture

__all__ = ["detector", "largest_differences", "picture", "to_onnx"]


def detector(name: str, **options: Any) -> nn.Module:
    """A model that resizes images to few pixels, with parameters that give it scores without ties."""
    kwargs: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 320}
    kwargs |= {"box_detections_per_img": 20} if "rcnn" in name else {"detections_per_img": 20}
    return trained_like.detector(name, seen=(160, 220), **(kwargs | options))


def to_onnx(model: nn.Module, path: Path, size: tuple[int, int], any_size: bool = True) -> Path:
    """The model for one image of the given size, or traced with one of it for any size."""
    dynamic = {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        torch.onnx.export(
            model,
            ([picture(1, *size)],),
            path,
            dynamo=True,
            dynamic_shapes=([dynamic],) if any_size else None,
            verbose=False,
            external_data=False,
        )
    return path


@torch.no_grad()
def largest_differences(run: Callable[..., list[Tensor]], model: nn.Module, image: Tensor) -> dict[str, float]:
    """How far a file's outputs are from the model's, each as a share of the largest number that it may be."""
    (expected,) = model([image])
    found = run(image)
    assert len(expected["boxes"]) > 0
    assert [tuple(value.shape) for value in found] == [tuple(value.shape) for value in expected.values()]
    unit = {"boxes": max(image.shape), "keypoints": max(image.shape), "keypoints_scores": 10.0}
    return {
        key: (value.double() - wanted.double()).abs().max().item() / unit.get(key, 1.0)
        for value, (key, wanted) in zip(found, expected.items(), strict=True)
    }
