"""Every builder against the reference: state dict, output, signature, weights. One case a builder of the catalogue."""

import importlib
import inspect
import math

import pytest
import torch

import zoo_core
from support import reference

NAMES = reference.model_names("classification")


def builder(name):
    return zoo_core.get_model_builder(name)


def without_init(name, **kwargs):
    if name in ("googlenet", "inception_v3"):
        kwargs.setdefault("init_weights", True)
    with reference.no_random_init():
        return builder(name)(**kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_and_output(name):
    model = without_init(name)
    assert reference.manifest_of(model) == reference.manifest(name)
    reference.fill_parameters(model)
    size = 299 if name == "inception_v3" else 224
    with torch.inference_mode():
        output = model(reference.image(1, 2, 3, size, size))
    reference.assert_matches(output, reference.golden(name)["eval"]["output"])


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    expected = reference.catalog()[name]
    function = builder(name)
    assert function.__name__ == expected["function"]
    assert function.__module__ == f"zoo_classification.{expected['family']}"
    reference.assert_signature(function, expected["signature"])
    assert inspect.getdoc(function), "a builder documents itself"
    assert "arxiv.org" in inspect.getdoc(function) or "https://" in inspect.getdoc(function)

    package = importlib.import_module("zoo_classification")
    weights = zoo_core.get_model_weights(name)
    assert weights.__name__ == expected["weights_enum"]
    assert getattr(package, function.__name__) is function
    assert getattr(package, weights.__name__) is weights
    assert expected["default"] == weights.DEFAULT.name
    published = [member for member in weights if not member.url.startswith("package:")]
    assert [member.name for member in published] == list(expected["weights"])
    for member in published:
        assert_metadata(member, expected["weights"][member.name])


def assert_metadata(member, expected):
    meta = member.meta
    assert member.url == expected["url"]
    assert member.sha256_prefix == expected["sha256_prefix"]
    assert meta["categories"] == (reference.labels()[expected["categories"]] if expected.get("categories") else None)
    assert meta["num_params"] == expected["num_params"]
    assert meta["min_size"] == tuple(expected["min_size"])
    assert meta["recipe"] == expected["recipe"]
    assert meta.get("license") == expected.get("license")
    assert meta["_ops"] == expected["ops"]
    assert meta["_file_size"] == expected["file_size"]
    for data_set, values in expected["metrics"].items():
        for metric, value in values.items():
            ours = meta["_metrics"][data_set][metric]
            assert math.isnan(ours) if value is None else ours == value
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in expected["transforms"].items() if k != "preset"}
    assert member.transforms.func.__name__ == expected["transforms"]["preset"]
    assert member.transforms.keywords == arguments


@pytest.mark.parametrize("name", sorted(reference.signatures("classification")))
def test_public_class_signature(name):
    package = importlib.import_module("zoo_classification")
    reference.assert_signature(getattr(package, name), reference.signatures("classification")[name])
