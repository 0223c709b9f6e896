"""Models of torch's int8 layers in float32: the same weights, the same roundings, and no layer that only torch has."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["has_int8_layers", "in_float"]


def has_int8_layers(model: nn.Module) -> bool:
    """Whether some layers of a model are torch's int8 layers, which no exporter takes."""
    return any(_is_int8(module) for module in model.modules())


def in_float(model: nn.Module) -> nn.Module:
    """Replaces torch's int8 layers by float32 layers that round their outputs to the same levels.

    Weights are those of 8 bits; sums are computed in float32, which holds those of 8-bit products but for the last
    digit, so that a rounding here and there may fall on the next level. Averages are not rounded.

    Args:
        model: is changed.

    Raises:
        ValueError: there is an int8 layer of a kind that is not known.
    """
    for parent in list(model.modules()):
        if _is_int8(parent):
            continue
        for name, child in list(parent.named_children()):
            if _is_int8(child):
                setattr(parent, name, _replacement(child).eval())
    return model


def _is_int8(module: nn.Module) -> bool:
    kind = type(module).__module__
    return kind.startswith(("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized."))


class Rounding(nn.Module):
    """Rounds to the levels of an 8-bit tensor.

    Args:
        scale: from a level to the next.
        zero_point: the level of 0, in 0..255.
    """

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale = float(scale)
        self.zero_point = int(zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """float32 Tensor -> float32 Tensor of the same shape."""
        levels = (torch.round(x / self.scale) + self.zero_point).clamp(0, 255)
        return (levels - self.zero_point) * self.scale


class _Functional(nn.Module):
    """Additions, products and concatenations, as torch's ``QFunctional`` has them."""

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self.rounding(x + y)

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        return self.rounding((x + y).relu())

    def add_scalar(self, x: Tensor, y: float) -> Tensor:
        return x + y

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return self.rounding(x * y)

    def mul_scalar(self, x: Tensor, y: float) -> Tensor:
        return x * y

    def cat(self, x: Sequence[Tensor], dim: int = 0) -> Tensor:
        return self.rounding(torch.cat(list(x), dim))


def _replacement(module: Any) -> nn.Module:
    kind = type(module).__name__
    if kind in ("Conv2d", "ConvReLU2d"):
        layer = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            padding_mode=module.padding_mode,
        )
        return _layer(layer, module, kind == "ConvReLU2d")
    if kind in ("Linear", "LinearReLU"):
        return _layer(nn.Linear(module.in_features, module.out_features), module, kind == "LinearReLU")
    if kind == "QFunctional":
        return _Functional(Rounding(module.scale, module.zero_point))
    if kind == "Quantize":
        return Rounding(module.scale, module.zero_point)
    if kind in ("DeQuantize", "Dropout"):
        return nn.Identity()
    if kind == "Hardswish":
        return nn.Sequential(nn.Hardswish(), Rounding(module.scale, module.zero_point))
    raise ValueError(f"an int8 layer of the kind {kind} has no counterpart for export")


def _layer(layer: Any, module: Any, relu: bool) -> nn.Module:
    weight, bias = module._weight_bias()
    layer.weight = nn.Parameter(weight.dequantize().contiguous(), requires_grad=False)
    if bias is None:
        bias = torch.zeros(len(weight))
    layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    rounding = Rounding(module.scale, module.zero_point)
    return nn.Sequential(layer, *([nn.ReLU()] if relu else []), rounding)
