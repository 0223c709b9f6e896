"""Models for images of other channels than three."""

import pytest
import torch
from torch import nn

from zoo_core import input_channels
from zoo_core.builders import build
from zoo_core.input_channels import adapt_weight, per_channel, preset_arguments


def test_of_a_grey_image_three_equal_channels_would_give_the_same():
    torch.manual_seed(0)
    trained = nn.Conv2d(3, 5, 3, bias=False)
    grey = torch.rand(2, 1, 8, 8)
    summed = nn.functional.conv2d(grey, adapt_weight(trained.weight, 1))
    torch.testing.assert_close(summed, trained(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("channels", "order"), [(2, [0, 1]), (4, [0, 1, 2, 0]), (7, [0, 1, 2, 0, 1, 2, 0])])
def test_more_channels_repeat_the_trained_ones_and_keep_the_magnitude(channels, order):
    weight = torch.rand(5, 3, 3, 3, 3)
    assert torch.equal(adapt_weight(weight, channels), weight[:, order] * (3 / channels))


def test_half_precision_is_summed_in_single():
    weight = torch.tensor([2048.0, 1.0, 1.0], dtype=torch.float16).view(1, 3, 1, 1)
    assert adapt_weight(weight, 1).item() == 2050  # 2048 + 1 is 2048 in half precision
    assert adapt_weight(weight, 1).dtype == torch.float16


def test_normalisation():
    assert per_channel([0.25, 0.5, 0.75], 1) == [0.5]
    assert per_channel([0.25, 0.5, 0.75], 5) == [0.25, 0.5, 0.75, 0.25, 0.5]
    assert preset_arguments("ImageClassification", {"crop_size": 224}, 4) == {
        "crop_size": 224,
        "mean": [0.485, 0.456, 0.406, 0.485],
        "std": [0.229, 0.224, 0.225, 0.229],
    }
    of_four = {"mean": [0.1, 0.2, 0.3, 0.4], "std": [1.0] * 4, "resize_size": None}
    assert preset_arguments("SemanticSegmentation", of_four, 4) == of_four
    assert preset_arguments("ObjectDetection", {}, 4) == {}


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = nn.Conv2d(3, width, 1)
        self.second = nn.Conv2d(width, 2, 1)

    def _initialize(self, module):
        nn.init.ones_(module.weight)


class OwnNet(nn.Module):
    def __init__(self, in_channels=3):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 1)
        self.asked = in_channels


def test_without_weights_the_layer_is_drawn_as_the_family_draws_it():
    torch.manual_seed(0)
    plain = build(Net, None)
    torch.manual_seed(0)
    model = build(Net, None, in_channels=6)
    assert model.first.in_channels == 6
    assert model.first.weight.shape == (4, 6, 1, 1)
    assert bool((model.first.weight == 1).all())
    assert torch.equal(model.second.weight, plain.second.weight)
    assert model.first.weight.requires_grad


def test_a_class_that_takes_channels_itself_is_asked():
    assert build(OwnNet, None, in_channels=6).asked == 6


@pytest.mark.parametrize("channels", [0, -1, 1.0, True, "1"])
def test_what_is_no_number_of_channels(channels):
    with pytest.raises(ValueError, match="in_channels must be an integer of at least 1"):
        build(Net, None, in_channels=channels)


def test_models_without_such_a_layer_say_so():
    with pytest.raises(ValueError, match="Linear has no convolution"):
        input_channels.input_layers(nn.Linear(3, 3))

    class Grouped(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 3, 1, groups=3))

    with pytest.raises(ValueError, match="groups"):
        build(Grouped, None, in_channels=4)
