"""Images of other channels than three, for every segmentation model."""

import pytest
import torch

import zoo_core
from support import input_channels, reference
from zoo_classification import MobileNet_V3_Large_Weights, mobilenet_v3_large

from . import published

NAMES = reference.model_names("segmentation")


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", NAMES)
def test_every_builder(name, channels):
    output = input_channels.assert_takes(name, channels, 64, 96)
    assert output["out"].shape == (2, 21, 64, 96)


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
def test_with_weights(channels, home):
    tensors = published.save_segmentation(home, "lraspp_mobilenet_v3_large")
    model, said = input_channels.built("lraspp_mobilenet_v3_large", channels)
    assert "backbone.0.0" in said
    input_channels.assert_made_from(model, tensors, channels)


def test_with_weights_of_the_backbone(home):
    tensors = published.save_backbone(home, mobilenet_v3_large, MobileNet_V3_Large_Weights.IMAGENET1K_V1)
    with pytest.warns(UserWarning, match="first layer"):
        model = zoo_core.get_model(
            "lraspp_mobilenet_v3_large", weights_backbone=MobileNet_V3_Large_Weights.IMAGENET1K_V1, in_channels=1
        )
    torch.testing.assert_close(model.backbone["0"][0].weight, tensors["features.0.0.weight"].sum(1, keepdim=True))
