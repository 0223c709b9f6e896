"""Images of other channels than three, for every classifier."""

import pytest
import torch

import zoo_core
from support import input_channels, reference
from zoo_classification import GoogLeNet_Weights, ResNet18_Weights, ShuffleNet_V2_X0_5_Weights
from zoo_core.specs import build, find

SIZES = {"inception_v3": 299}


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", reference.model_names("classification"))
def test_every_builder(name, channels):
    # One that runs shows that no other layer asks for three; the others differ in size alone.
    size = SIZES.get(name, 224)
    output = input_channels.assert_takes(name, channels, *((size, size) if channels == 4 else ()))
    if output is not None:
        assert output.shape == (2, 1000)


def test_grey_images_give_what_three_equal_channels_gave():
    weights = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
    trained = zoo_core.get_model("shufflenet_v2_x0_5", weights=weights).eval()
    with pytest.warns(UserWarning, match=r"the first layer \(conv1.0\) is for 1 channel, with the sum of the trained"):
        model = zoo_core.get_model("shufflenet_v2_x0_5", weights=weights, in_channels=1).eval()
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(grey), trained(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    assert model.state_dict().keys() == trained.state_dict().keys()


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
def test_with_weights_and_a_new_head(channels, publish):
    state = reference.fill_parameters(zoo_core.get_model("resnet18")).state_dict()
    publish(ResNet18_Weights.DEFAULT, state)
    model, said = input_channels.built("resnet18", channels)
    assert "ResNet18_Weights.IMAGENET1K_V1" in said
    input_channels.assert_made_from(model, state, channels)

    with pytest.warns(UserWarning, match="head"):
        model = zoo_core.get_model(
            "resnet18", weights="DEFAULT", in_channels=channels, num_classes=5, new_head=True, freeze_body=True
        )
    assert model(torch.rand(2, channels, 64, 64)).shape == (2, 5)
    assert not model.conv1.weight.requires_grad


@pytest.mark.parametrize("channels", [1, 4])
def test_the_range_that_googlenet_takes_follows(channels, publish):
    """A grey image, normalised by the mean of the statistics, is brought to [-1, 1] as three channels are."""
    model = zoo_core.get_model("googlenet", aux_logits=True, init_weights=False)
    publish(GoogLeNet_Weights.DEFAULT, reference.fill_parameters(model).state_dict())
    model, _ = input_channels.built("googlenet", channels)
    spec = find("googlenet", arguments={"in_channels": channels})
    mean, std = (torch.tensor(spec.preset_arguments[name]).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = torch.rand(2, channels, 32, 32)
    torch.testing.assert_close(model._transform_input((pixels - mean) / std), 2 * pixels - 1)


def test_own_checkpoints_are_recognised_by_their_first_layer(tmp_path):
    model = zoo_core.get_model("resnet18", in_channels=4, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    spec = find("resnet18", checkpoint=tmp_path / "bare.pth")
    assert spec.arguments == {"num_classes": 7, "in_channels": 4}
    assert spec.preset_arguments["mean"] == [0.485, 0.456, 0.406, 0.485]
    again = build(spec)
    assert torch.equal(again.conv1.weight, model.conv1.weight)


def test_own_checkpoints_begin_models_for_other_channels(tmp_path):
    model = zoo_core.get_model("resnet18", num_classes=7)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.warns(UserWarning, match="is for 1 channel, with the sum"):
        grey = zoo_core.get_model("resnet18", checkpoint=tmp_path / "bare.pth", in_channels=1)
    input_channels.assert_made_from(grey, model.state_dict(), 1)
