"""Models for images of other channels than red, green and blue: grey ones, RGBA, the bands of a satellite.

Every builder of the zoo takes ``in_channels=`` (:func:`zoo_core.builders.build`). With weights, the first layer is made
from the trained one as timm's ``in_chans=`` does:

- one channel: the trained weights are summed over theirs, so that a grey image gives exactly what it would as an RGB
  image with three equal channels;
- any other number ``n``: the weights are repeated in turn (red, green, blue, red, ...) and multiplied by ``3 / n``, so
  that the layer's output keeps its magnitude.

Normalisation follows by :func:`per_channel`: the mean over the channels for one, the values in turn for others.
Detectors, which normalise by themselves, get such an ``image_mean`` and ``image_std``; for the models that do not,
``weights.transforms(in_channels=4)`` does, and :func:`preset_arguments` gives the arguments of the preset. Without
weights the layer is drawn as the family draws it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core import user_warnings

__all__ = [
    "adapt_state_dict",
    "adapt_weight",
    "check_channels",
    "input_layers",
    "per_channel",
    "preset_arguments",
    "replace_input",
]

# What presets normalise by where their arguments do not say it.
_STATISTICS: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "ImageClassification": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "SemanticSegmentation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "VideoClassification": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
}


def check_channels(in_channels: object) -> int:
    """The number of channels, if it is one.

    Raises:
        ValueError: it is no integer of at least 1.
    """
    if type(in_channels) is not int or in_channels < 1:
        raise ValueError(f"in_channels must be an integer of at least 1, not {in_channels!r}")
    return in_channels


def per_channel(values: Sequence[float], in_channels: int) -> list[float]:
    """Values of the red, green and blue channel, for as many channels: their mean for one, else in turn.

    >>> per_channel([0.2, 0.4, 0.6], 4)
    [0.2, 0.4, 0.6, 0.2]
    """
    if in_channels == len(values):
        return list(values)
    if in_channels == 1:
        return [sum(values) / len(values)]
    return [values[channel % len(values)] for channel in range(in_channels)]


def preset_arguments(preset: str | None, arguments: Mapping[str, Any], in_channels: int) -> dict[str, Any]:
    """The arguments of a preset for images of as many channels.

    Args:
        preset: class in :mod:`zoo_core.presets`; of those that do not normalise, the arguments stay as they are.
        arguments: those for RGB images, or already for as many channels.
        in_channels: number of channels.
    """
    adapted = dict(arguments)
    for name, default in zip(("mean", "std"), _STATISTICS.get(preset or "", ()), strict=False):
        values = adapted.get(name, default)
        if len(values) != in_channels:
            adapted[name] = per_channel(values, in_channels)
    return adapted


def adapt_weight(weight: Tensor, in_channels: int) -> Tensor:
    """The weight of a convolution over as many channels, made from a trained one.

    Args:
        weight: Tensor[O, C, ...] of any floating dtype.
        in_channels: how many channels the new one takes.

    Returns:
        Tensor[O, in_channels, ...] of the same dtype: the sum over C for one channel, else the C channels in turn, by
        ``C / in_channels``. Computed in single precision at least.
    """
    channels = weight.shape[1]
    if in_channels == channels:
        return weight
    exact = weight if weight.dtype == torch.float64 else weight.float()
    if in_channels == 1:
        return exact.sum(1, keepdim=True).to(weight.dtype)
    turns = -(-in_channels // channels)
    repeated = exact.repeat(1, turns, *[1] * (weight.ndim - 2))[:, :in_channels]
    return (repeated * (channels / in_channels)).contiguous().to(weight.dtype)


def input_layers(model: nn.Module) -> list[str]:
    """Names of the convolutions that see the image: the first one, or those that ``model.input_layers`` names.

    Raises:
        ValueError: there is none.
    """
    declared: Any = getattr(model, "input_layers", None)
    if declared is not None:
        return list(declared)
    for name, module in model.named_modules():
        if hasattr(module, "in_channels") and hasattr(module, "kernel_size"):
            return [name]
    raise ValueError(f"in_channels: {type(model).__name__} has no convolution that could take other channels")


def adapt_state_dict(model: nn.Module, state_dict: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """A state dict with first layers for as many channels as the model takes.

    Args:
        model: takes the state dict, but for the number of channels.
        state_dict: of such a model for images of any number of channels. It is not changed.
        source: where it comes from, for the warning that says what was done.
    """
    adapted = type(state_dict)(state_dict)  # type: ignore[call-arg]
    if hasattr(state_dict, "_metadata"):
        adapted._metadata = state_dict._metadata  # type: ignore[attr-defined]
    for name in input_layers(model):
        layer: Any = model.get_submodule(name)
        weight = state_dict.get(f"{name}.weight")
        if not isinstance(weight, Tensor) or weight.is_quantized or weight.ndim < 3:
            continue
        if weight.shape[1] != layer.in_channels:
            adapted[f"{name}.weight"] = adapt_weight(weight, layer.in_channels)  # type: ignore[index]
            user_warnings.warn(what_was_done(source, [name], weight.shape[1], layer.in_channels))
    return adapted


def what_was_done(source: str, names: Sequence[str], before: int, in_channels: int) -> str:
    """Says that first layers were made for another number of channels."""
    made = "the sum" if in_channels == 1 else f"{before}/{in_channels} of the repetition"
    return (
        f"{source}: the first layer ({', '.join(names)}) is for {in_channels} channel{'s' * (in_channels > 1)}, with "
        f"{made} of the trained weights of {before}"
    )


def replace_input(
    model: nn.Module, in_channels: int, *, initialize: Callable[[nn.Module, nn.Module], None] | None = None
) -> list[str]:
    """Gives the first layers of a model weights for another number of channels, in their place.

    Args:
        model: is changed. It may be without storage.
        in_channels: how many.
        initialize: draws the parameters of a layer (second argument) of a model (first one); ``None`` to make them
            from those that are there, see :func:`adapt_weight`.

    Returns:
        Names of the layers.

    Raises:
        ValueError: there is no such layer, or it has groups.
    """
    names = input_layers(model)
    for name in names:
        layer: Any = model.get_submodule(name)
        if layer.groups != 1:
            raise ValueError(f"in_channels: the first layer, {name}, has groups of channels, and is left as it is")
        weight = layer.weight
        if layer.in_channels == in_channels:
            continue
        if initialize is None:
            new = adapt_weight(weight.detach(), in_channels)
        else:
            new = weight.detach().new_empty((weight.shape[0], in_channels, *weight.shape[2:]))
        layer.in_channels = in_channels
        layer.weight = nn.Parameter(new, requires_grad=weight.requires_grad)
        if initialize is not None:
            initialize(model, layer)
    return names
