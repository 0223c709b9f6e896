"""LR-ASPP, the segmentation head of MobileNetV3.

`Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__

Shapes: ``N`` images, ``H`` x ``W`` pixels, ``h`` x ``w`` cells of a feature map, ``C`` channels.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import auto
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_classification.mobilenetv3 import MobileNet_V3_Large_Weights, mobilenet_v3_large
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.tracing import is_plain, is_stand_in
from zoo_core.weights import WeightsEnum
from zoo_segmentation.segmentation_model import (
    DEFAULT_CLASSES,
    backbone_layers,
    build_segmentation,
    extract_features,
    mobilenet_backbone,
    upsample_to,
)

__all__ = [
    "LRASPP",
    "LRASPPHead",
    "LRASPP_MobileNet_V3_Large_Weights",
    "lraspp_mobilenet_v3_large",
]


class LRASPP(nn.Module):
    """Lite reduced atrous spatial pyramid pooling on a dilated backbone.

    Args:
        backbone: gives a mapping with the features ``"low"`` and ``"high"``, each Tensor[N, C, h, w]; the low ones are
            from nearer to the input, and larger.
        low_channels: channels of the low features.
        high_channels: channels of the high features.
        num_classes: number of classes, the background included.
        inter_channels: channels that the high features are reduced to.

    Shape:
        Tensor[N, 3, H, W] -> ``{"out": Tensor[N, num_classes, H, W]}``; any H and W.
    """

    def __init__(
        self, backbone: nn.Module, low_channels: int, high_channels: int, num_classes: int, inter_channels: int = 128
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = LRASPPHead(low_channels, high_channels, num_classes, inter_channels)

    def feature_layers(self) -> FeatureLayers:
        return backbone_layers(self.backbone)

    @explains_failures
    def forward(self, input: Tensor) -> OrderedDict[str, Tensor]:
        check_image(input, model="LRASPP", min_size=(1, 1))
        features = extract_features(self.backbone, input)
        return OrderedDict(out=upsample_to(input, self.classifier(features)))


class LRASPPHead(nn.Module):
    """Classifies low and high features, the latter scaled by what the whole image says: figure 10 of the paper.

    Args:
        low_channels: channels of the low features.
        high_channels: channels of the high features.
        num_classes: number of classes.
        inter_channels: channels that the high features are reduced to.
    """

    def __init__(self, low_channels: int, high_channels: int, num_classes: int, inter_channels: int) -> None:
        super().__init__()
        self.cbr = nn.Sequential(
            nn.Conv2d(high_channels, inter_channels, 1, bias=False),
            nn.BatchNorm2d(inter_channels),
            nn.ReLU(inplace=True),
        )
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(high_channels, inter_channels, 1, bias=False), nn.Sigmoid()
        )
        self.low_classifier = nn.Conv2d(low_channels, num_classes, 1)
        self.high_classifier = nn.Conv2d(inter_channels, num_classes, 1)

    def forward(self, input: Mapping[str, Tensor]) -> Tensor:
        """The scores Tensor[N, num_classes, h, w], of the size of the features ``low``."""
        low, high = input["low"], input["high"]
        high = self.cbr(high) * self.scale(high)
        enlarge = partial(F.interpolate, size=low.shape[-2:], mode="bilinear", align_corners=False)
        if not is_stand_in(high) and _is_pointwise(self.high_classifier):
            # Interpolation commutes with such a convolution, and there are fewer classes than channels.
            scores = enlarge(self.high_classifier(high))
        else:
            scores = self.high_classifier(enlarge(high))
        return self.low_classifier(low) + scores


def _is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer is a 1x1 convolution, and nobody watches it."""
    return (
        is_plain(layer, nn.Conv2d)
        and isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
    )


def _lraspp(
    weights_backbone: WeightsEnum | None,
    progress: bool,
    num_classes: int = DEFAULT_CLASSES,
    in_channels: int | None = None,
) -> LRASPP:
    layers = {"4": "low", "16": "high"}
    backbone = mobilenet_backbone(mobilenet_v3_large, weights_backbone, progress, layers, in_channels)
    return LRASPP(backbone, low_channels=40, high_channels=960, num_classes=num_classes)


class LRASPP_MobileNet_V3_Large_Weights(WeightsEnum):
    COCO_WITH_VOC_LABELS_V1 = auto()
    GARMENTS_V1 = auto()
    DEFAULT = COCO_WITH_VOC_LABELS_V1


@register_model
def lraspp_mobilenet_v3_large(
    *,
    weights: LRASPP_MobileNet_V3_Large_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: MobileNet_V3_Large_Weights | None = MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    **kwargs: Any,
) -> LRASPP:
    """LR-ASPP on a MobileNetV3-Large, from `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__.

    Args:
        num_classes: number of classes, the background included; by default the checkpoint's, or 21.
        **kwargs: arguments of :func:`zoo_core.builders.build`.

    Raises:
        NotImplementedError: ``aux_loss`` is asked for.
    """
    if kwargs.pop("aux_loss", False):
        raise NotImplementedError("LR-ASPP has no auxiliary classifier; leave out aux_loss")
    return build_segmentation(_lraspp, weights, progress, weights_backbone, num_classes=num_classes, **kwargs)
