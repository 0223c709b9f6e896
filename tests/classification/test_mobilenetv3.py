"""What is particular to MobileNetV3."""

from functools import partial

import pytest
import torch
from torch import nn

from zoo_classification import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from zoo_classification.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from zoo_core.layers import SqueezeExcitation


@pytest.mark.parametrize(
    ("builder", "arguments", "shape", "hidden"),
    [
        (mobilenet_v3_large, {}, (960, 4, 3), 1280),
        (mobilenet_v3_large, {"dilated": True}, (960, 7, 5), 1280),
        (mobilenet_v3_large, {"reduced_tail": True}, (480, 4, 3), 640),
        (mobilenet_v3_large, {"reduced_tail": True, "dilated": True}, (480, 7, 5), 640),
        (mobilenet_v3_large, {"width_mult": 0.75}, (720, 4, 3), 960),
        (mobilenet_v3_small, {}, (576, 4, 3), 1024),
        (mobilenet_v3_small, {"dilated": True}, (576, 7, 5), 1024),
        (mobilenet_v3_small, {"reduced_tail": True}, (288, 4, 3), 512),
    ],
)
def test_variants(builder, arguments, shape, hidden):
    model = builder(num_classes=5, **arguments).eval()
    x = torch.rand(1, 3, 100, 65)
    assert model.features(x).shape == (1, *shape)
    assert (model.classifier[0].in_features, model.classifier[0].out_features) == (shape[0], hidden)
    assert model(x).shape == (1, 5)


@pytest.mark.parametrize(
    ("builder", "positions"), [(mobilenet_v3_large, [2, 4, 7, 13]), (mobilenet_v3_small, [1, 2, 4, 9])]
)
@pytest.mark.parametrize("dilated", [False, True])
def test_blocks_that_change_the_size(builder, positions, dilated):
    features = builder(dilated=dilated).features
    assert [i for i, layer in enumerate(features) if getattr(layer, "_is_cn", False)] == positions
    assert not any(features[i].use_res_connect for i in positions), "a dilated block has no shortcut either"


def test_dilated_and_strided_have_the_same_parameters():
    shapes, dilated_shapes = (
        {key: value.shape for key, value in mobilenet_v3_large(dilated=dilated).state_dict().items()}
        for dilated in (False, True)
    )
    assert shapes == dilated_shapes


def test_squeeze_excitation_scales_by_hard_sigmoid():
    block = InvertedResidual(InvertedResidualConfig(16, 3, 64, 24, True, "RE", 2, 1, 1.0), nn.BatchNorm2d)
    (squeeze,) = (m for m in block.modules() if isinstance(m, SqueezeExcitation))
    assert squeeze.fc1.out_channels == 16
    assert isinstance(squeeze.scale_activation, nn.Hardsigmoid)
    with torch.no_grad():
        squeeze.fc2.weight.zero_()
        squeeze.fc2.bias.fill_(1.5)  # relu6(1.5 + 3) / 6
    x = torch.rand(1, 64, 4, 4)
    torch.testing.assert_close(squeeze(x), 0.75 * x)


def test_own_settings():
    class Block(InvertedResidual):
        pass

    row = partial(InvertedResidualConfig, width_mult=1.0)
    setting = [row(8, 3, 8, 8, False, "RE", 1, 1), row(8, 5, 32, 16, True, "HS", 2, 1)]
    model = MobileNetV3(setting, 64, num_classes=4, block=Block, norm_layer=nn.InstanceNorm2d, dropout=0.0)
    assert [type(layer).__name__ for layer in model.features] == [
        *("Conv2dNormActivation", "Block", "Block", "Conv2dNormActivation")
    ]
    assert len(model.features[1].block) == 2, "nothing to expand, so no expansion layer"
    assert model(torch.rand(2, 3, 40, 24)).shape == (2, 4)


def test_impossible_settings():
    row = InvertedResidualConfig(8, 3, 8, 8, False, "RE", 1, 1, 1.0)
    with pytest.raises(ValueError, match="is empty"):
        MobileNetV3([], 64)
    for setting in (None, row, [row, (8, 3, 8, 8)]):
        with pytest.raises(TypeError, match="must be a list of InvertedResidualConfig"):
            MobileNetV3(setting, 64)
    with pytest.raises(TypeError, match="no argument droput"):
        mobilenet_v3_small(droput=0.1)
    with pytest.raises(ValueError, match=r"'RE' .* or 'HS' .*, not 'SW'"):
        InvertedResidualConfig(8, 3, 8, 8, False, "SW", 1, 1, 1.0)
    with pytest.raises(ValueError, match="stride of 1 or 2, not 4"):
        InvertedResidual(InvertedResidualConfig(8, 3, 8, 8, False, "RE", 4, 1, 1.0), nn.BatchNorm2d)


def test_settings_handed_on_to_the_class():
    row = InvertedResidualConfig(8, 3, 8, 8, False, "RE", 1, 1, 1.0)
    assert MobileNetV3([row], 64, width_mult=1.0, reduced_tail=False, dilated=False).classifier[0].out_features == 64
