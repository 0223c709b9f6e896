"""Every int8 builder against the reference, and there and back through a file in the published format."""

import gc

import pytest
import torch

import zoo_core
import zoo_quantized
from support import reference
from zoo_core.weights import WeightsEnum
from zoo_quantized import quantize_model

from . import published

NAMES = reference.model_names("quantized")


def backend_of(name):
    return "qnnpack" if "mobilenet" in name else "fbgemm"


def without_init(name):
    with reference.no_random_init():
        return zoo_core.get_model(name, **reference.arguments(name))


def picture(name):
    size = 299 if "inception" in name else 224
    return reference.image(1, 1, 3, size, size)


class Case:
    """A builder, its float model filled as the reference was, and the int8 model of that."""

    def __init__(self, name):
        self.name = name
        self.model = reference.fill_parameters(without_init(name))
        with torch.inference_mode():
            self.output = self.model(picture(name))
        self.int8 = quantize_model(self.model, [picture(name)], backend=backend_of(name))


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    yield Case(request.param)
    gc.collect()


def test_state_dict(case):
    assert reference.manifest_of(case.model) == reference.manifest(case.name)


def test_output(case):
    reference.assert_matches(case.output, reference.golden(case.name)["float_eval"]["output"])


def test_int8_state_dict(case):
    assert published.manifest_of(case.int8.state_dict()) == published.manifest(case.name)


def test_int8_output_is_near_the_float_one(case):
    """Through dozens of layers that each round to 256 steps."""
    with torch.inference_mode():
        output = case.int8(picture(case.name))
    assert output.dtype == torch.float32
    assert (output - case.output).norm() < 0.05 * case.output.norm()


def test_round_trip(case, publish):
    """`weights=..., quantize=True` gives the int8 model of the file, ready to run, with its engine selected."""
    weights = zoo_core.get_model_weights(case.name)["DEFAULT"]
    state_dict = case.int8.state_dict()
    publish(weights, state_dict)
    torch.backends.quantized.engine = "onednn"
    # As the other file says; by default they take images in another range.
    arguments = {"transform_input": False} if case.name in ("quantized_googlenet", "quantized_inception_v3") else {}
    model = zoo_core.get_model(case.name, weights="DEFAULT", quantize=True, **arguments)
    assert torch.backends.quantized.engine == weights.meta["backend"] == backend_of(case.name)
    assert not model.training
    expected = {key: value for key, value in state_dict.items() if "googlenet" not in case.name or key[:3] != "aux"}
    published.assert_same(model.state_dict(), expected)
    with torch.inference_mode():
        for shape in ((2, 3, 224, 224), (1, 3, 96, 128)):
            x = reference.image(2, *shape)
            assert torch.equal(model(x), case.int8(x))


def test_the_empty_int8_model_is_made_of_what_torch_converts_to(case, publish):
    publish(zoo_core.get_model_weights(case.name)["DEFAULT"], case.int8.state_dict())
    loaded = zoo_core.get_model(case.name, weights="DEFAULT", quantize=True)
    kinds = {path: type(module) for path, module in loaded.named_modules()}
    expected = {
        path: type(module)
        for path, module in case.int8.named_modules()
        if "googlenet" not in case.name or path[:3] != "aux"
    }
    assert kinds == expected


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, expected in reference.assert_builder(name, zoo_quantized):
        assert_metadata(member, expected)


def assert_metadata(member, expected):
    meta = member.meta
    assert meta["categories"] == reference.labels()[expected["categories"]]
    assert meta["backend"] == expected["backend"]
    assert isinstance(meta["unquantized"], WeightsEnum)
    assert str(meta["unquantized"]) == expected["unquantized"]
    assert expected["transforms"] == {"preset": member.transforms.func.__name__, **member.transforms.keywords}


@pytest.mark.parametrize("name", sorted(reference.signatures("quantized")))
def test_public_class(name):
    model_class = getattr(zoo_quantized, name)
    reference.assert_signature(model_class, reference.signatures("quantized")[name])
    reference.assert_signature(model_class.fuse_model, [["is_qat", "POSITIONAL_OR_KEYWORD", None]])
