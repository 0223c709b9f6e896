"""Checkpoints of known random parameters, in the place where the published ones would be cached."""

import torch

import zoo_core
from support import reference
from zoo_core.weights import WeightsEnum


def save(home, model, url):
    """Saves a model's tensors as the cached file of an address. Returns them."""
    path = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model.state_dict()


def save_segmentation(home, name):
    """A checkpoint of the published form of a builder's default weights."""
    aux = {} if "lraspp" in name else {"aux_loss": True}
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None, **aux)
    return save(home, reference.fill_parameters(model), zoo_core.get_model_weights(name)["DEFAULT"].url)


def save_backbone(home, builder, weights: WeightsEnum):
    with reference.no_random_init():
        model = builder()
    return save(home, reference.fill_parameters(model), weights.url)
