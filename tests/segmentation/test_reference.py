"""Every builder of the catalogue against the reference: state dict, outputs, signatures, weights."""

import gc
import importlib

import pytest
import torch

import zoo_core
import zoo_segmentation
from support import reference
from zoo_core.inference import optimize_for_inference
from zoo_core.sizes import POOLING_FIXES_SIZES

NAMES = reference.model_names("segmentation")


def without_init(name, **kwargs):
    """A model of uninitialised parameters, with the auxiliary classifier if it can have one."""
    if "lraspp" not in name:
        kwargs.setdefault("aux_loss", True)
    with reference.no_random_init():
        return zoo_core.get_model(name, weights=None, weights_backbone=None, **kwargs)


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """The name of a builder, and its model filled as the reference was."""
    yield request.param, reference.fill_parameters(without_init(request.param))
    gc.collect()


def test_outputs(case):
    name, model = case
    expected = reference.golden(name)["eval"]["output"]
    with torch.inference_mode():
        outputs = model(reference.image(1, 2, 3, 128, 160))
    assert list(outputs) == list(expected) == (["out"] if "lraspp" in name else ["out", "aux"])
    for key, summary in expected.items():
        reference.assert_matches(outputs[key], summary)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_outputs_once_optimized_for_inference(name):
    model = optimize_for_inference(reference.fill_parameters(without_init(name)))
    with torch.inference_mode():
        outputs = model(reference.image(1, 2, 3, 128, 160))
    for key, summary in reference.golden(name)["eval"]["output"].items():
        reference.assert_matches(outputs[key], summary)
        assert outputs[key].is_contiguous()
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()) <= 2


def test_state_dict_of_the_published_form(case):
    name, model = case
    assert reference.manifest_of(model) == reference.manifest(name, "default" if "lraspp" in name else "pretrained")


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_of_the_default_form(name):
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None)
    assert reference.manifest_of(model) == reference.manifest(name)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 33, 17), (3, 97, 131)])
def test_any_size(case, shape):
    batch, height, width = shape
    with torch.inference_mode():
        outputs = case[1](reference.image(2, batch, 3, height, width))
    for scores in outputs.values():
        assert scores.shape == (batch, 21, height, width)
        assert scores.isfinite().all()


def test_images_of_a_batch_do_not_mix(case):
    x = reference.image(3, 2, 3, 65, 71)
    with torch.inference_mode():
        together, alone = case[1](x), case[1](x[1:])
    for key, scores in alone.items():
        torch.testing.assert_close(together[key][1:], scores, rtol=1e-4, atol=1e-5)


def test_export(case):
    """The exported program gives the eager model's outputs for a batch, and a size, that it was not traced with."""
    _, model = case
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.export.export(model, (reference.image(1, 2, 3, 96, 128),), dynamic_shapes=(dynamic,))
        exported = program.module()
        # Before torch 2.13, what is pooled keeps whether its sides are even.
        for shape in ((1, 63, 79) if POOLING_FIXES_SIZES else (1, 61, 77), (3, 128, 96)):
            x = reference.image(2, shape[0], 3, *shape[1:])
            ours, expected = exported(x), model(x)
            assert list(ours) == list(expected)
            for key in expected:
                torch.testing.assert_close(ours[key], expected[key], rtol=1e-4, atol=1e-4)


def test_compile_without_graph_breaks(case):
    _, model = case
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = reference.image(2, 2, 3, 70, 50)
    with torch.no_grad():
        ours, expected = compiled(x), model(x)
    for key in expected:
        torch.testing.assert_close(ours[key], expected[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (1, 3, 5, 0)])
def test_too_small(case, shape):
    with pytest.raises(ValueError, match=rf"at least 1x1 pixels.*not {shape[2]}x{shape[3]}"):
        case[1](torch.zeros(shape))


def test_what_is_no_batch_of_images(case):
    with pytest.raises(ValueError, match="unsqueeze"):
        case[1](torch.zeros(3, 64, 64))
    with pytest.raises(TypeError, match="uint8"):
        case[1](torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, expected in reference.assert_builder(name, zoo_segmentation):
        assert_metadata(member, expected)


def assert_metadata(member, expected):
    meta = member.meta
    assert meta["categories"] == reference.labels()["voc21"]
    assert expected["transforms"] == {"preset": member.transforms.func.__name__, **member.transforms.keywords}


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters(name):
    """The published figure counts the published form."""
    with torch.device("meta"), reference.no_random_init():
        model = without_init(name)
    published = zoo_core.get_model_weights(name)["DEFAULT"].meta["num_params"]
    assert sum(parameter.numel() for parameter in model.parameters()) == published


@pytest.mark.parametrize("name", sorted(reference.signatures("segmentation")))
def test_public_class_signature(name):
    package = importlib.import_module("zoo_segmentation")
    reference.assert_signature(getattr(package, name), reference.signatures("segmentation")[name])
