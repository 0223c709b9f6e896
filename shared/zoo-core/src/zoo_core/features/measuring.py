"""Finds out what a model's features are, by running it once without storage."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.features.declared import required_layers, unwrapped
from zoo_core.features.extracting import EMBEDDING, features
from zoo_core.features.stages import ModelFeatures, Stage

__all__ = ["measured", "measured_without_storage"]


def measured_without_storage(name: str, arguments: Mapping[str, Any]) -> ModelFeatures:
    """The features of the model that a builder makes.

    Raises:
        ValueError: the model's class does not say which features it has.
    """
    from zoo_core.builders import fresh_arguments, without_storage
    from zoo_core.registration import get_model_builder

    builder = get_model_builder(name)
    with without_storage():
        return measured(builder(**{**fresh_arguments(builder), **arguments}))


def measured(model: nn.Module) -> ModelFeatures:
    """The features of a model, which stays as it is.

    Raises:
        ValueError: the model's class does not say which features it has.
    """
    model = unwrapped(model)
    declared = required_layers(model)
    stages = declared.layers
    wanted = [*stages, *([EMBEDDING] if declared.head is not None or declared.pooled is not None else [])]
    found = _run(model, wanted, declared.input_size)
    described = []
    for name, layer in stages.items():
        size = found[name].shape[2:]
        factors = [_reduction(before, after) for before, after in zip(declared.input_size, size, strict=True)]
        time = factors[0] if len(factors) == 3 else None
        path = layer.path if layer.key is None else f"{layer.path}:{layer.key}"
        described.append(Stage(name, path, found[name].shape[1], factors[-1], time))
    embedding = found[EMBEDDING].shape[1] if EMBEDDING in found else None
    return ModelFeatures(tuple(described), embedding, declared.head, declared.head_takes)


def _run(model: nn.Module, wanted: list[str], size: tuple[int, ...]) -> dict[str, Tensor]:
    """What the layers give for an input of zeros, without storage where the model has such a form."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    channels: Any = next((m.in_channels for m in model.modules() if _is_convolution(m)), 3)
    is_flow, is_detector = (hasattr(model, part) for part in ("feature_encoder", "transform"))
    stored = _is_quantized(model)
    with torch.no_grad(), torch.device("cpu" if stored else "meta"):
        x = torch.zeros(1, channels, *size)
        inputs: tuple[Any, ...] = (x, x) if is_flow else (list(x),) if is_detector else (x,)
        call = _Call(model, wanted)
        try:
            if stored:
                return call(*inputs)
            without = {f"model.{name}": tensor.to("meta") for name, tensor in tensors.items()}
            found: dict[str, Tensor] = torch.func.functional_call(call, without, inputs)
            return found
        finally:
            for module, training in modes.items():
                module.training = training


def _is_convolution(module: nn.Module) -> bool:
    return hasattr(module, "kernel_size") and hasattr(module, "in_channels")


def _is_quantized(model: nn.Module) -> bool:
    return any(hasattr(module, "_packed_params") for module in model.modules())


class _Call(nn.Module):
    def __init__(self, model: nn.Module, wanted: list[str]) -> None:
        super().__init__()
        self.model = model
        self.wanted = wanted

    def forward(self, *inputs: Any) -> dict[str, Any]:
        return features(self.model, *inputs, layers=self.wanted)


def _reduction(before: int, after: int) -> int:
    """The factor between two sizes, of which the smaller one is rounded: a power of two, or else an exact one."""
    power = min((2**exponent for exponent in range(12)), key=lambda power: abs(before / power - after))
    if abs(before / power - after) < 1:
        return power
    if before % after == 0:
        return before // after
    # Convolutions without padding lose more than rounding does.
    return 2 ** round(math.log2(before / after))
