"""Int8 Inception v3.

`Rethinking the Inception Architecture for Computer Vision <https://arxiv.org/abs/1512.00567>`__
"""

from collections.abc import Callable
from enum import auto
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo_classification import inception
from zoo_classification.inception import Inception3, Inception_V3_Weights
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.googlenet import QuantizableBasicConv2d
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, QuantStub

__all__ = ["Inception_V3_QuantizedWeights", "QuantizableInception3", "inception_v3"]


class QuantizableInception3(BetweenStubs, Inception3):
    """:class:`~zoo_classification.inception.Inception3` that can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        blocks = (
            QuantizableBasicConv2d,
            QuantizableInceptionA,
            QuantizableInceptionB,
            QuantizableInceptionC,
            QuantizableInceptionD,
            QuantizableInceptionE,
            partial(inception.InceptionAux, conv_block=QuantizableBasicConv2d),
        )
        kwargs.setdefault("inception_blocks", blocks)
        super().__init__(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # The published int8 file lacks the auxiliary head, which only serves training.
        is_int8 = not isinstance(self.quant, QuantStub)
        if is_int8 and not any(key.startswith(f"{prefix}AuxLogits.") for key in state_dict):
            self.AuxLogits = None
            self.aux_logits = False
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        for module in self.modules():
            if isinstance(module, QuantizableBasicConv2d):
                module.fuse_model(is_qat)


class _QuantizableBranches(nn.Module):
    """Makes a block's convolutions ones that can be fused, and its concatenation one that can be quantized."""

    _forward: Callable[[Tensor], list[Tensor]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("conv_block", QuantizableBasicConv2d)
        super().__init__(*args, **kwargs)
        self.myop = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        return self.myop.cat(self._forward(x), 1)


class QuantizableInceptionA(_QuantizableBranches, inception.InceptionA):
    """:class:`~zoo_classification.inception.InceptionA` whose concatenation can be quantized. Same arguments."""


class QuantizableInceptionB(_QuantizableBranches, inception.InceptionB):
    """:class:`~zoo_classification.inception.InceptionB` whose concatenation can be quantized. Same arguments."""


class QuantizableInceptionC(_QuantizableBranches, inception.InceptionC):
    """:class:`~zoo_classification.inception.InceptionC` whose concatenation can be quantized. Same arguments."""


class QuantizableInceptionD(_QuantizableBranches, inception.InceptionD):
    """:class:`~zoo_classification.inception.InceptionD` whose concatenation can be quantized. Same arguments."""


class QuantizableInceptionE(inception.InceptionE):
    """:class:`~zoo_classification.inception.InceptionE` whose concatenations can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("conv_block", QuantizableBasicConv2d)
        super().__init__(*args, **kwargs)
        self.myop1 = FloatFunctional()
        self.myop2 = FloatFunctional()
        self.myop3 = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        branch1x1, *forks, branch_pool = self._forward(x)
        branch3x3 = self.myop1.cat(forks[:2], 1)
        branch3x3dbl = self.myop2.cat(forks[2:], 1)
        return self.myop3.cat([branch1x1, branch3x3, branch3x3dbl, branch_pool], 1)


class Inception_V3_QuantizedWeights(WeightsEnum):
    IMAGENET1K_FBGEMM_V1 = auto()
    DEFAULT = IMAGENET1K_FBGEMM_V1


@register_model(name="quantized_inception_v3")
@quantizable
def inception_v3(
    *,
    weights: Inception_V3_QuantizedWeights | Inception_V3_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableInception3:
    """Inception v3, from `Rethinking the Inception Architecture for Computer Vision
    <https://arxiv.org/abs/1512.00567>`__.

    With weights, ``transform_input`` is ``True`` by default.
    """
    chosen = choose_weights(weights, Inception_V3_QuantizedWeights, Inception_V3_Weights, quantize)
    if chosen is not None:
        kwargs.setdefault("transform_input", True)
    return build(QuantizableInception3, chosen, progress, quantize, **kwargs)
