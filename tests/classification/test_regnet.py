"""What is particular to RegNet."""

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import RegNet, RegNet_Y_16GF_Weights, regnet_x_400mf, regnet_y_400mf
from zoo_classification.regnet import BlockParams, ResBottleneckBlock, SimpleStemIN


@pytest.mark.parametrize(
    ("parameters", "depths", "widths", "group_width"),
    [
        # The paper's tables of its best models. That of the first has 384 channels at the end, since 392 lies between
        # two multiples of 16; the published checkpoints have 400.
        ((22, 24, 24.48, 2.54, 16), [1, 2, 7, 12], [32, 64, 160, 400], 16),
        ((25, 88, 26.31, 2.25, 48), [2, 6, 15, 2], [96, 192, 432, 1008], 48),
        ((22, 216, 55.59, 2.1, 128), [2, 6, 13, 1], [256, 512, 896, 2048], 128),
        ((21, 80, 42.63, 2.66, 24), [2, 5, 13, 1], [72, 216, 576, 1512], 24),
        ((20, 232, 115.89, 2.53, 232), [2, 5, 12, 1], [232, 696, 1392, 3712], 232),
    ],
)
def test_stages_from_the_papers_parameters(parameters, depths, widths, group_width):
    params = BlockParams.from_init_params(*parameters)
    assert params.depths == depths
    assert params.widths == widths
    assert params.group_widths == [group_width] * 4
    assert params.strides == [2] * 4


def test_groups_are_no_wider_than_the_convolution():
    params = BlockParams.from_init_params(23, 80, 49.56, 2.88, 120)
    assert params.widths == [80, 240, 720, 1920]
    assert params.group_widths == [80, 120, 120, 120]


def test_bottleneck_multiplier():
    params = BlockParams.from_init_params(4, 64, 32.0, 2.0, 24, bottleneck_multiplier=0.5)
    for width, _, _, group_width, multiplier in params.stages():
        assert int(width * multiplier) % group_width == 0
    model = RegNet(params, num_classes=3).eval()
    assert model(torch.rand(1, 3, 32, 40)).shape == (1, 3)


@pytest.mark.parametrize("wrong", [{"w_0": 0}, {"w_0": 20}, {"w_a": -1.0}, {"w_m": 1.0}, {"depth": 0}, {"w_0": -8}])
def test_parameters_outside_their_range(wrong):
    right = {"depth": 16, "w_0": 48, "w_a": 27.89, "w_m": 2.09, "group_width": 8}
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        BlockParams.from_init_params(**(right | wrong))


def test_squeeze_is_a_quarter_of_the_blocks_input():
    stage = regnet_y_400mf().trunk_output.block2
    assert [block.f.se.fc1.out_channels for block in stage] == [12, 26, 26]  # inputs of 48, 104 and 104
    assert not hasattr(regnet_x_400mf().trunk_output.block1[0].f, "se")


def test_own_layers():
    class Stem(SimpleStemIN):
        pass

    class Block(ResBottleneckBlock):
        pass

    params = BlockParams([1, 2], [16, 24], [8, 8], [1.0, 1.0], [1, 2], se_ratio=0.5)
    model = RegNet(
        params, 5, stem_width=8, stem_type=Stem, block_type=Block, norm_layer=nn.InstanceNorm2d, activation=nn.SiLU
    )
    assert isinstance(model.stem, Stem)
    assert sum(isinstance(m, Block) for m in model.modules()) == 3
    assert not any(isinstance(m, nn.BatchNorm2d | nn.ReLU) for m in model.modules())
    assert model.trunk_output(model.stem(torch.rand(1, 3, 20, 32))).shape == (1, 24, 5, 8)
    assert model(torch.rand(2, 3, 20, 32)).shape == (2, 5)


def test_block_is_the_sum_of_branch_and_shortcut():
    block = reference.fill_parameters(ResBottleneckBlock(8, 16, 2, nn.BatchNorm2d, nn.ReLU, group_width=4))
    x = reference.image(1, 2, 8, 6, 7)
    given = x.clone()
    torch.testing.assert_close(block(x), torch.relu(block.f(given) + block.proj(given)))
    same = reference.fill_parameters(ResBottleneckBlock(16, 16, 1, nn.BatchNorm2d, nn.ReLU, group_width=4))
    assert same.proj is None
    x = reference.image(2, 2, 16, 6, 7)
    given = x.clone()
    torch.testing.assert_close(same(x), torch.relu(same.f(given) + given))
    assert torch.equal(x, given), "the input stays as it is"


def test_sizes_of_the_swag_weights():
    sizes = {member.name: member.transforms.keywords["crop_size"] for member in RegNet_Y_16GF_Weights}
    assert sizes["IMAGENET1K_SWAG_E2E_V1"] == 384
    assert sizes["IMAGENET1K_SWAG_LINEAR_V1"] == 224
