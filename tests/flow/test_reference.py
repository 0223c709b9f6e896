"""Both builders against the reference: state dict, outputs, signatures, weights."""

import importlib

import pytest
import torch

import zoo_core
import zoo_flow
from support import reference

NAMES = reference.model_names("flow")


def without_init(name, **kwargs):
    with reference.no_random_init():
        return zoo_core.get_model_builder(name)(**kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_and_outputs(name):
    model = without_init(name)
    assert reference.manifest_of(model) == reference.manifest(name)
    reference.fill_parameters(model)
    images = [2 * reference.image(seed, 1, 3, 128, 160) - 1 for seed in (1, 2)]
    with torch.inference_mode():
        flows = model(*images, num_flow_updates=3)
    expected = reference.golden(name)["eval_3_updates"]["output"]
    assert len(flows) == len(expected) == 3
    for flow, summary in zip(flows, expected, strict=True):
        reference.assert_matches(flow, summary)


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, expected in reference.assert_builder(name, zoo_flow):
        assert_metadata(member, expected)


def assert_metadata(member, expected):
    assert expected["transforms"] == {"preset": member.transforms.func.__name__}
    assert member.transforms.keywords == {}


@pytest.mark.parametrize("name", sorted(reference.signatures("flow")))
def test_public_class_signature(name):
    package = importlib.import_module("zoo_flow")
    reference.assert_signature(getattr(package, name), reference.signatures("flow")[name])
