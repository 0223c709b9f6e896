"""Int8 ShuffleNet V2.

`ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design <https://arxiv.org/abs/1807.11164>`__
"""

from collections.abc import Sequence
from enum import auto
from typing import Any

from torch import Tensor

from zoo_classification.shufflenetv2 import (
    InvertedResidual,
    ShuffleNet_V2_X0_5_Weights,
    ShuffleNet_V2_X1_0_Weights,
    ShuffleNet_V2_X1_5_Weights,
    ShuffleNet_V2_X2_0_Weights,
    ShuffleNetV2,
    channel_shuffle,
)
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = [
    "QuantizableShuffleNetV2", "ShuffleNet_V2_X0_5_QuantizedWeights", "ShuffleNet_V2_X1_0_QuantizedWeights",
    "ShuffleNet_V2_X1_5_QuantizedWeights", "ShuffleNet_V2_X2_0_QuantizedWeights", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
]  # fmt: skip


class QuantizableShuffleNetV2(BetweenStubs, ShuffleNetV2):
    """:class:`~zoo_classification.shufflenetv2.ShuffleNetV2` that can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("inverted_residual", QuantizableInvertedResidual)
        super().__init__(*args, **kwargs)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        fuse(self.conv1, [["0", "1", "2"]], is_qat)
        fuse(self.conv5, [["0", "1", "2"]], is_qat)
        for module in self.modules():
            if isinstance(module, QuantizableInvertedResidual):
                module.fuse_model(is_qat)


class QuantizableInvertedResidual(InvertedResidual):
    """:class:`~zoo_classification.shufflenetv2.InvertedResidual` whose concatenation can be quantized."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cat = FloatFunctional()

    def interleave(self, x1: Tensor, x2: Tensor) -> Tensor:
        return channel_shuffle(self.cat.cat([x1, x2], dim=1), 2)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with what follows it."""
        if len(self.branch1) > 0:
            fuse(self.branch1, [["0", "1"], ["2", "3", "4"]], is_qat)
        fuse(self.branch2, [["0", "1", "2"], ["3", "4"], ["5", "6", "7"]], is_qat)


def _shufflenet(channels: Sequence[int], num_classes: int = 1000, **kwargs: Any) -> QuantizableShuffleNetV2:
    """A column of table 5 of the paper: all widths have 4, 8 and 4 units."""
    return QuantizableShuffleNetV2((4, 8, 4), channels, num_classes, **kwargs)


class ShuffleNet_V2_X0_5_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    FASHIONMNIST_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


class ShuffleNet_V2_X1_0_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


class ShuffleNet_V2_X1_5_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


class ShuffleNet_V2_X2_0_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


@register_model(name="quantized_shufflenet_v2_x0_5")
@quantizable
def shufflenet_v2_x0_5(
    *,
    weights: ShuffleNet_V2_X0_5_QuantizedWeights | ShuffleNet_V2_X0_5_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableShuffleNetV2:
    """ShuffleNet V2 of 0.5 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    chosen = choose_weights(weights, ShuffleNet_V2_X0_5_QuantizedWeights, ShuffleNet_V2_X0_5_Weights, quantize)
    return build(_shufflenet, chosen, progress, quantize, channels=(24, 48, 96, 192, 1024), **kwargs)


@register_model(name="quantized_shufflenet_v2_x1_0")
@quantizable
def shufflenet_v2_x1_0(
    *,
    weights: ShuffleNet_V2_X1_0_QuantizedWeights | ShuffleNet_V2_X1_0_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableShuffleNetV2:
    """ShuffleNet V2 of 1.0 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    chosen = choose_weights(weights, ShuffleNet_V2_X1_0_QuantizedWeights, ShuffleNet_V2_X1_0_Weights, quantize)
    return build(_shufflenet, chosen, progress, quantize, channels=(24, 116, 232, 464, 1024), **kwargs)


@register_model(name="quantized_shufflenet_v2_x1_5")
@quantizable
def shufflenet_v2_x1_5(
    *,
    weights: ShuffleNet_V2_X1_5_QuantizedWeights | ShuffleNet_V2_X1_5_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableShuffleNetV2:
    """ShuffleNet V2 of 1.5 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    chosen = choose_weights(weights, ShuffleNet_V2_X1_5_QuantizedWeights, ShuffleNet_V2_X1_5_Weights, quantize)
    return build(_shufflenet, chosen, progress, quantize, channels=(24, 176, 352, 704, 1024), **kwargs)


@register_model(name="quantized_shufflenet_v2_x2_0")
@quantizable
def shufflenet_v2_x2_0(
    *,
    weights: ShuffleNet_V2_X2_0_QuantizedWeights | ShuffleNet_V2_X2_0_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableShuffleNetV2:
    """ShuffleNet V2 of 2.0 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    chosen = choose_weights(weights, ShuffleNet_V2_X2_0_QuantizedWeights, ShuffleNet_V2_X2_0_Weights, quantize)
    return build(_shufflenet, chosen, progress, quantize, channels=(24, 244, 488, 976, 2048), **kwargs)
