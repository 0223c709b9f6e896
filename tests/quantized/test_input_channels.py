"""Images of other channels than three, for float and int8 models."""

import pytest
import torch

import zoo_core
from support import input_channels, reference
from zoo_core.input_channels import adapt_weight
from zoo_quantized import ShuffleNet_V2_X0_5_QuantizedWeights

NAMES = reference.builder_names("quantized")
NAME = "quantized_shufflenet_v2_x0_5"


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", NAMES)
def test_every_float_builder(name, channels):
    input_channels.assert_takes(name, channels)


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
def test_int8_models_with_random_parameters(channels):
    model = zoo_core.get_model(NAME, quantize=True, in_channels=channels)
    assert model(torch.rand(1, channels, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
def test_int8_weights(channels):
    """The first layer's weights are made from the trained ones, within the rounding to int8."""
    weights = ShuffleNet_V2_X0_5_QuantizedWeights.FASHIONMNIST_FBGEMM_V1
    trained = zoo_core.get_model(NAME, weights=weights, quantize=True)
    with pytest.warns(UserWarning, match=r"first layer \(conv1.0\)"):
        model = zoo_core.get_model(NAME, weights=weights, quantize=True, in_channels=channels)
    got, old = (m.conv1[0].weight() for m in (model, trained))
    expected = adapt_weight(old.dequantize(), channels)
    step = got.q_per_channel_scales().view(-1, 1, 1, 1)
    assert bool(((got.dequantize() - expected).abs() <= step / 2 + 1e-6).all())
    if channels > 1:
        assert torch.equal(got.int_repr()[:, :3], old.int_repr())
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output, before = model(image.expand(-1, channels, -1, -1)), trained(image.expand(-1, 3, -1, -1))
    # Of equal channels the first layer computes the same, so results differ by rounding alone.
    assert (output - before).abs().max() < 0.35 * before.abs().max()
    assert torch.equal(output.argmax(1), before.argmax(1))


def test_own_int8_checkpoints_are_recognised(tmp_path):
    model = zoo_core.get_model(NAME, quantize=True, in_channels=4, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    again = zoo_core.get_model(NAME, checkpoint=tmp_path / "own.pth")
    image = torch.rand(1, 4, 64, 64)
    assert torch.equal(again.eval()(image), model(image))
