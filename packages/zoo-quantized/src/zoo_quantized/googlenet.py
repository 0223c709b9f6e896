"""Int8 GoogLeNet, also known as Inception v1.

`Going Deeper with Convolutions <https://arxiv.org/abs/1409.4842>`__
"""

from enum import auto
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo_classification.googlenet import (
    BasicConv2d,
    GoogLeNet,
    GoogLeNet_Weights,
    Inception,
    InceptionAux,
    set_published_form,
)
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = ["GoogLeNet_QuantizedWeights", "QuantizableGoogLeNet", "googlenet"]


class QuantizableGoogLeNet(BetweenStubs, GoogLeNet):
    """:class:`~zoo_classification.googlenet.GoogLeNet` that can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        quantizable_aux = partial(InceptionAux, conv_block=QuantizableBasicConv2d)
        kwargs.setdefault("blocks", (QuantizableBasicConv2d, QuantizableInception, quantizable_aux))
        super().__init__(*args, **kwargs)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        for module in self.modules():
            if isinstance(module, QuantizableBasicConv2d):
                module.fuse_model(is_qat)


class QuantizableBasicConv2d(BasicConv2d):
    """:class:`~zoo_classification.googlenet.BasicConv2d` that can be fused. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses the convolution with its normalisation and ReLU."""
        fuse(self, [["conv", "bn", "relu"]], is_qat)


class QuantizableInception(Inception):
    """:class:`~zoo_classification.googlenet.Inception` whose concatenation can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("conv_block", QuantizableBasicConv2d)
        super().__init__(*args, **kwargs)
        self.cat = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        return self.cat.cat(self._forward(x), 1)


class GoogLeNet_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


@register_model(name="quantized_googlenet")
@quantizable
def googlenet(
    *,
    weights: GoogLeNet_QuantizedWeights | GoogLeNet_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableGoogLeNet:
    """GoogLeNet (Inception v1), from `Going Deeper with Convolutions <https://arxiv.org/abs/1409.4842>`__.

    With weights, ``transform_input`` is ``True`` by default, and ``aux_logits`` is ``False``: the auxiliary heads of
    the checkpoints were never trained.
    """
    chosen = choose_weights(weights, GoogLeNet_QuantizedWeights, GoogLeNet_Weights, quantize)
    if chosen is not None:
        set_published_form(kwargs, chosen)
    return build(QuantizableGoogLeNet, chosen, progress, quantize, **kwargs)
