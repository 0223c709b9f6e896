"""Videos of other channels than three, for every model."""

import pytest
import torch

import zoo_core
from support import input_channels, reference
from zoo_core.builders import without_storage


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", reference.builder_names("video"))
def test_every_builder(name, channels):
    assert input_channels.assert_takes(name, channels, 16, 224, 224).shape == (2, 400)


def test_what_layers_refuse_is_said_of_the_video():
    model = zoo_core.get_model("r3d_18").train()
    words = r"trained on a batch of 1 video of 4 frames of 16x16 pixels: .*larger videos"
    with pytest.raises(ValueError, match=words):
        model(torch.rand(1, 3, 4, 16, 16))
    with pytest.raises(RuntimeError, match=r"takes videos of 3 channels, .*transpose\(1, 2\)"):
        model(torch.rand(2, 4, 3, 16, 16))


@pytest.mark.parametrize("name", ["s3d", "mvit_v2_s"])
def test_videos_with_channels_last(name):
    with without_storage():
        model = zoo_core.get_model(name).eval()
    with pytest.raises(ValueError, match=r"not 224 frames of 224x3 .*permute\(0, 4, 1, 2, 3\)"):
        model(torch.empty(1, 16, 224, 224, 3, device="meta"))
