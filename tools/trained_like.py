"""Parameters with which a detector's scores are as far apart as a trained one's.

Those of :mod:`tools.reference_values` make the features of all places nearly equal, so that which box stays would hang
on the last digit. Here normalisations get the statistics of an image, and logits are spread.
"""

from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools import reference_values
from zoo_core import get_model

# The layers that give logits of classes, by what their names end in.
_CLASSIFIERS = ("rpn.head.cls_logits", "box_predictor.cls_score", "classification_head.cls_logits")
_LARGEST_LOGIT = 4.0


def image(seed: int, height: int, width: int) -> Tensor:
    """Soft blobs of every size, float32 Tensor[3, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    grids = [torch.randn(1, 3, cells, cells, generator=generator) for cells in (3, 7, 17, 41)]
    layers = [F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)[0] for grid in grids]
    return torch.stack(layers).sum(0).mul(0.35).sigmoid()


@torch.no_grad()
def detector(name: str, *, seen: tuple[int, int] = (240, 320), **options: Any) -> nn.Module:
    """A detector in eval mode.

    Args:
        name: of the builder.
        seen: size (height, width) of the image whose statistics normalisations get.
        **options: of the builder.
    """
    with reference_values.no_random_init():
        model = get_model(name, weights=None, weights_backbone=None, **options)
    reference_values.fill_parameters(model).eval()
    for key, value in model.state_dict().items():
        if key.endswith("bn3.weight"):
            value.mul_(0.3)  # of a residual, else numbers grow from block to block
    largest: dict[nn.Module, Tensor] = {}

    def normalise(module: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        module.running_mean.copy_(mean)  # type: ignore[operator]
        module.running_var.copy_(variance.clamp(min=0.1))  # type: ignore[operator]

    def look(module: nn.Module, _: Any, output: Tensor) -> None:
        largest[module] = torch.maximum(largest.get(module, torch.zeros(())), output.abs().amax())

    names = dict(model.named_modules())
    with ExitStack() as stack:
        for key, module in names.items():
            if hasattr(module, "running_mean"):
                stack.callback(module.register_forward_pre_hook(normalise).remove)
            elif key.endswith(_CLASSIFIERS) or _is_last_of_ssd(names, key):
                stack.callback(module.register_forward_hook(look).remove)
        model([image(0, *seen)])
    for module, value in largest.items():
        module.weight.mul_(_LARGEST_LOGIT / value)  # type: ignore[operator]
    return model


def _is_last_of_ssd(modules: dict[str, nn.Module], key: str) -> bool:
    head, found, rest = key.partition("classification_head.module_list.")
    if not found:
        return False
    part = f"{head}{found}{rest.split('.')[0]}"
    return key == [name for name, m in modules.items() if name.startswith(part) and isinstance(m, nn.Conv2d)][-1]
