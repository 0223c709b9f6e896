"""SqueezeNet.

`SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size
<https://arxiv.org/abs/1602.07360>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. Of 224 x 224 pixels ``features`` makes ``[N, 512, 13, 13]``.
"""

from enum import auto
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = ["SqueezeNet", "SqueezeNet1_0_Weights", "SqueezeNet1_1_Weights", "squeezenet1_0", "squeezenet1_1"]


class SqueezeNet(nn.Module):
    """Fire modules without any fully connected layer.

    Args:
        version: ``"1_0"``, the paper's network, or ``"1_1"``, as accurate with 2.4 times less computation.
        num_classes: number of classes.
        dropout: dropout probability before the last convolution.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; H and W of at least 21 (version 1.0) or 17 (version 1.1).

    Raises:
        ValueError: there is no such version.
    """

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.num_classes = num_classes
        if version == "1_0":
            self.min_size = (21, 21)
            self.features = nn.Sequential(
                nn.Conv2d(3, 96, kernel_size=7, stride=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(96, 16, 64, 64),
                Fire(128, 16, 64, 64),
                Fire(128, 32, 128, 128),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(256, 32, 128, 128),
                Fire(256, 48, 192, 192),
                Fire(384, 48, 192, 192),
                Fire(384, 64, 256, 256),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(512, 64, 256, 256),
            )
        elif version == "1_1":
            self.min_size = (17, 17)
            self.features = nn.Sequential(
                nn.Conv2d(3, 64, kernel_size=3, stride=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(64, 16, 64, 64),
                Fire(128, 16, 64, 64),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(128, 32, 128, 128),
                Fire(256, 32, 128, 128),
                nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
                Fire(256, 48, 192, 192),
                Fire(384, 48, 192, 192),
                Fire(384, 64, 256, 256),
                Fire(512, 64, 256, 256),
            )
        else:
            raise ValueError(f"there is SqueezeNet version '1_0' and '1_1', not {version!r}")
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(512, num_classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the authors' release."""
        if isinstance(module, nn.Conv2d):
            if module is self.classifier[1]:
                nn.init.normal_(module.weight, std=0.01)
            else:
                nn.init.kaiming_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.1", head_takes="map")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=self.min_size)
        return torch.flatten(self.classifier(self.features(x)), 1)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, and 1x1 and 3x3 convolutions side by side to many: figure 1 of the paper.

    Args:
        inplanes: channels of the input.
        squeeze_planes: channels of the first convolution.
        expand1x1_planes: channels of the 1x1 convolution after it.
        expand3x3_planes: channels of the 3x3 convolution beside that.
    """

    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            [self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1
        )


class SqueezeNet1_0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class SqueezeNet1_1_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def squeezenet1_0(*, weights: SqueezeNet1_0_Weights | None = None, progress: bool = True, **kwargs: Any) -> SqueezeNet:
    """SqueezeNet 1.0.

    From `SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size
    <https://arxiv.org/abs/1602.07360>`__.
    """
    return build(SqueezeNet, weights, progress, version="1_0", **kwargs)


@register_model
def squeezenet1_1(*, weights: SqueezeNet1_1_Weights | None = None, progress: bool = True, **kwargs: Any) -> SqueezeNet:
    """SqueezeNet 1.1, the authors' `release of less computation <https://github.com/forresti/SqueezeNet>`__ after
    `the paper <https://arxiv.org/abs/1602.07360>`__.
    """
    return build(SqueezeNet, weights, progress, version="1_1", **kwargs)
