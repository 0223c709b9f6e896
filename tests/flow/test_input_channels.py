"""Images of other channels than three, for both models: two encoders see them."""

import pytest
import torch

import zoo_core
from support import input_channels
from zoo_core.input_channels import input_layers
from zoo_flow import Raft_Small_Weights


@pytest.mark.parametrize("channels", input_channels.CHANNELS)
@pytest.mark.parametrize("name", ["raft_large", "raft_small"])
def test_every_builder(name, channels):
    input_channels.assert_takes(name, channels)
    assert len(input_layers(input_channels.fresh(name, channels))) == 2


def test_grey_images_give_what_three_equal_channels_gave():
    weights = Raft_Small_Weights.SYNTHETIC_V1
    trained = zoo_core.get_model("raft_small", weights=weights).eval()
    with pytest.warns(UserWarning, match="first layer"):
        model = zoo_core.get_model("raft_small", weights=weights, in_channels=1).eval()
    first, second = torch.rand(2, 1, 1, 128, 128, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
    with torch.inference_mode():
        flow = model(first, second, num_flow_updates=2)[-1]
        expected = trained(first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1), num_flow_updates=2)[-1]
    torch.testing.assert_close(flow, expected, rtol=1e-3, atol=1e-3)
