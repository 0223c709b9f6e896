"""Int8 MobileNetV2.

`MobileNetV2: Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`__
"""

from enum import auto
from typing import Any

from torch import Tensor, nn

from zoo_classification.mobilenetv2 import InvertedResidual, MobileNet_V2_Weights, MobileNetV2
from zoo_core.layers import Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = ["MobileNet_V2_QuantizedWeights", "QuantizableMobileNetV2", "mobilenet_v2"]


class QuantizableMobileNetV2(BetweenStubs, MobileNetV2):
    """:class:`~zoo_classification.mobilenetv2.MobileNetV2` that can be quantized. Same arguments.

    The activations are ReLU in place of ReLU6: they fuse with convolutions, and quantization bounds them anyway.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("block", QuantizableInvertedResidual)
        super().__init__(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, Conv2dNormActivation):
                module[2] = nn.ReLU(inplace=True)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        for module in self.modules():
            if isinstance(module, Conv2dNormActivation):
                fuse(module, [["0", "1", "2"]], is_qat)
            elif isinstance(module, QuantizableInvertedResidual):
                module.fuse_model(is_qat)


class QuantizableInvertedResidual(InvertedResidual):
    """:class:`~zoo_classification.mobilenetv2.InvertedResidual` whose addition can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_add = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_add.add(x, self.conv(x)) if self.use_res_connect else self.conv(x)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses the last convolution with its normalisation; the others are fused where they are."""
        last = len(self.conv) - 2
        fuse(self.conv, [[str(last), str(last + 1)]], is_qat)


class MobileNet_V2_QuantizedWeights(WeightsEnum):
    IMAGENET1K_QNNPACK_V1 = auto()
    DEFAULT = IMAGENET1K_QNNPACK_V1


@register_model(name="quantized_mobilenet_v2")
@quantizable
def mobilenet_v2(
    *,
    weights: MobileNet_V2_QuantizedWeights | MobileNet_V2_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableMobileNetV2:
    """MobileNetV2, from `Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`__."""
    chosen = choose_weights(weights, MobileNet_V2_QuantizedWeights, MobileNet_V2_Weights, quantize)
    return build(QuantizableMobileNetV2, chosen, progress, quantize, default_backend="qnnpack", **kwargs)
