"""Images of other channels than three: what holds for every builder."""

import inspect
import warnings

import torch

import zoo_core
from zoo_core.builders import without_storage
from zoo_core.input_channels import adapt_weight, input_layers

CHANNELS = (1, 4, 12)


def fresh(name, channels, **arguments):
    """A model without storage."""
    builder = zoo_core.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    with without_storage():
        return builder(in_channels=channels, **arguments).eval()


def assert_takes(name, channels, *shape):
    """A builder makes a model for so many channels, of which the first layers alone differ.

    Args:
        name: of the builder.
        channels: how many.
        shape: of the input after N and C; nothing if the model does not run without storage.

    Returns:
        What it gives, without storage.
    """
    model = fresh(name, channels)
    names = input_layers(model)
    assert names == list(dict.fromkeys(names))
    for layer in map(model.get_submodule, names):
        assert layer.in_channels == layer.weight.shape[1] == channels
    if shape:
        return model(torch.empty(2, channels, *shape, device="meta"))
    return None


def assert_made_from(model, trained, channels):
    """The first layers are made from the trained ones, and all else is the same."""
    firsts = {f"{name}.weight" for name in input_layers(model)}
    for key, value in model.state_dict().items():
        expected = adapt_weight(trained[key], channels) if key in firsts else trained[key]
        assert torch.equal(value, expected), key


def built(name, channels, **arguments):
    """A model with weights, and the warning that says what was done with its first layer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = zoo_core.get_model(name, weights="DEFAULT", in_channels=channels, **arguments)
    said = [str(w.message) for w in caught if "first layer" in str(w.message)]
    assert len(said) == 1
    return model, said[0]
