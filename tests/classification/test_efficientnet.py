"""What is particular to EfficientNet and EfficientNetV2."""

import copy

import pytest
import torch
from torch import nn

from zoo_classification import EfficientNet, efficientnet_b0, efficientnet_b5, efficientnet_v2_s
from zoo_classification.efficientnet import FusedMBConv, FusedMBConvConfig, MBConv, MBConvConfig
from zoo_core.layers import StochasticDepth


def test_scaling():
    config = MBConvConfig(6, 5, 2, 40, 112, 3, width_mult=1.1, depth_mult=1.2)
    assert (config.input_channels, config.out_channels, config.num_layers) == (48, 120, 4)
    assert (config.expand_ratio, config.kernel, config.stride, config.block) == (6, 5, 2, MBConv)
    # Rounded down to 8, 10 would lose more than 10 %.
    assert MBConvConfig.adjust_channels(10, 1.0) == 16
    assert MBConvConfig.adjust_depth(3, 1.0) == 3
    fused = FusedMBConvConfig(4, 3, 2, 24, 48, 5)
    assert (fused.input_channels, fused.out_channels, fused.num_layers, fused.block) == (24, 48, 5, FusedMBConv)


def test_stochastic_depth_grows_in_equal_steps():
    model = EfficientNet(
        [MBConvConfig(1, 3, 1, 8, 8, 2), FusedMBConvConfig(2, 3, 2, 8, 16, 3)], 0.1, stochastic_depth_prob=0.5
    )
    layers = [m for m in model.modules() if isinstance(m, StochasticDepth)]
    assert [layer.p for layer in layers] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert {layer.mode for layer in layers} == {"row"}
    assert model.features[-1].out_channels == 64, "four times the last stage's"


@pytest.mark.parametrize(
    "block",
    [
        MBConv(MBConvConfig(4, 3, 1, 8, 8, 1), 0.5, nn.BatchNorm2d),
        FusedMBConv(FusedMBConvConfig(4, 3, 1, 8, 8, 1), 0.5, nn.BatchNorm2d),
        FusedMBConv(FusedMBConvConfig(1, 3, 1, 8, 8, 1), 0.5, nn.BatchNorm2d),
    ],
    ids=["mbconv", "fused", "fused_without_expansion"],
)
def test_samples_are_dropped_one_by_one(block):
    x = torch.rand(64, 8, 4, 4)
    before = x.clone()
    branch = copy.deepcopy(block.block).train()(x)
    torch.manual_seed(0)
    output = block.train()(x)
    assert torch.equal(x, before)
    dropped = torch.tensor([torch.equal(o, i) for o, i in zip(output, x, strict=True)])
    assert 16 < dropped.sum() < 48
    torch.testing.assert_close(output[~dropped], x[~dropped] + branch[~dropped] / 0.5)
    block.eval()
    torch.testing.assert_close(block(x), x + block.block(x))


def test_no_shortcut_where_the_shape_changes():
    for config in (MBConvConfig(4, 3, 2, 8, 8, 1), MBConvConfig(4, 3, 1, 8, 16, 1)):
        block = MBConv(config, 1.0, nn.BatchNorm2d).train()
        x = torch.rand(2, 8, 6, 6)
        torch.testing.assert_close(block(x), copy.deepcopy(block.block)(x))


def test_batch_norm_settings():
    def settings(model):
        return {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}

    with torch.device("meta"):
        assert settings(efficientnet_b0()) == {(1e-5, 0.1)}
        assert settings(efficientnet_b5()) == {(1e-3, 0.01)}
        assert settings(efficientnet_v2_s()) == {(1e-3, 0.1)}
        assert settings(efficientnet_v2_s(norm_layer=nn.BatchNorm2d)) == {(1e-5, 0.1)}


def test_own_settings():
    class Block(MBConv):
        pass

    setting = [MBConvConfig(2, 3, 2, 8, 16, 3, block=Block)]
    given = copy.deepcopy(setting)
    model = EfficientNet(setting, 0.0, num_classes=5, norm_layer=nn.InstanceNorm2d, last_channel=40)
    assert setting == given, "the caller's configurations stay as they are"
    assert [type(block) for block in model.features[1]] == [Block] * 3
    assert [block.use_res_connect for block in model.features[1]] == [False, True, True]
    assert model(torch.rand(2, 3, 32, 48)).shape == (2, 5)
    assert model.classifier[1].in_features == 40
    assert efficientnet_b0(dropout=0.6).classifier[0].p == 0.6


def test_small_pictures():
    """The published minimum of V2's checkpoints, 33, is not one of the architecture."""
    model = efficientnet_v2_s(num_classes=2).eval()
    for size in (32, 1):
        assert model(torch.rand(1, 3, size, size)).shape == (1, 2)


def test_impossible_settings():
    stage = MBConvConfig(2, 3, 2, 8, 16, 3)
    with pytest.raises(ValueError, match="is empty"):
        EfficientNet([], 0.2)
    for setting in (None, stage, [stage, (2, 3, 2, 8, 16, 3)]):
        with pytest.raises(TypeError, match="must be a list of MBConvConfig and FusedMBConvConfig"):
            EfficientNet(setting, 0.2)
    with pytest.raises(ValueError, match="MBConv takes a stride of 1 or 2, not 3"):
        EfficientNet([MBConvConfig(2, 3, 3, 8, 16, 1)], 0.2)
