"""VGG.

`Very Deep Convolutional Networks for Large-Scale Image Recognition <https://arxiv.org/abs/1409.1556>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. Each of the five poolings halves the size; the last gives
``[N, 512, H/32, W/32]``, rounded down.
"""

from collections.abc import Sequence
from enum import auto
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import initialize_normalization
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "VGG", "VGG11_BN_Weights", "VGG11_Weights", "VGG13_BN_Weights", "VGG13_Weights", "VGG16_BN_Weights",
    "VGG16_Weights", "VGG19_BN_Weights", "VGG19_Weights", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16",
    "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip


class VGG(nn.Module):
    """3x3 convolutions and three fully connected layers.

    Args:
        features: the convolutional part, which gives 512 channels; see :func:`make_layers`.
        num_classes: number of classes.
        init_weights: initialise convolutions as He et al. do, and linear layers as in the paper; ``False`` keeps the
            default initialisation of the layers.
        dropout: dropout probability after the first two fully connected layers.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; H and W of at least 32.
    """

    def __init__(
        self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters: convolutions as He et al., the rest as in the paper."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            initialize_normalization(module)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.6")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=(32, 32))
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def make_layers(cfg: Sequence[int | str], batch_norm: bool = False) -> nn.Sequential:
    """The convolutional part.

    Args:
        cfg: channels of the 3x3 convolutions in turn, and ``"M"`` for 2x2 maximum pooling.
        batch_norm: normalise after each convolution.

    Raises:
        ValueError: ``cfg`` has a string other than ``"M"``.
    """
    layers: list[nn.Module] = []
    channels = 3
    for item in cfg:
        if isinstance(item, str):
            if item != "M":
                raise ValueError(f"a layer is a number of channels or 'M' for maximum pooling, not {item!r}")
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(channels, item, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(item))
        layers.append(nn.ReLU(inplace=True))
        channels = item
    return nn.Sequential(*layers)


# Table 1 of the paper: channels of the 3x3 convolutions, and "M" for the poolings that halve the size.
cfgs: dict[str, tuple[int | str, ...]] = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "E": (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"),
}


def _vgg(configuration: str, batch_norm: bool, num_classes: int = 1000, **kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs[configuration], batch_norm), num_classes=num_classes, **kwargs)


class VGG11_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG11_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG13_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG13_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG16_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_FEATURES = auto()
    DEFAULT = IMAGENET1K_V1


class VGG16_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG19_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class VGG19_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def vgg11(*, weights: VGG11_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11, configuration A of `Very Deep Convolutional Networks for Large-Scale Image Recognition
    <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="A", batch_norm=False, **kwargs)


@register_model
def vgg11_bn(*, weights: VGG11_BN_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-11 with batch normalisation, configuration A of `Very Deep Convolutional Networks for Large-Scale Image
    Recognition <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="A", batch_norm=True, **kwargs)


@register_model
def vgg13(*, weights: VGG13_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13, configuration B of `Very Deep Convolutional Networks for Large-Scale Image Recognition
    <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="B", batch_norm=False, **kwargs)


@register_model
def vgg13_bn(*, weights: VGG13_BN_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-13 with batch normalisation, configuration B of `Very Deep Convolutional Networks for Large-Scale Image
    Recognition <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="B", batch_norm=True, **kwargs)


@register_model
def vgg16(*, weights: VGG16_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16, configuration D of `Very Deep Convolutional Networks for Large-Scale Image Recognition
    <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="D", batch_norm=False, **kwargs)


@register_model
def vgg16_bn(*, weights: VGG16_BN_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-16 with batch normalisation, configuration D of `Very Deep Convolutional Networks for Large-Scale Image
    Recognition <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="D", batch_norm=True, **kwargs)


@register_model
def vgg19(*, weights: VGG19_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19, configuration E of `Very Deep Convolutional Networks for Large-Scale Image Recognition
    <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="E", batch_norm=False, **kwargs)


@register_model
def vgg19_bn(*, weights: VGG19_BN_Weights | None = None, progress: bool = True, **kwargs: Any) -> VGG:
    """VGG-19 with batch normalisation, configuration E of `Very Deep Convolutional Networks for Large-Scale Image
    Recognition <https://arxiv.org/abs/1409.1556>`__.
    """
    return build(_vgg, weights, progress, configuration="E", batch_norm=True, **kwargs)
