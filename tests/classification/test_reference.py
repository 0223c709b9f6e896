"""Every builder against the reference. One case a builder of the catalogue, so that none can be forgotten.

Those of the zoo's own are compared with what `tools` wrote of another implementation.

The model of a case is made once and serves all tests of its case: pytest runs them one after the other.
"""

import gc
import importlib

import pytest
import torch
from torch import nn

import zoo_classification
import zoo_core
from support import programs, reference
from support.programs import FIXED_SIZE, input_size, without_init
from zoo_core.inference import optimize_for_inference

NAMES = reference.model_names("classification")

# The builder with the fewest operations of each family, that is, of each module.
SMALLEST = [
    min(names, key=lambda name: reference.catalog()[name]["weights"][reference.catalog()[name]["default"]]["ops"])
    for family in sorted({reference.catalog()[name]["family"] for name in NAMES})
    for names in [[name for name in NAMES if reference.catalog()[name]["family"] == family]]
]


@pytest.fixture(scope="module", params=reference.builder_names("classification"))
def case(request):
    """The name of a builder, and its model filled as the reference was."""
    yield request.param, reference.fill_parameters(without_init(request.param))
    gc.collect()


def test_state_dict(case):
    name, model = case
    assert reference.manifest_of(model) == reference.manifest(name)


def test_output(case):
    assert_golden_output(*case)


def assert_golden_output(name, model):
    size = input_size(name)
    with torch.inference_mode():
        output = model(reference.image(1, 2, 3, size, size))
    reference.assert_matches(output, reference.golden(name)["eval"]["output"])


def test_export(case):
    """The program of one builder of each kind; the others are made of the same modules."""
    name, model = case
    if name in programs.OF_EACH_KIND:
        programs.assert_exports(name, model)
    else:
        programs.assert_of_a_kind_that_is_exported(name, model)


# Beside the smallest of each family, what pads by the size of its input.
TRANSFORMED = [*SMALLEST, "efficientnet_lite0"]


@pytest.mark.parametrize("name", TRANSFORMED)
def test_compile_without_graph_breaks(name):
    model = reference.fill_parameters(without_init(name))
    size = input_size(name) if name.startswith(FIXED_SIZE) or name == "inception_v3" else 96
    x = reference.image(2, 2, 3, size, size)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
    torch.compiler.reset()


@pytest.mark.parametrize("name", TRANSFORMED)
def test_output_once_optimized_for_inference(name):
    model = optimize_for_inference(reference.fill_parameters(without_init(name)))
    assert_golden_output(name, model)
    if not name.startswith(("densenet", "maxvit", "googlenet", "inception")):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_input_that_the_model_cannot_take(case):
    """The error names the sizes that it takes."""
    name, model = case
    minimum = zoo_core.get_model_weights(name)["DEFAULT"].meta["min_size"]
    if name.startswith("efficientnet_v2_"):
        minimum = (1, 1)  # published as 33, but the reference takes smaller ones, 32x32 pictures for instance
    elif name.startswith("swin_"):
        minimum = (4, 4)  # published is the size in training, but a patch is enough
    named, size = (224, (208, 224)) if name.startswith(FIXED_SIZE) else (minimum[0], (minimum[0] - 1, 300))
    with torch.inference_mode(), pytest.raises(ValueError, match=rf"\b{named}(x|\b).*not {size[0]}x{size[1]}"):
        model(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, expected in reference.assert_builder(name, zoo_classification):
        assert_metadata(member, expected)


def assert_metadata(member, expected):
    meta = member.meta
    assert meta["categories"] == (reference.labels()[expected["categories"]] if expected.get("categories") else None)
    assert meta.get("license") == expected.get("license")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in expected["transforms"].items() if k != "preset"}
    assert member.transforms.func.__name__ == expected["transforms"]["preset"]
    assert member.transforms.keywords == arguments


@pytest.mark.parametrize("name", sorted(reference.signatures("classification")))
def test_public_signature(name):
    package = importlib.import_module("zoo_classification")
    reference.assert_signature(getattr(package, name), reference.signatures("classification")[name])
