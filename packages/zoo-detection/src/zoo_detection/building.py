"""What the builders of all detectors have in common."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from zoo_core.builders import build
from zoo_core.input_channels import check_channels, per_channel
from zoo_core.layers import scale_and_bias
from zoo_core.weights import WeightsEnum
from zoo_detection.backbones import BackboneSpec, validate_trainable_layers
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
    in_channels: int | None = None,
    **kwargs: Any,
) -> Detector:
    """Makes a detector: with the weights of a checkpoint, with a pretrained backbone, or with random parameters.

    Args:
        construct: builds the model from ``backbone``, a :class:`~zoo_detection.backbones.BackboneSpec`, ``num_classes``
            and ``kwargs``.
        weights: what to load; ``weights_backbone`` is ignored then.
        weights_backbone: what to load into the backbone.
        progress: show a progress bar for a download.
        trainable_backbone_layers: how many stages of the backbone train; ``None`` for the default.
        layers: how many there are, and the default.
        num_classes: number of classes; ``None`` for those of the weights, or COCO's 91.
        in_channels: how many channels the images have; 3 by default. ``image_mean`` and ``image_std`` follow, unless
            they are given; see :mod:`zoo_core.input_channels`.
        **kwargs: further arguments of ``construct``, and of :func:`zoo_core.builders.build`.

    Raises:
        ValueError: ``trainable_backbone_layers`` is more than there are, or ``image_mean`` or ``image_std`` has
            another number of channels.
    """
    if weights is not None:
        weights_backbone = None
    is_trained = weights is not None or weights_backbone is not None
    trainable_layers = validate_trainable_layers(is_trained, trainable_backbone_layers, *layers)
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    if in_channels is None:
        backbone = BackboneSpec(weights_backbone, progress, is_trained, trainable_layers)
        return build(construct, weights, progress, backbone=backbone, **kwargs)
    check_channels(in_channels)
    for name in ("image_mean", "image_std"):
        values = kwargs.get(name)
        if values is not None and len(values) not in (1, in_channels):
            raise ValueError(f"{name} must have a value for each of in_channels={in_channels} channels, not {values}")
    # A whole detector's checkpoint is loaded before its first layer is made another.
    of_backbone, of_detector = (in_channels, None) if weights is None else (None, in_channels)
    backbone = BackboneSpec(weights_backbone, progress, is_trained, trainable_layers, of_backbone)
    model: Any = build(construct, weights, progress, backbone=backbone, in_channels=of_detector, **kwargs)
    for name in ("image_mean", "image_std"):
        if kwargs.get(name) is None:
            setattr(model.transform, name, per_channel(getattr(model.transform, name), in_channels))
    return model


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


def initialize_convolution(module: nn.Module, *, zero_bias: bool = True) -> None:
    """Draws the parameters of a convolution as Mask R-CNN's heads do; leaves other modules alone.

    Args:
        module: what to draw the weights of.
        zero_bias: set the bias to zero, instead of leaving it as torch draws it.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_bias and module.bias is not None:
            nn.init.zeros_(module.bias)


def initialize_normal(module: nn.Module, std: float = 0.01) -> None:
    """Draws the weights of a convolution from a normal distribution, with zero bias; leaves other modules alone.

    Args:
        module: what to draw the weights of.
        std: standard deviation; 0.01 in the heads of Faster R-CNN, RetinaNet and FCOS.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class RegionBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of the features of regions, of which there may be none.

    An exported program takes any number of regions, also none, which torch's own operator has to know beforehand.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            # The statistics of nothing would be NaN, and stay so.
            return super().forward(input) if input.shape[0] else input * self.scale_and_bias()[0].reshape(1, -1, 1, 1)
        if not torch.compiler.is_compiling():
            return super().forward(input)
        scale, bias = self.scale_and_bias()
        return input * scale.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)

    def scale_and_bias(self) -> tuple[Tensor, Tensor]:
        """Scale and bias of each channel by the running statistics, both Tensor[C]."""
        assert self.running_mean is not None
        assert self.running_var is not None
        return scale_and_bias(self.running_mean, self.running_var, self.weight, self.bias, self.eps)
