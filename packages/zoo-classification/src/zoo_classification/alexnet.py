"""AlexNet.

`One weird trick for parallelizing convolutional neural networks <https://arxiv.org/abs/1404.5997>`__, the form of
AlexNet with a single tower.

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. Of 224 x 224 pixels ``features`` makes ``[N, 256, 6, 6]``.
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

__all__ = ["AlexNet", "AlexNet_Weights", "alexnet"]


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers.

    Args:
        num_classes: number of classes.
        dropout: dropout probability before the first two fully connected layers.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; H and W of at least 63.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.6")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=(63, 63))
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class AlexNet_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def alexnet(*, weights: AlexNet_Weights | None = None, progress: bool = True, **kwargs: Any) -> AlexNet:
    """AlexNet, from `One weird trick for parallelizing convolutional neural networks <https://arxiv.org/abs/1404.5997>`__."""
    return build(AlexNet, weights, progress, **kwargs)
