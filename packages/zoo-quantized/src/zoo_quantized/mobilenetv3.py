"""Int8 MobileNetV3.

`Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__
"""

from enum import auto
from typing import Any

from torch import Tensor, nn

from zoo_classification.mobilenetv3 import InvertedResidual, MobileNet_V3_Large_Weights, MobileNetV3, large_setting
from zoo_core.layers import Conv2dNormActivation, SqueezeExcitation
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_quantized.building import build, choose_weights, quantizable
from zoo_quantized.quantization import BetweenStubs, FloatFunctional, fuse

__all__ = ["MobileNet_V3_Large_QuantizedWeights", "QuantizableMobileNetV3", "mobilenet_v3_large"]


class QuantizableMobileNetV3(BetweenStubs, MobileNetV3):
    """:class:`~zoo_classification.mobilenetv3.MobileNetV3` that can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("block", QuantizableInvertedResidual)
        super().__init__(*args, **kwargs)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses each convolution with the normalisation and ReLU that follow it.

        Args:
            is_qat: keep normalisation trainable, for quantization-aware training; ``None`` if in training mode.
        """
        for module in self.modules():
            if isinstance(module, Conv2dNormActivation):
                with_relu = len(module) == 3 and type(module[2]) is nn.ReLU
                fuse(module, [["0", "1", "2"] if with_relu else ["0", "1"]], is_qat)
            elif isinstance(module, QuantizableSqueezeExcitation):
                module.fuse_model(is_qat)


class QuantizableInvertedResidual(InvertedResidual):
    """:class:`~zoo_classification.mobilenetv3.InvertedResidual` whose addition can be quantized. Same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("se_layer", QuantizableSqueezeExcitation)
        super().__init__(*args, **kwargs)
        self.skip_add = FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_add.add(x, self.block(x)) if self.use_res_connect else self.block(x)


class QuantizableSqueezeExcitation(SqueezeExcitation):
    """:class:`~zoo_core.layers.SqueezeExcitation` with a hard sigmoid, whose product can be quantized."""

    # Version 1 had no observer after the hard sigmoid, whose range is known.
    _version = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("scale_activation", nn.Hardsigmoid)
        super().__init__(*args, **kwargs)
        self.skip_mul = FloatFunctional()

    def forward(self, input: Tensor) -> Tensor:
        return self.skip_mul.mul(self.scale(input), input)

    def fuse_model(self, is_qat: bool | None = None) -> None:
        """Fuses the first convolution with its ReLU."""
        fuse(self, [["fc1", "activation"]], is_qat)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        if (local_metadata.get("version") or 1) < 2:
            for key, value in self.scale_activation.state_dict(prefix=f"{prefix}scale_activation.").items():
                state_dict.setdefault(key, value)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def _large(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, num_classes: int = 1000, **kwargs: Any
) -> QuantizableMobileNetV3:
    setting = large_setting(width_mult, reduced_tail, dilated)
    return QuantizableMobileNetV3(*setting, num_classes=num_classes, **kwargs)


class MobileNet_V3_Large_QuantizedWeights(WeightsEnum):
    IMAGENET1K_QNNPACK_V1 = auto()
    DEFAULT = IMAGENET1K_QNNPACK_V1


@register_model(name="quantized_mobilenet_v3_large")
@quantizable
def mobilenet_v3_large(
    *,
    weights: MobileNet_V3_Large_QuantizedWeights | MobileNet_V3_Large_Weights | None = None,
    progress: bool = True,
    quantize: bool = False,
    **kwargs: Any,
) -> QuantizableMobileNetV3:
    """MobileNetV3-Large, from `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__.

    Args:
        **kwargs: arguments of :func:`~zoo_classification.mobilenetv3.large_setting` (``width_mult``, ``reduced_tail``,
            ``dilated``), of :class:`QuantizableMobileNetV3`, and of :func:`zoo_core.builders.build`.
    """
    chosen = choose_weights(weights, MobileNet_V3_Large_QuantizedWeights, MobileNet_V3_Large_Weights, quantize)
    return build(_large, chosen, progress, quantize, default_backend="qnnpack", **kwargs)
