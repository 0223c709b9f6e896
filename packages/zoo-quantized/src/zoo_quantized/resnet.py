"""Int8 ResNet and ResNeXt.

- `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__
- `Aggregated Residual Transformations for Deep Neural Networks <https://arxiv.org/abs/1611.05431>`__
"""

from collections.abc import Sequence
from enum import auto
from typing import Any

from torch import Tensor, nn

from zoo_classification.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    ResNet18_Weights,
    ResNet50_Weights,
    ResNeXt101_32X8D_Weights,
    ResNeXt101_64X4D_Weights,
)
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = [
    "QuantizableResNet", "ResNeXt101_32X8D_QuantizedWeights", "ResNeXt101_64X4D_QuantizedWeights",
    "ResNet18_QuantizedWeights", "ResNet50_QuantizedWeights", "resnet18", "resnet50", "resnext101_32x8d",
    "resnext101_64x4d",
]  # fmt: skip


class QuantizableResNet(BetweenStubs, ResNet):
    """:class:`~zoo_classification.resnet.ResNet` that can be quantized. Same arguments.

    Args:
        block: :class:`QuantizableBasicBlock` or :class:`QuantizableBottleneck`.
    """

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        fuse(self, [["conv1", "bn1", "relu"]], is_qat)
        for module in self.modules():
            if isinstance(module, QuantizableBasicBlock | QuantizableBottleneck):
                module.fuse_model(is_qat)


class QuantizableBasicBlock(BasicBlock):
    """:class:`~zoo_classification.resnet.BasicBlock` whose addition can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_relu = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.add_relu.add_relu(out, identity)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with what follows it."""
        fuse(self, [["conv1", "bn1", "relu"], ["conv2", "bn2"]], is_qat)
        if self.downsample is not None:
            fuse(self.downsample, [["0", "1"]], is_qat)


class QuantizableBottleneck(Bottleneck):
    """:class:`~zoo_classification.resnet.Bottleneck` whose addition can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_add_relu = FloatFunctional()
        # One for each convolution that it is fused with.
        self.relu1 = nn.ReLU(inplace=True)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.skip_add_relu.add_relu(out, identity)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with what follows it."""
        fuse(self, [["conv1", "bn1", "relu1"], ["conv2", "bn2", "relu2"], ["conv3", "bn3"]], is_qat)
        if self.downsample is not None:
            fuse(self.downsample, [["0", "1"]], is_qat)


def _bottlenecks(layers: Sequence[int], num_classes: int = 1000, **kwargs: Any) -> QuantizableResNet:
    return QuantizableResNet(QuantizableBottleneck, layers, num_classes, **kwargs)


class ResNet18_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


class ResNet50_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    IMAGENET1K_FBGEMM_V2 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V2


class ResNeXt101_32X8D_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    IMAGENET1K_FBGEMM_V2 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V2


class ResNeXt101_64X4D_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


@register_model(name="quantized_resnet18")
@quantizable
def resnet18(
    *,
    weights: ResNet18_QuantizedWeights | ResNet18_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableResNet:
    """ResNet-18, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    chosen = choose_weights(weights, ResNet18_QuantizedWeights, ResNet18_Weights, quantize)
    return build(
        QuantizableResNet, chosen, progress, quantize, block=QuantizableBasicBlock, layers=(2, 2, 2, 2), **kwargs
    )


@register_model(name="quantized_resnet50")
@quantizable
def resnet50(
    *,
    weights: ResNet50_QuantizedWeights | ResNet50_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableResNet:
    """ResNet-50, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    chosen = choose_weights(weights, ResNet50_QuantizedWeights, ResNet50_Weights, quantize)
    return build(_bottlenecks, chosen, progress, quantize, layers=(3, 4, 6, 3), **kwargs)


@register_model(name="quantized_resnext101_32x8d")
@quantizable
def resnext101_32x8d(
    *,
    weights: ResNeXt101_32X8D_QuantizedWeights | ResNeXt101_32X8D_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableResNet:
    """ResNeXt-101 32x8d, from `Aggregated Residual Transformations for Deep Neural Networks
    <https://arxiv.org/abs/1611.05431>`__.
    """
    chosen = choose_weights(weights, ResNeXt101_32X8D_QuantizedWeights, ResNeXt101_32X8D_Weights, quantize)
    return build(_bottlenecks, chosen, progress, quantize, layers=(3, 4, 23, 3), groups=32, width_per_group=8, **kwargs)


@register_model(name="quantized_resnext101_64x4d")
@quantizable
def resnext101_64x4d(
    *,
    weights: ResNeXt101_64X4D_QuantizedWeights | ResNeXt101_64X4D_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableResNet:
    """ResNeXt-101 64x4d, from `Aggregated Residual Transformations for Deep Neural Networks
    <https://arxiv.org/abs/1611.05431>`__.
    """
    chosen = choose_weights(weights, ResNeXt101_64X4D_QuantizedWeights, ResNeXt101_64X4D_Weights, quantize)
    return build(_bottlenecks, chosen, progress, quantize, layers=(3, 4, 23, 3), groups=64, width_per_group=4, **kwargs)
