"""What is particular to ConvNeXt."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from support import reference
from zoo_classification import ConvNeXt, convnext_small, convnext_tiny
from zoo_classification.convnext import CNBlock, CNBlockConfig
from zoo_core.layers import LayerNorm2d, StochasticDepth


def test_block_against_convolutions():
    """The linear layers over the last dimension are 1x1 convolutions."""
    block = reference.fill_parameters(CNBlock(6, 1e-6, 0.0))
    x = reference.image(1, 2, 6, 9, 8)
    convolution, norm, expand, project = (block.block[i] for i in (0, 2, 3, 5))
    y = F.conv2d(x, convolution.weight, convolution.bias, padding=3, groups=6)
    mean, var = y.mean(1, keepdim=True), y.var(1, keepdim=True, correction=0)
    y = (y - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    y = F.gelu(F.conv2d(y, expand.weight[:, :, None, None], expand.bias))
    y = F.conv2d(y, project.weight[:, :, None, None], project.bias)
    torch.testing.assert_close(block(x), x + block.layer_scale * y, rtol=1e-4, atol=1e-5)


def test_blocks_start_as_almost_the_identity():
    block = CNBlock(4, 1e-6, 0.0)
    assert block.layer_scale.shape == (4, 1, 1)
    x = reference.image(1, 1, 4, 8, 8)
    torch.testing.assert_close(block(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("builder", "arguments", "blocks", "last"),
    [
        (convnext_tiny, {}, 18, 0.1),
        (convnext_small, {}, 36, 0.4),
        (convnext_tiny, {"stochastic_depth_prob": 0.8}, 18, 0.8),
    ],
)
def test_stochastic_depth_grows_from_block_to_block(builder, arguments, blocks, last):
    with torch.device("meta"):
        model = builder(**arguments)
    drops = [m.p for m in model.modules() if isinstance(m, StochasticDepth)]
    assert drops == pytest.approx([last * i / (blocks - 1) for i in range(blocks)])
    assert all(m.mode == "row" for m in model.modules() if isinstance(m, StochasticDepth))


def test_own_settings():
    class Block(CNBlock):
        pass

    class Norm(LayerNorm2d):
        pass

    model = ConvNeXt(
        [CNBlockConfig(8, 12, 1), CNBlockConfig(12, None, 1)],
        stochastic_depth_prob=0.5,
        layer_scale=0.25,
        num_classes=3,
        block=Block,
        norm_layer=Norm,
    )
    assert [type(layer).__name__ for layer in model.features] == [
        *("Conv2dNormActivation", "Sequential", "Sequential", "Sequential")
    ]
    assert sum(isinstance(m, Norm) for m in model.modules()) == 3
    assert all(bool((m.layer_scale == 0.25).all()) for m in model.modules() if isinstance(m, Block))
    assert model(torch.rand(2, 3, 8, 11)).shape == (2, 3)
    with pytest.raises(ValueError, match="at least 8x8"):
        model(torch.rand(2, 3, 8, 7))
    single = ConvNeXt([CNBlockConfig(8, None, 1)], stochastic_depth_prob=0.5, norm_layer=nn.BatchNorm2d)
    assert single.features[1][0].stochastic_depth.p == 0.0


def test_impossible_settings():
    with pytest.raises(ValueError, match="empty"):
        ConvNeXt([])
    with pytest.raises(TypeError, match="CNBlockConfig"):
        ConvNeXt([(96, None, 3)])
    with pytest.raises(TypeError, match="no arguments droput"):
        convnext_tiny(droput=0.1)
