"""Int8 EfficientNet-Lite, which was made for it: its activations end at 6, and nothing in it depends on a whole image.

`Higher accuracy on vision models with EfficientNet-Lite
<https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__
"""

from enum import auto
from typing import Any

from torch import Tensor, nn

from zoo_classification.efficientnet import EfficientNet_Lite0_Weights, EfficientNetLite, LiteMBConv, SamePaddedConv
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = ["EfficientNet_Lite0_QuantizedWeights", "QuantizableEfficientNetLite", "efficientnet_lite0"]


class QuantizableLiteMBConv(LiteMBConv):
    """:class:`~zoo_classification.efficientnet.LiteMBConv` whose addition can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skip_add = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        return self.skip_add.add(self.stochastic_depth(result), x) if self.use_res_connect else result


class QuantizableEfficientNetLite(BetweenStubs, EfficientNetLite):
    """:class:`~zoo_classification.efficientnet.EfficientNetLite` that can be quantized. Same arguments.

    A ReLU before each ReLU6 becomes part of the convolution; what is left is to cut off at 6.
    """

    _block = QuantizableLiteMBConv

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, SamePaddedConv) and len(module) == 3:
                module[2] = nn.ReLU()
                module.append(nn.ReLU6())

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        for module in self.modules():
            if isinstance(module, SamePaddedConv):
                fuse(module, [["0", "1", "2"] if len(module) == 4 else ["0", "1"]], is_qat)
                fused: Any = module[0]
                if len(module) == 4 and not self.training:
                    # What is observed of it ends at 6 too, so that no step of the 256 is spent on more.
                    fused[1] = nn.ReLU6()


class EfficientNet_Lite0_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


@register_model(name="quantized_efficientnet_lite0")
@quantizable
def efficientnet_lite0(
    *,
    weights: EfficientNet_Lite0_QuantizedWeights | EfficientNet_Lite0_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableEfficientNetLite:
    """EfficientNet-Lite0, from `Higher accuracy on vision models with EfficientNet-Lite
    <https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__.
    """
    chosen = choose_weights(weights, EfficientNet_Lite0_QuantizedWeights, EfficientNet_Lite0_Weights, quantize)
    return build(QuantizableEfficientNetLite, chosen, progress, quantize, **kwargs)
