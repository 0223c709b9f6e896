"""SSDlite: :class:`~zoo_detection.ssd.SSD` with separable convolutions, on MobileNetV3.

- `SSD: Single Shot MultiBox Detector <https://arxiv.org/abs/1512.02325>`__
- `MobileNetV2: Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`__, section 6.2
- `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__, section 6.3

Shapes: ``N`` images, ``C_i`` channels, ``H_i`` and ``W_i`` height and width of the feature maps, ``A`` default boxes of
an image, ``K`` classes, the background (0) included.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from enum import auto
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo_classification.mobilenetv3 import MobileNet_V3_Large_Weights, mobilenet_v3_large
from zoo_core.features.declared import FeatureLayers
from zoo_core.layers import Conv2dNormActivation
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.anchors import DefaultBoxGenerator
from zoo_detection.backbones import BackboneSpec, freeze_before_stage, mobilenet_stages
from zoo_detection.building import build_detector, initialize_normal
from zoo_detection.ssd import SSD, SSDScoringHead, without_size

__all__ = [
    "SSDLite320_MobileNet_V3_Large_Weights",
    "SSDLiteClassificationHead",
    "SSDLiteFeatureExtractorMobileNet",
    "SSDLiteHead",
    "SSDLiteRegressionHead",
    "ssdlite320_mobilenet_v3_large",
]

NormLayer = Callable[..., nn.Module]


class SSDLiteFeatureExtractorMobileNet(nn.Module):
    """MobileNetV3 and further layers.

    Args:
        backbone: the layers of MobileNetV3.
        c4_pos: the block in which the fourth feature map is taken, after its expansion.
        norm_layer: builds the normalisation for a number of channels.
        width_mult: factor for the channels of the further layers.
        min_depth: least number of channels of these.

    Shape:
        Tensor[N, 3, H, W] -> dict of six feature maps, Tensor[N, C_i, H_i, W_i], by name, ``"0"`` being the finest
    """

    def __init__(
        self,
        backbone: nn.Sequential,
        c4_pos: int,
        norm_layer: NormLayer,
        width_mult: float = 1.0,
        min_depth: int = 16,
    ) -> None:
        super().__init__()
        c4: Any = backbone[c4_pos]
        self.features = nn.Sequential(
            nn.Sequential(*list(backbone)[:c4_pos], c4.block[0]),
            nn.Sequential(c4.block[1:], *list(backbone)[c4_pos + 1 :]),
        )
        channels: Any = backbone[-1]
        sizes = [channels.out_channels, *(max(min_depth, int(size * width_mult)) for size in (512, 256, 256, 128))]
        self.extra = nn.ModuleList(
            nn.Sequential(
                Conv2dNormActivation(
                    before, after // 2, kernel_size=1, norm_layer=norm_layer, activation_layer=nn.ReLU6
                ),
                _depthwise(after // 2, 2, norm_layer),
                Conv2dNormActivation(
                    after // 2, after, kernel_size=1, norm_layer=norm_layer, activation_layer=nn.ReLU6
                ),
            )
            for before, after in itertools.pairwise(sizes)
        )
        self.extra.apply(_initialize_normal)
        self.out_channels = [c4.block[0].out_channels, *sizes]

    def feature_layers(self) -> FeatureLayers:
        extra = [f"extra.{index}" for index in range(len(self.extra))]
        return FeatureLayers(["features.0", "features.1", *extra], pooled="stage2")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = channels_last(x)
        maps = []
        for layers in (*self.features, *self.extra):
            x = layers(x)
            maps.append(x)
        return OrderedDict((str(index), map) for index, map in enumerate(maps))


class SSDLiteHead(nn.Module):
    """Classification and regression.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
        num_classes: number of classes, the background included.
        norm_layer: builds the normalisation for a number of channels.

    Shape:
        as for :class:`~zoo_detection.ssd.SSDHead`.
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.classification_head = SSDLiteClassificationHead(in_channels, num_anchors, num_classes, norm_layer)
        self.regression_head = SSDLiteRegressionHead(in_channels, num_anchors, norm_layer)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        return {"bbox_regression": self.regression_head(x), "cls_logits": self.classification_head(x)}


class SSDLiteClassificationHead(SSDScoringHead):
    """Predicts a logit of each class for each default box.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
        num_classes: number of classes, the background included.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int, norm_layer: NormLayer) -> None:
        super().__init__(_predictions(in_channels, num_anchors, num_classes, norm_layer), num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        _initialize_normal(module)


class SSDLiteRegressionHead(SSDScoringHead):
    """Predicts the offsets for each default box.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int], norm_layer: NormLayer) -> None:
        super().__init__(_predictions(in_channels, num_anchors, 4, norm_layer), 4)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        _initialize_normal(module)


def _depthwise(channels: int, stride: int, norm_layer: NormLayer) -> Conv2dNormActivation:
    return Conv2dNormActivation(
        channels, channels, 3, stride, groups=channels, norm_layer=norm_layer, activation_layer=nn.ReLU6
    )


def _predictions(in_channels: list[int], num_anchors: list[int], values: int, norm_layer: NormLayer) -> nn.ModuleList:
    """A separable convolution for each feature map."""
    return nn.ModuleList(
        nn.Sequential(_depthwise(channels, 1, norm_layer), nn.Conv2d(channels, anchors * values, 1))
        for channels, anchors in zip(in_channels, num_anchors, strict=True)
    )


def _initialize_normal(module: nn.Module) -> None:
    """Draws the parameters of a convolution as the TensorFlow implementation does; leaves other modules alone."""
    initialize_normal(module, std=0.03)


class SSDLite320_MobileNet_V3_Large_Weights(WeightsEnum):
    COCO_V1 = auto()
    GARMENTS_V1 = auto()
    DEFAULT = COCO_V1


def _mobilenet_v3_large(
    backbone: BackboneSpec, num_classes: int = 91, norm_layer: NormLayer | None = None, **kwargs: Any
) -> SSD:
    norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    weights = backbone.weights
    # The ImageNet checkpoint has the full tail; the one trained on COCO, the reduced one.
    features: nn.Sequential = mobilenet_v3_large(
        weights=weights,
        progress=backbone.progress,
        norm_layer=norm_layer,
        reduced_tail=weights is None,
        in_channels=backbone.in_channels,
    ).features
    if weights is None:
        features.apply(_initialize_normal)
    stages = mobilenet_stages(features)
    freeze_before_stage(features, stages, backbone.trainable_layers)
    body = SSDLiteFeatureExtractorMobileNet(features, stages[-2], norm_layer)
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(body.out_channels, boxes.num_anchors_per_location(), num_classes, norm_layer)
    defaults: dict[str, Any] = {
        "score_thresh": 0.001,
        "nms_thresh": 0.55,
        "detections_per_img": 300,
        "topk_candidates": 300,
        # From [0, 1] to [-1, 1], as the backbone was trained.
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "head": head,
    }
    return SSD(body, boxes, (320, 320), num_classes, **(defaults | kwargs))


@register_model
def ssdlite320_mobilenet_v3_large(
    *,
    weights: SSDLite320_MobileNet_V3_Large_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: MobileNet_V3_Large_Weights | None = MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    norm_layer: Callable[..., nn.Module] | None = None,
    **kwargs: Any,
) -> SSD:
    """SSDlite on MobileNetV3-Large, for images of 320x320 pixels.

    From `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__ and `MobileNetV2
    <https://arxiv.org/abs/1801.04381>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 6; 6 by default.
        norm_layer: builds the normalisation; batch normalisation of eps 0.001 and momentum 0.03 by default.
    """
    return build_detector(
        _mobilenet_v3_large,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (6, 6),
        num_classes=num_classes,
        norm_layer=norm_layer,
        **without_size(kwargs),
    )
