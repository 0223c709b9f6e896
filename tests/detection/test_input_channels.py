"""Images of other channels than three, for every detector: its normalisation follows."""

import pytest
import torch

import zoo_core
from support import input_channels, reference
from zoo_core.input_channels import per_channel
from zoo_detection import SSDLite320_MobileNet_V3_Large_Weights

NAMES = reference.model_names("detection")
SMALL = {"min_size": 64, "max_size": 64}
LIGHT = "ssdlite320_mobilenet_v3_large"


def own_values(name):
    transform = input_channels.fresh(name, 3).transform
    return transform.image_mean, transform.image_std


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", NAMES)
def test_every_builder(name, channels):
    input_channels.assert_takes(name, channels)
    transform = input_channels.fresh(name, channels).transform
    for value, values in zip((transform.image_mean, transform.image_std), own_values(name), strict=True):
        assert value == per_channel(values, channels)


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", [LIGHT, "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detecting_and_training(name, channels):
    size = {} if name == LIGHT else SMALL
    model = zoo_core.get_model(name, weights=None, weights_backbone=None, in_channels=channels, **size)
    images = [torch.rand(channels, 70, 90), torch.rand(channels, 64, 64)]
    target = {"boxes": torch.tensor([[5.0, 6.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    losses = model(images, [target, target])
    assert all(loss.isfinite() for loss in losses.values())
    with torch.inference_mode():
        assert len(model.eval()(images)) == 2


@pytest.mark.parametrize("channels", [1, 4])
def test_with_weights(channels, publish):
    state = reference.fill_parameters(zoo_core.get_model(LIGHT, weights_backbone=None)).state_dict()
    # The file has the reduced tail, which a backbone without weights has too.
    publish(SSDLite320_MobileNet_V3_Large_Weights.DEFAULT, state)
    model, said = input_channels.built(LIGHT, channels)
    assert "backbone.features.0.0.0" in said
    input_channels.assert_made_from(model, state, channels)
    assert model.transform.image_mean == [0.5] * channels


def test_statistics_that_are_given_stay():
    model = zoo_core.get_model(LIGHT, weights_backbone=None, in_channels=2, image_mean=[0.1, 0.2], image_std=[1.0, 2.0])
    assert model.transform.image_mean == [0.1, 0.2]
    assert model.transform.image_std == [1.0, 2.0]
    with pytest.raises(ValueError, match="image_mean must have a value for each of in_channels=2"):
        zoo_core.get_model(LIGHT, weights_backbone=None, in_channels=2, image_mean=[0.1, 0.2, 0.3])
