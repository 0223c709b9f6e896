"""Both builders against the reference: state dict, outputs, signatures, weights."""

import importlib
import inspect

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
    expected = reference.catalog()[name]
    function = zoo_core.get_model_builder(name)
    assert function.__name__ == expected["function"]
    assert function.__module__ == f"zoo_flow.{expected['family']}"
    reference.assert_signature(function, expected["signature"])
    assert "arxiv.org" in inspect.getdoc(function)
    reference.assert_arguments_described(function)

    weights = zoo_core.get_model_weights(name)
    assert weights.__name__ == expected["weights_enum"]
    assert getattr(zoo_flow, function.__name__) is function
    assert getattr(zoo_flow, weights.__name__) is weights
    assert expected["default"] == weights.DEFAULT.name
    published = [member for member in weights if not member.url.startswith("package:")]
    assert [member.name for member in published] == list(expected["weights"])
    for member in published:
        assert_metadata(member, expected["weights"][member.name])


def assert_metadata(member, expected):
    assert member.url == expected["url"]
    assert member.sha256_prefix == expected["sha256_prefix"]
    meta = member.meta
    assert meta["num_params"] == expected["num_params"]
    assert meta["min_size"] == tuple(expected["min_size"])
    assert meta["recipe"] == expected["recipe"]
    assert meta["_metrics"] == expected["metrics"]
    assert meta["_ops"] == expected["ops"]
    assert meta["_file_size"] == expected["file_size"]
    assert expected["transforms"] == {"preset": member.transforms.func.__name__}
    assert member.transforms.keywords == {}


@pytest.mark.parametrize("name", sorted(reference.signatures("flow")))
def test_public_class_signature(name):
    package = importlib.import_module("zoo_flow")
    reference.assert_signature(getattr(package, name), reference.signatures("flow")[name])
