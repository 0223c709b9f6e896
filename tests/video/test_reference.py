"""Every builder against the reference. One case a builder of the catalogue, so that none can be forgotten.

The model of a case is made once and serves all tests of its case: pytest runs them one after the other.
"""

import gc
import importlib

import pytest
import torch
from torch import nn

import zoo_core
import zoo_video
from support import reference
from zoo_core.inference import optimize_for_inference

NAMES = reference.model_names("video")


def without_init(name: str, **kwargs) -> nn.Module:
    with reference.no_random_init():
        return zoo_core.get_model_builder(name)(**kwargs)


def golden_input(name: str) -> torch.Tensor:
    frames, size = (8, 112) if name.startswith("swin3d_") else (16, 224 if name.startswith(("s3d", "mvit_")) else 112)
    return reference.image(1, 1, 3, frames, size, size)


def small(name: str, model: nn.Module) -> tuple[nn.Module, tuple[int, int, int]]:
    """A model, and the frames, height and width that it takes and that cost little."""
    if name.startswith("mvit_"):
        # The size of the videos is part of the model: one for small ones is made for the purpose.
        size = (5, 36, 64)
        return reference.fill_parameters(without_init(name, temporal_size=size[0], spatial_size=size[1:])), size
    return model, (13, 209, 209) if name == "s3d" else (5, 40, 56)


@pytest.fixture(scope="module", params=NAMES)
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
    with torch.inference_mode():
        output = model(golden_input(name))
    reference.assert_matches(output, reference.golden(name)["eval"]["output"])


@pytest.mark.parametrize("name", ["r2plus1d_18", "s3d", "swin3d_t"])
def test_output_once_optimized_for_inference(name):
    model = optimize_for_inference(reference.fill_parameters(without_init(name)))
    assert_golden_output(name, model)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def test_export(case):
    """The exported program gives the eager model's outputs for batches that it was not traced with."""
    name, model = case
    model, size = small(name, model)
    with torch.no_grad():
        program = torch.export.export(
            model, (reference.image(1, 2, 3, *size),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
        exported = program.module()
        for batch in (1, 3):
            x = reference.image(2, batch, 3, *size)
            torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_video_alone_gives_what_it_gives_in_a_batch(case):
    name, model = case
    model, size = small(name, model)
    x = reference.image(3, 3, 3, *size)
    with torch.inference_mode():
        together = model(x)
        torch.testing.assert_close(model(x[1:2]), together[1:2], rtol=1e-4, atol=1e-4)


WRONG_SIZES = {
    "mvit": (r"16 frames of 224x224", [(14, 224, 224), (16, 224, 220), (16, 256, 196), (32, 224, 224)]),
    "s3d": (r"at least 13 frames of at least 209x209", [(12, 224, 224), (16, 208, 224), (16, 224, 208)]),
}


def test_input_that_the_model_cannot_take(case):
    """The error names the sizes that it takes."""
    name, model = case
    with torch.inference_mode():
        with pytest.raises(ValueError, match=r"Tensor\[N, C, T, H, W\].*\[3, 8, 64, 64\].*unsqueeze"):
            model(torch.zeros(3, 8, 64, 64))
        with pytest.raises(TypeError, match=r"torch\.uint8.*transforms"):
            model(torch.zeros(1, 3, 8, 64, 64, dtype=torch.uint8))
        takes, sizes = WRONG_SIZES.get(name.partition("_")[0], ("at least 1 frames", [(0, 64, 64)]))
        for size in sizes:
            found = "{} frames of {}x{}".format(*size)
            with pytest.raises(ValueError, match=f"{takes}.*not {found}"):
                model(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("name", NAMES)
def test_builder_and_weights(name):
    for member, expected in reference.assert_builder(name, zoo_video):
        assert_metadata(member, expected)


def assert_metadata(member, expected):
    meta = member.meta
    assert meta["categories"] == reference.labels()[expected["categories"]]
    assert len(meta["categories"]) == 400
    assert meta.get("min_temporal_size") == expected.get("min_temporal_size")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in expected["transforms"].items() if k != "preset"}
    assert member.transforms.func.__name__ == expected["transforms"]["preset"] == "VideoClassification"
    assert member.transforms.keywords == arguments


@pytest.mark.parametrize("name", NAMES)
def test_preprocessing_makes_what_the_model_takes(name):
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    frames = weights.meta.get("min_temporal_size", 16)
    clip = torch.randint(0, 256, (2, frames, 3, 90, 120), dtype=torch.uint8)
    height, width = weights.transforms.keywords["crop_size"]
    assert weights.transforms()(clip).shape == (2, 3, frames, height, width)


@pytest.mark.parametrize("name", sorted(reference.signatures("video")))
def test_public_signature(name):
    package = importlib.import_module("zoo_video")
    reference.assert_signature(getattr(package, name), reference.signatures("video")[name])
