"""Checkpoints of known random parameters, in the place where the published ones would be cached."""

import zoo_core
from support import cache, reference
from zoo_core.weights import WeightsEnum


def save_segmentation(home, name):
    """A checkpoint of the published form of a builder's default weights."""
    aux = {} if "lraspp" in name else {"aux_loss": True}
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None, **aux)
    state_dict = reference.fill_parameters(model).state_dict()
    cache.publish(home, zoo_core.get_model_weights(name)["DEFAULT"], state_dict)
    return state_dict


def save_backbone(home, builder, weights: WeightsEnum):
    with reference.no_random_init():
        model = builder()
    state_dict = reference.fill_parameters(model).state_dict()
    cache.publish(home, weights, state_dict)
    return state_dict
