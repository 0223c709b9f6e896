"""DeepLabV3.

`Rethinking Atrous Convolution for Semantic Image Segmentation <https://arxiv.org/abs/1706.05587>`__
"""

from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.mobilenetv3 import MobileNet_V3_Large_Weights, mobilenet_v3_large
from zoo_classification.resnet import ResNet, ResNet50_Weights, ResNet101_Weights, resnet50, resnet101
from zoo_core.inputs import is_of_single_values
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_segmentation.fcn import FCNHead
from zoo_segmentation.segmentation_model import (
    DEFAULT_CLASSES,
    SegmentationModel,
    build_segmentation,
    classifier_stages,
    mobilenet_backbone,
    resnet_backbone,
)

__all__ = [
    "DeepLabHead",
    "DeepLabV3",
    "DeepLabV3_MobileNet_V3_Large_Weights",
    "DeepLabV3_ResNet50_Weights",
    "DeepLabV3_ResNet101_Weights",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_on",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
]


class DeepLabV3(SegmentationModel):
    """Atrous spatial pyramid pooling on a dilated backbone: figure 5 of the paper.

    Args:
        backbone: gives a mapping with the features ``"out"``, and ``"aux"`` if there is an ``aux_classifier``, each
            Tensor[N, C, h, w].
        classifier: turns the features ``"out"`` into scores, Tensor[N, num_classes, h, w].
        aux_classifier: the same for the features ``"aux"``, for an auxiliary loss in training.

    Shape:
        Tensor[N, 3, H, W] -> ``{"out": Tensor[N, num_classes, H, W]}``, and ``"aux"`` likewise if there is an
        ``aux_classifier``; any H and W. In training, N is at least 2.
    """


class DeepLabHead(nn.Sequential):
    """Pyramid pooling, a 3x3 convolution, and a 1x1 convolution to the scores of the classes.

    Args:
        in_channels: channels of the features.
        num_classes: number of classes.
        atrous_rates: dilations of the pyramid's 3x3 convolutions.
    """

    def __init__(self, in_channels: int, num_classes: int, atrous_rates: Sequence[int] = (12, 24, 36)) -> None:
        super().__init__(
            ASPP(in_channels, atrous_rates),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, num_classes, 1),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions that see ever wider surroundings, beside one another.

    Args:
        in_channels: channels of the input.
        atrous_rates: dilations of the 3x3 convolutions.
        out_channels: channels of each branch and of the output.
    """

    def __init__(self, in_channels: int, atrous_rates: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
                ),
                *(ASPPConv(in_channels, out_channels, rate) for rate in atrous_rates),
                ASPPPooling(in_channels, out_channels),
            ]
        )
        self.project = nn.Sequential(
            nn.Conv2d(len(self.convs) * out_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        # Of branches in several orders in memory, cat would make a contiguous tensor: the pooled one has strides of 0.
        return self.project(torch.cat([channels_last(branch(x)) for branch in self.convs], dim=1))


class ASPPConv(nn.Sequential):
    """A branch with a 3x3 convolution of some dilation."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class ASPPPooling(nn.Sequential):
    """The branch that sees the whole image: the mean of its features, everywhere."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        try:
            pooled = super().forward(x)
        except ValueError as error:
            if not is_of_single_values(error):
                raise
            raise ValueError(
                "DeepLabV3 cannot be trained on a batch of one image: its image-level branch has a single value a "
                "channel then, which batch normalisation cannot normalise; give at least two images, or put that "
                "branch into eval mode"
            ) from error
        return pooled.expand(-1, -1, x.shape[-2], x.shape[-1])


def _deeplabv3_resnet(
    builder: Callable[..., ResNet],
    weights_backbone: WeightsEnum | None,
    progress: bool,
    aux_loss: bool,
    num_classes: int = DEFAULT_CLASSES,
    in_channels: int | None = None,
) -> DeepLabV3:
    backbone = resnet_backbone(builder, weights_backbone, progress, aux_loss, in_channels)
    return DeepLabV3(backbone, DeepLabHead(2048, num_classes), FCNHead(1024, num_classes) if aux_loss else None)


def _deeplabv3_mobilenet(
    weights_backbone: WeightsEnum | None,
    progress: bool,
    aux_loss: bool,
    num_classes: int = DEFAULT_CLASSES,
    in_channels: int | None = None,
) -> DeepLabV3:
    layers = {"4": "aux", "16": "out"} if aux_loss else {"16": "out"}
    backbone = mobilenet_backbone(mobilenet_v3_large, weights_backbone, progress, layers, in_channels)
    return DeepLabV3(backbone, DeepLabHead(960, num_classes), FCNHead(40, num_classes) if aux_loss else None)


class DeepLabV3_ResNet50_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


class DeepLabV3_ResNet101_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


class DeepLabV3_MobileNet_V3_Large_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


def deeplabv3_on(
    backbone: str | nn.Module,
    *,
    num_classes: int = DEFAULT_CLASSES,
    aux_loss: bool = False,
    weights_backbone: Any = "DEFAULT",
    progress: bool = True,
    backbone_arguments: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
) -> DeepLabV3:
    """DeepLabV3 on any classifier: ``deeplabv3_on("convnext_tiny", num_classes=5)``.

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
    return DeepLabV3(stages, DeepLabHead(stages.body.channels[-1], num_classes), auxiliary)


@register_model
def deeplabv3_resnet50(
    *,
    weights: DeepLabV3_ResNet50_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    aux_loss: bool | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> DeepLabV3:
    """DeepLabV3 on a ResNet-50, from `Rethinking Atrous Convolution <https://arxiv.org/abs/1706.05587>`__.

    Args:
        num_classes: number of classes, the background included; by default the checkpoint's, or 21.
        aux_loss: have the auxiliary classifier, whose scores come as ``"aux"``; by default only with ``weights``.
        **kwargs: arguments of :func:`zoo_core.builders.build`.
    """
    return build_segmentation(
        partial(_deeplabv3_resnet, resnet50),
        weights,
        progress,
        weights_backbone,
        num_classes=num_classes,
        aux_loss=aux_loss,
        **kwargs,
    )


@register_model
def deeplabv3_resnet101(
    *,
    weights: DeepLabV3_ResNet101_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    aux_loss: bool | None = None,
    weights_backbone: ResNet101_Weights | None = ResNet101_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> DeepLabV3:
    """DeepLabV3 on a ResNet-101, from `Rethinking Atrous Convolution <https://arxiv.org/abs/1706.05587>`__.

    Args:
        num_classes, aux_loss, **kwargs: see :func:`deeplabv3_resnet50`.
    """
    return build_segmentation(
        partial(_deeplabv3_resnet, resnet101),
        weights,
        progress,
        weights_backbone,
        num_classes=num_classes,
        aux_loss=aux_loss,
        **kwargs,
    )


@register_model
def deeplabv3_mobilenet_v3_large(
    *,
    weights: DeepLabV3_MobileNet_V3_Large_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    aux_loss: bool | None = None,
    weights_backbone: MobileNet_V3_Large_Weights | None = MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> DeepLabV3:
    """DeepLabV3 on a MobileNetV3-Large, from `Rethinking Atrous Convolution <https://arxiv.org/abs/1706.05587>`__.

    Args:
        num_classes, aux_loss, **kwargs: see :func:`deeplabv3_resnet50`.
    """
    return build_segmentation(
        _deeplabv3_mobilenet, weights, progress, weights_backbone, num_classes=num_classes, aux_loss=aux_loss, **kwargs
    )
