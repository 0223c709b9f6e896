"""What is particular to ShuffleNet V2."""

import pytest
import torch

from zoo_classification import ShuffleNetV2, shufflenet_v2_x0_5
from zoo_classification.shufflenetv2 import InvertedResidual, channel_shuffle


@pytest.mark.parametrize(
    ("groups", "order"),
    [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 3, 1, 4, 2, 5]), (3, [0, 2, 4, 1, 3, 5]), (6, [0, 1, 2, 3, 4, 5])],
)
def test_channel_shuffle(groups, order):
    x = torch.arange(6.0).reshape(1, 6, 1, 1).expand(2, 6, 3, 4)
    assert channel_shuffle(x, groups)[:, :, 0, 0].tolist() == [order, order]
    # The original implementation's spelling of the same.
    assert torch.equal(
        channel_shuffle(x, groups), x.reshape(2, groups, -1, 3, 4).transpose(1, 2).contiguous().view(2, -1, 3, 4)
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_interleave_is_concatenation_and_shuffle(memory_format):
    unit = InvertedResidual(8, 8, 1)
    x1, x2 = (torch.rand(2, 4, 5, 3).contiguous(memory_format=memory_format) for _ in range(2))
    expected = channel_shuffle(torch.cat((x1, x2), dim=1), 2)
    assert torch.equal(unit.interleave(x1, x2), expected)
    assert expected[0, :, 0, 0].tolist() == torch.stack((x1[0, :, 0, 0], x2[0, :, 0, 0]), 1).flatten().tolist()


def test_unit_of_stride_1_passes_half_of_the_channels_on():
    unit = InvertedResidual(8, 8, 1)
    x = torch.rand(2, 8, 7, 5)
    assert torch.equal(unit(x)[:, ::2], x[:, :4])


@pytest.mark.parametrize("stride", [2, 3])
def test_unit_of_larger_stride(stride):
    x = torch.rand(2, 6, 13, 11)
    assert InvertedResidual(6, 10, stride)(x).shape == (2, 10, -(-13 // stride), -(-11 // stride))


def test_impossible_units():
    with pytest.raises(ValueError, match="stride of 1, 2 or 3, not 4"):
        InvertedResidual(8, 8, 4)
    with pytest.raises(ValueError, match="even, not 7"):
        InvertedResidual(8, 7, 2)
    with pytest.raises(ValueError, match="oup must be 8"):
        InvertedResidual(8, 16, 1)


def test_impossible_settings():
    with pytest.raises(ValueError, match="stages_repeats must have 3"):
        ShuffleNetV2([4, 8], [24, 48, 96, 192, 1024])
    with pytest.raises(ValueError, match="stages_out_channels must have 5"):
        ShuffleNetV2([4, 8, 4], [24, 48, 96, 192])


def test_own_unit():
    class Unit(InvertedResidual):
        pass

    model = shufflenet_v2_x0_5(inverted_residual=Unit)
    units = [m for m in model.modules() if isinstance(m, InvertedResidual)]
    assert len(units) == 16
    assert all(type(unit) is Unit for unit in units)


def test_smallest_image():
    model = shufflenet_v2_x0_5(num_classes=3).eval()
    assert model(torch.rand(1, 3, 1, 1)).shape == (1, 3)
