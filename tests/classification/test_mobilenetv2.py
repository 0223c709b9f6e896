"""What is particular to MobileNetV2."""

import pytest
import torch
from torch import nn

from zoo_classification import MobileNetV2, mobilenet_v2
from zoo_classification.mobilenetv2 import InvertedResidual


def channels(model):
    return [layer.out_channels for layer in model.features]


def test_width():
    assert channels(mobilenet_v2()) == [
        *(32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320, 1280),
    ]
    narrow = mobilenet_v2(width_mult=0.35)
    assert channels(narrow) == [16, 8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112, 1280]
    wide = mobilenet_v2(width_mult=1.4)
    assert (wide.last_channel, wide.classifier[1].in_features) == (1792, 1792)


def test_blocks_that_change_the_size():
    model = mobilenet_v2()
    assert [i for i, layer in enumerate(model.features) if getattr(layer, "_is_cn", False)] == [2, 4, 7, 14]
    assert [i for i, layer in enumerate(model.features) if getattr(layer, "use_res_connect", False)] == [
        *(3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    ]


def test_shortcut_adds_the_input():
    block = InvertedResidual(8, 8, stride=1, expand_ratio=6).eval()
    x = torch.rand(2, 8, 5, 7)
    before = x.clone()
    nn.init.zeros_(block.conv[-1].weight)
    nn.init.constant_(block.conv[-1].bias, 0.25)
    assert torch.equal(block(x), before + 0.25)
    assert torch.equal(x, before)


def test_own_settings():
    class Block(InvertedResidual):
        pass

    model = MobileNetV2(
        num_classes=7,
        inverted_residual_setting=[[1, 16, 1, 1], [4, 24, 2, 2]],
        round_nearest=4,
        block=Block,
        norm_layer=nn.InstanceNorm2d,
        dropout=0.5,
    )
    assert [type(layer).__name__ for layer in model.features] == [
        *("Conv2dNormActivation", "Block", "Block", "Block", "Conv2dNormActivation")
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert model.classifier[0].p == 0.5
    assert model(torch.rand(2, 3, 64, 48)).shape == (2, 7)


@pytest.mark.parametrize("setting", [[], [[1, 16, 1]], [[1, 16, 1, 1, 1]]])
def test_impossible_settings(setting):
    with pytest.raises(ValueError, match="inverted_residual_setting must have rows of 4 elements"):
        MobileNetV2(inverted_residual_setting=setting)


def test_impossible_stride():
    with pytest.raises(ValueError, match="stride of 1 or 2, not 3"):
        InvertedResidual(8, 8, stride=3, expand_ratio=6)
