"""How builders make a float model, to be trained or quantized, or an int8 one."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from zoo_core import builders
from zoo_core.builder_docs import describe_arguments
from zoo_core.input_channels import check_channels
from zoo_core.weights import WeightsEnum
from zoo_quantized.quantization import load_quantized, quantize_model, quiet, replace_quantized_input

Model = TypeVar("Model", bound=nn.Module)
Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

ARGUMENTS: Mapping[str, str] = {
    "weights": (
        "the checkpoint to load, of the int8 model if ``quantize=True``, else of the float model; ``None`` for random "
        "parameters."
    ),
    "quantize": (
        "make the int8 model, which runs on the CPU. ``backend=`` names its engine, which is otherwise the one that "
        "the weights were made for. What :func:`zoo_core.builders.build` offers is for the float model."
    ),
}


def quantizable(function: Builder) -> Builder:
    """Adds the arguments that all builders of this package have in common to the docstring of one."""
    return describe_arguments(function, ARGUMENTS)


def choose_weights(
    weights: WeightsEnum | str | None,
    quantized: type[WeightsEnum],
    floating: type[WeightsEnum],
    quantize: bool,
) -> WeightsEnum | None:
    """The weights that are meant: int8 ones for ``quantize=True``, float ones else.

    Args:
        weights: a member of either enum, the name of a member, or ``None``.
        quantized: the enum of the int8 model.
        floating: the enum of the float model.
        quantize: which model is wanted.

    Raises:
        TypeError: ``weights`` are those of the other form.
        ValueError: there are none of that name.
    """
    if isinstance(weights, floating) and quantize:
        raise TypeError(
            f"{weights} are float weights, and quantize=True takes those of {quantized.__name__}. To quantize float "
            f"weights, build with quantize=False and give the model to zoo_quantized.quantize_model with some data"
        )
    if isinstance(weights, quantized) and not quantize:
        raise TypeError(
            f"{weights} are weights of the int8 model, which quantize=True builds; the float model takes those of "
            f"{floating.__name__}, for instance {weights.meta['unquantized']}"
        )
    return (quantized if quantize else floating).verify(weights)


def build(
    model_class: Callable[..., Model],
    weights: WeightsEnum | None,
    progress: bool,
    quantize: bool,
    /,
    *,
    default_backend: str = "fbgemm",
    backend: str | None = None,
    in_channels: int | None = None,
    **kwargs: Any,
) -> Model:
    """Makes a model.

    Args:
        model_class: the class, or a function that constructs the model.
        weights: what to load, as :func:`choose_weights` gives it; ``None`` for random parameters.
        progress: show a progress bar if the checkpoint has to be downloaded.
        quantize: make the int8 model, in eval mode. Without weights its parameters are random, and the ranges of its
            outputs are those of one random image: it then serves to load a state dict.
        default_backend: quantized engine of an int8 model without weights.
        backend: run the int8 model by another engine than ``default_backend`` or that of the weights: a faster one, or
            the only one that this machine has. Results then differ by rounding errors.
        in_channels: how many channels the images have, see :func:`zoo_core.builders.build`. The trained int8 weights of
            the first layer are rounded anew where they are summed.
        **kwargs: arguments of ``model_class``; for the float model also those of :func:`zoo_core.builders.build`.

    Raises:
        ValueError: an argument contradicts the checkpoint or the form of the model.
        RuntimeError: torch has no engine for the backend on this machine.
        zoo_core.checkpoints.CheckpointError: the checkpoint cannot be obtained, read, or does not fit the model.
    """
    if not quantize:
        if backend is not None:
            raise ValueError(f"backend={backend!r} goes with quantize=True: float models need no quantized engine")
        model = builders.build(model_class, weights, progress, in_channels=in_channels, **kwargs)
        for module in model.modules():
            if type(module) is nn.ReLU:
                # What observers and hooks keep of the layer before it stays as it was.
                module.inplace = False
        return model
    for option in ("new_head", "freeze_body"):
        if kwargs.pop(option, False):
            raise ValueError(
                f"{option}=True: an int8 model cannot be trained. Build with quantize=False and float weights, train, "
                f"and quantize the result with zoo_quantized.quantize_model, or train after zoo_quantized.prepare_qat"
            )
    # Whatever the default device: int8 models are on the CPU.
    with torch.device("cpu"):
        if weights is None:
            model = builders.build(model_class, None, in_channels=in_channels, **kwargs)
            image = torch.rand(1, in_channels or 3, 299, 299)
            return quantize_model(model, [image], backend=backend or default_backend, inplace=True)
        builders.set_from_weights(kwargs, weights, "num_classes", len(weights.meta["categories"]))
        with builders.without_storage():
            model = model_class(**kwargs)
        with quiet():
            state_dict = weights.get_state_dict(progress=progress, check_hash=True)
        made_for = weights.meta["backend"]
        model = load_quantized(model, state_dict, made_for=made_for, backend=backend or made_for, source=str(weights))
        if in_channels is not None:
            check_channels(in_channels)
            with quiet():
                builders.with_channels(model, in_channels, str(weights), replace=replace_quantized_input)
        return model
