"""FCN, the fully convolutional network.

`Fully Convolutional Networks for Semantic Segmentation <https://arxiv.org/abs/1411.4038>`__
"""

from collections.abc import Callable, Mapping
from enum import auto
from functools import partial
from typing import Any

from torch import nn

from zoo_classification.resnet import ResNet, ResNet50_Weights, ResNet101_Weights, resnet50, resnet101
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_segmentation.segmentation_model import (
    DEFAULT_CLASSES,
    SegmentationModel,
    build_segmentation,
    classifier_stages,
    resnet_backbone,
)

__all__ = [
    "FCN",
    "FCNHead",
    "FCN_ResNet50_Weights",
    "FCN_ResNet101_Weights",
    "fcn_on",
    "fcn_resnet50",
    "fcn_resnet101",
]


class FCN(SegmentationModel):
    """A convolutional classifier on a dilated backbone, whose scores are interpolated to the input's size.

    Args:
        backbone: gives a mapping with the features ``"out"``, and ``"aux"`` if there is an ``aux_classifier``, each
            Tensor[N, C, h, w].
        classifier: turns the features ``"out"`` into scores, Tensor[N, num_classes, h, w].
        aux_classifier: the same for the features ``"aux"``, for an auxiliary loss in training.

    Shape:
        Tensor[N, 3, H, W] -> ``{"out": Tensor[N, num_classes, H, W]}``, and ``"aux"`` likewise if there is an
        ``aux_classifier``; any H and W.
    """


class FCNHead(nn.Sequential):
    """3x3 convolution to a quarter of the channels, and 1x1 convolution to the scores of the classes.

    Args:
        in_channels: channels of the features.
        channels: number of classes.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        inter_channels = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, inter_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(inter_channels),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inter_channels, channels, 1),
        )


def _fcn(
    builder: Callable[..., ResNet],
    weights_backbone: WeightsEnum | None,
    progress: bool,
    aux_loss: bool,
    num_classes: int = DEFAULT_CLASSES,
    in_channels: int | None = None,
) -> FCN:
    backbone = resnet_backbone(builder, weights_backbone, progress, aux_loss, in_channels)
    return FCN(backbone, FCNHead(2048, num_classes), FCNHead(1024, num_classes) if aux_loss else None)


class FCN_ResNet50_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


class FCN_ResNet101_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


def fcn_on(
    backbone: str | nn.Module,
    *,
    num_classes: int = DEFAULT_CLASSES,
    aux_loss: bool = False,
    weights_backbone: Any = "DEFAULT",
    progress: bool = True,
    backbone_arguments: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
) -> FCN:
    """FCN on any classifier: ``fcn_on("convnext_tiny", num_classes=5)``.

    Args:
        backbone: name of a builder of :mod:`zoo_classification`, or such a model, whose head is dropped then. One that
            takes images of one size alone makes a segmentation model that does, too.
        num_classes: number of classes, the background included.
        aux_loss: have an auxiliary classifier on the features from halfway, whose scores come as ``"aux"``.
        weights_backbone: what to load into a backbone that is named; ``None`` for random parameters.
        progress: show a progress bar for a download.
        backbone_arguments: further arguments of the backbone's builder.
        in_channels: how many channels the images have; 3 by default. See :mod:`zoo_core.input_channels`.

    Raises:
        ValueError: the backbone is no classifier, takes images of other channels, or has no feature maps that fit.
    """
    stages = classifier_stages(backbone, weights_backbone, progress, backbone_arguments, in_channels)
    auxiliary = FCNHead(stages.body.channels[0], num_classes) if aux_loss else None
    return FCN(stages, FCNHead(stages.body.channels[-1], num_classes), auxiliary)


@register_model
def fcn_resnet50(
    *,
    weights: FCN_ResNet50_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    aux_loss: bool | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> FCN:
    """FCN on a dilated ResNet-50, from `Fully Convolutional Networks <https://arxiv.org/abs/1411.4038>`__.

    Args:
        num_classes: number of classes, the background included; by default the checkpoint's, or 21.
        aux_loss: have the auxiliary classifier, whose scores come as ``"aux"``; by default only with ``weights``.
        **kwargs: arguments of :func:`zoo_core.builders.build`.
    """
    return build_segmentation(
        partial(_fcn, resnet50),
        weights,
        progress,
        weights_backbone,
        num_classes=num_classes,
        aux_loss=aux_loss,
        **kwargs,
    )


@register_model
def fcn_resnet101(
    *,
    weights: FCN_ResNet101_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    aux_loss: bool | None = None,
    weights_backbone: ResNet101_Weights | None = ResNet101_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> FCN:
    """FCN on a dilated ResNet-101, from `Fully Convolutional Networks <https://arxiv.org/abs/1411.4038>`__.

    Args:
        num_classes, aux_loss, **kwargs: see :func:`fcn_resnet50`.
    """
    return build_segmentation(
        partial(_fcn, resnet101),
        weights,
        progress,
        weights_backbone,
        num_classes=num_classes,
        aux_loss=aux_loss,
        **kwargs,
    )
