"""Refusing inputs that no model of a kind can take, in words that say how to make one that it takes."""

import functools
import itertools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

from zoo_core.text import type_name
from zoo_core.tracing import is_recorded

__all__ = [
    "channels_second",
    "check_batch",
    "explains_failures",
    "explanation",
    "has_channels_last",
    "is_of_single_values",
    "type_name",
]

P = ParamSpec("P")
R = TypeVar("R")


def check_batch(x: Tensor, *, model: str, dims: str, kind: str = "image") -> bool:
    """Checks that ``x`` is a batch of floating-point images or videos.

    Args:
        x: the input.
        model: name of the model, for the message.
        dims: names of the batch's dimensions, as ``"N, C, H, W"``.
        kind: what the batch is of: ``"image"``, ``"video"``.

    Returns:
        Whether the shape may be asked further. It may not while torch compiles, exports or traces the model, and then
        nothing is checked: dimensions may stay dynamic.

    Raises:
        TypeError: ``x`` is no tensor, or not of a floating dtype.
        ValueError: ``x`` has another number of dimensions.
    """
    if is_recorded(x):
        return False
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{model} takes a batch of {kind}s, Tensor[{dims}], not {type_name(x)}; the weights' transforms() make a "
            f"tensor of one: model(weights.transforms()({kind}).unsqueeze(0)). Without weights, {_TO_TENSOR[kind]}"
        )
    expected = dims.count(",") + 1
    if x.ndim != expected:
        hint = f"; make one {kind} a batch with {kind}.unsqueeze(0)" if x.ndim == expected - 1 else ""
        raise ValueError(f"{model} takes a batch of {kind}s, Tensor[{dims}], not shape {list(x.shape)}{hint}")
    if not x.is_floating_point():
        raise TypeError(
            f"{model} takes {kind}s of a floating dtype, not {x.dtype}; preprocess them as the weights' transforms() do"
        )
    return True


def explains_failures(forward: Callable[P, R]) -> Callable[P, R]:
    """Makes the forward of a model say in terms of its input what one of its layers refused.

    What only the layers know cannot be checked before: how small their maps become, how many channels the first of them
    takes, which dtype they compute in. A forward that succeeds computes what it did, and takes no longer.

    Args:
        forward: of a model that takes a batch of images, Tensor[N, C, H, W], or of videos, Tensor[N, C, T, H, W].

    Returns:
        The same forward. Errors that it explains are of the type that they were.
    """

    @functools.wraps(forward)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return forward(*args, **kwargs)
        except (RuntimeError, ValueError) as error:
            model, x = itertools.islice(itertools.chain(args, kwargs.values(), [None]), 2)
            explained = explanation(error, cast(nn.Module, model), x)
            if explained is None:
                raise
            raise explained from error

    return call


def is_of_single_values(error: BaseException) -> bool:
    """Whether torch refused to normalise a batch that has a single value of each channel."""
    return "Expected more than 1 value per channel" in str(error)


def explanation(error: RuntimeError | ValueError, model: nn.Module, x: object) -> RuntimeError | ValueError | None:
    """What an error of torch's means for whoever gave ``x`` to a model.

    Args:
        error: was raised in the forward of ``model``.
        model: any that takes a batch of images or videos.
        x: the input, Tensor[N, C, H, W] or Tensor[N, C, T, H, W].

    Returns:
        An error of the same type; ``None`` where the cause is none of those that are known here.
    """
    if not isinstance(x, Tensor) or x.ndim not in (4, 5) or is_recorded(x):
        return None
    message, name, kind = str(error), type(model).__name__, "image" if x.ndim == 4 else "video"
    if is_of_single_values(error) or "Expected more than 1 spatial element" in message:
        return type(error)(
            f"{name} cannot be trained on a batch of {_in_words(x, kind)}: one of its maps has a single value of each "
            f"channel then, which the layer behind it cannot normalise; give more or larger {kind}s, or put the "
            "normalisation into eval mode"
        )
    channels = re.search(r"expected input(\[[\d, ]+\]) to have (\d+) channels", message)
    if channels is not None and channels[1] == str(list(x.shape)):  # the first layer says so
        return type(error)(
            f"{name} takes {kind}s of {channels[2]} channels, not shape {channels[1]}; {_to_channels(x, channels[2])}"
        )
    own = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), x.dtype)
    if x.dtype != own and "type" in message and not torch.is_autocast_enabled(x.device.type):
        return type(error)(
            f"{name} computes in {own}, and takes {kind}s of that dtype, not {x.dtype}; convert them with "
            f"batch.to({own}), or the model with model.to({x.dtype})"
        )
    return None


def _in_words(x: Tensor, kind: str) -> str:
    """What is in a batch: ``2 images of 32x48 pixels``."""
    frames = f"{x.shape[2]} frames of " if kind == "video" else ""
    return f"{x.shape[0]} {kind}{'s' * (x.shape[0] != 1)} of {frames}{x.shape[-2]}x{x.shape[-1]} pixels"


def _to_channels(x: Tensor, expected: str) -> str:
    """How a batch gets the number of channels that a model expects."""
    if str(x.shape[-1]) == expected:
        return channels_second(x)
    if x.ndim == 5 and str(x.shape[2]) == expected:
        return "channels come second, where batch.transpose(1, 2) puts them"
    return "convert them, or build the model with another in_channels"


def has_channels_last(x: Tensor) -> bool:
    """Whether a batch looks as if the last dimension, not the second, were its channels: grey, RGB or RGBA."""
    return x.shape[-1] in (1, 3, 4) and x.shape[1] > 4


def channels_second(x: Tensor) -> str:
    """How a batch with channels last gets them to where models take them, for messages."""
    order = "0, 3, 1, 2" if x.ndim == 4 else "0, 4, 1, 2, 3"
    return f"channels come second, where batch.permute({order}) puts them"


_TO_TENSOR = {
    "image": (
        "torch.from_numpy(numpy.array(image)).permute(2, 0, 1).float().div(255) makes a Tensor[3, H, W] of an RGB image"
    ),
    "video": (
        "torch.from_numpy(frames).permute(3, 0, 1, 2).float().div(255) makes a Tensor[3, T, H, W] of RGB frames in a "
        "uint8 array of shape [T, H, W, 3]"
    ),
}
