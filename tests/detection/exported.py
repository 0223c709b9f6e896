"""Detectors whose scores are as far apart as a trained one's, as ONNX files, and how their outputs are compared."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo_core
from support import reference
from zoo_detection import FrozenBatchNorm2d

# The layers that give logits of classes, by what their names end in.
_CLASSIFIERS = ("rpn.head.cls_logits", "box_predictor.cls_score", "classification_head.cls_logits")


def picture(seed: int, height: int, width: int) -> Tensor:
    """Soft blobs of every size: features differ from place to place, as those of a photo do."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for cells in (3, 7, 17, 41):
        grid = torch.randn(1, 3, cells, cells, generator=generator)
        layers.append(F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)[0])
    return torch.stack(layers).sum(0).mul(0.35).sigmoid()


@torch.no_grad()
def detector(name: str, **options: Any) -> nn.Module:
    """A model that resizes images to few pixels, with parameters that give it scores without ties.

    The reference's parameters make the features of all places, and so the scores, nearly equal: which box stays would
    hang on the last digit. Here normalisations have the statistics of a picture, and logits spread.
    """
    kwargs: dict[str, Any] = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 320}
    kwargs |= {"box_detections_per_img": 20} if "rcnn" in name else {"detections_per_img": 20}
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights=None, weights_backbone=None, **(kwargs | options))
    reference.fill_parameters(model)
    for key, value in model.state_dict().items():
        if key.endswith("bn3.weight"):
            value.mul_(0.3)  # a residual; with whole ones rounding errors grow from block to block
    spread: dict[nn.Module, list[Tensor]] = {}

    def normalise(module: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        module.running_mean.copy_(mean)  # type: ignore[union-attr]
        module.running_var.copy_(variance.clamp(min=0.1))  # type: ignore[union-attr]

    def look(module: nn.Module, _: Any, output: Tensor) -> None:
        spread.setdefault(module, []).append(output.abs().amax())

    with ExitStack() as stack:
        for key, module in model.named_modules():
            if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d):
                stack.callback(module.register_forward_pre_hook(normalise).remove)
            elif key.endswith(_CLASSIFIERS) or _is_last_convolution_of_ssd(model, key):
                stack.callback(module.register_forward_hook(look).remove)
        model([picture(0, 160, 220)])
    for module, values in spread.items():
        assert isinstance(module, nn.Conv2d | nn.Linear)
        module.weight.mul_(4 / torch.stack(values).amax())
    return model


def _is_last_convolution_of_ssd(model: nn.Module, key: str) -> bool:
    head, found, rest = key.partition("classification_head.module_list.")
    if not found:
        return False
    part = f"{head}{found}{rest.split('.')[0]}"
    return key == [n for n, m in model.named_modules() if n.startswith(part) and isinstance(m, nn.Conv2d)][-1]


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
