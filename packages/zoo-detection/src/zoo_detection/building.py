"""What the builders of all detectors have in common."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from zoo_core.builders import build
from zoo_core.weights import WeightsEnum
from zoo_detection.backbones import validate_trainable_layers
from zoo_detection.ops import FrozenBatchNorm2d

Detector = TypeVar("Detector", bound=nn.Module)


def build_detector(
    construct: Callable[..., Detector],
    weights: WeightsEnum | None,
    weights_backbone: WeightsEnum | None,
    progress: bool,
    trainable_backbone_layers: int | None,
    layers: tuple[int, int],
    /,
    *,
    num_classes: int | None = None,
    **kwargs: Any,
) -> Detector:
    """Makes a detector: with the weights of a checkpoint, with a pretrained backbone, or with random parameters.

    Args:
        construct: makes the model from ``num_classes`` and ``backbone``, a dict of ``weights``, ``progress`` and
            ``trainable_layers`` of the backbone and whether it ``is_trained``, and from ``kwargs``.
        weights: what to load; ``weights_backbone`` are then of no interest.
        weights_backbone: what to load into the backbone.
        progress: show a progress bar for a download.
        trainable_backbone_layers: how many stages of the backbone train; ``None`` for the default.
        layers: how many there are, and the default.
        num_classes: number of classes; ``None`` for those of the weights, or COCO's 91.
        **kwargs: further arguments of ``construct``, and of :func:`zoo_core.builders.build`.
    """
    if weights is not None:
        weights_backbone = None
    is_trained = weights is not None or weights_backbone is not None
    backbone = {
        "weights": weights_backbone,
        "progress": progress,
        "is_trained": is_trained,
        "trainable_layers": validate_trainable_layers(is_trained, trainable_backbone_layers, *layers),
    }
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    return build(construct, weights, progress, backbone=backbone, **kwargs)


def set_frozen_eps(model: nn.Module, eps: float) -> None:
    """Sets what frozen batch normalisation adds to the variance: nothing, in the oldest checkpoints."""
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = eps


def initialize_part(model: nn.Module, module: nn.Module) -> None:
    """Draws the parameters of a module as the part of the model that it belongs to does."""
    for part in model.modules():
        initialize = getattr(part, "_initialize", None)
        if part is not model and initialize is not None and any(module is child for child in part.modules()):
            initialize(module)


def initialize_convolution(module: nn.Module) -> None:
    """Draws the parameters of a convolution as Mask R-CNN's heads do; leaves other modules alone."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
