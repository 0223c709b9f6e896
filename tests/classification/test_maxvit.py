"""What is particular to MaxViT."""

from unittest import mock

import pytest
import torch
from torch import nn

from support import reference
from zoo_classification import MaxVit, MaxVit_T_Weights, maxvit_t
from zoo_classification.maxvit import (
    MaxVitBlock,
    MBConv,
    PartitionAttentionLayer,
    RelativePositionalMultiHeadAttention,
)
from zoo_core.attention import relative_position_bias
from zoo_core.layers import StochasticDepth


def small(input_size=(32, 48), **kwargs):
    torch.manual_seed(0)
    settings = {
        "stem_channels": 8,
        "partition_size": 2,
        "block_channels": [8, 12],
        "block_layers": [1, 2],
        "head_dim": 4,
        "stochastic_depth_prob": 0.2,
        "num_classes": 5,
    }
    return reference.fill_parameters(MaxVit(input_size, **settings | kwargs))


def test_attention_by_the_papers_formula():
    torch.manual_seed(0)
    attention = RelativePositionalMultiHeadAttention(12, 4, 9)
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, 3, 9, 12)
    table = attention.relative_position_bias_table.view(5, 5, 3)
    q, k, v = attention.to_qkv(x).view(2, 3, 9, 3, 3, 4).permute(3, 0, 1, 4, 2, 5)
    logits = q @ k.transpose(-1, -2) / 12**0.5  # the published model scales by all channels, not by a head's
    for i in range(9):
        for j in range(9):
            logits[..., i, j] += table[i // 3 - j // 3 + 2, i % 3 - j % 3 + 2]
    expected = attention.merge((logits.softmax(-1) @ v).transpose(2, 3).flatten(3))
    for mode in (True, False):
        torch.testing.assert_close(attention.train(mode)(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("partition_type", ["window", "grid"])
def test_who_attends_to_whom(partition_type):
    """A change of one token changes the tokens of its window, or those at the same place of all windows."""
    torch.manual_seed(0)
    layer = PartitionAttentionLayer(
        8, 4, 2, partition_type, (4, 6), 2, nn.GELU, nn.LayerNorm, attention_dropout=0.0, mlp_dropout=0.0,
        p_stochastic_dropout=0.0,
    ).eval()  # fmt: skip
    x = torch.randn(2, 8, 4, 6)
    changed = x.clone()
    changed[1, :, 2, 3] += torch.randn(8)
    with torch.no_grad():
        y, z = layer(x), layer(changed)
    assert y.shape == x.shape
    moved = (y - z).abs().amax(1) > 1e-6
    expected = torch.zeros(2, 4, 6, dtype=torch.bool)
    if partition_type == "window":
        expected[1, 2:4, 2:4] = True
    else:
        expected[1, 0::2, 0::3] = True  # 2 x 2 tokens in steps of 2 rows and 3 columns
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("partition_type", ["window", "grid"])
def test_partition_layer_by_single_groups(partition_type):
    """The order of tokens matters: each group alone gives what all give together."""
    torch.manual_seed(0)
    layer = PartitionAttentionLayer(8, 4, 3, partition_type, (6, 9), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0).eval()
    nn.init.normal_(layer.attn_layer[1].relative_position_bias_table)
    x = torch.randn(2, 8, 6, 9)
    with torch.no_grad():
        y = layer(x)
        for row in range(2):
            for column in range(3):
                if partition_type == "window":
                    group = (..., slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
                else:
                    group = (..., slice(row, None, 2), slice(column, None, 3))
                tokens = x[group].flatten(2).transpose(1, 2).unsqueeze(1)
                tokens = tokens + layer.attn_layer(tokens)
                tokens = tokens + layer.mlp_layer(tokens)
                expected = tokens.squeeze(1).transpose(1, 2).unflatten(2, (3, 3))
                torch.testing.assert_close(y[group], expected, rtol=1e-4, atol=1e-5)


def test_stochastic_depth_drops_samples():
    """Not windows."""
    layer = PartitionAttentionLayer(8, 4, 2, "window", (4, 4), 2, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.5)
    torch.manual_seed(0)
    x = torch.randn(64, 8, 4, 4)
    untouched = (layer(x) == x).flatten(2).all(1)
    assert torch.equal(untouched.all(1), untouched.any(1))
    assert 4 < int(untouched.all(1).sum()) < 32  # both branches, each with probability 0.5


def test_probabilities_grow_from_layer_to_layer():
    model = small(block_layers=[2, 3], stochastic_depth_prob=0.4)
    layers = [layer.layers for block in model.blocks for layer in block.layers]
    assert [layer.grid_attention.stochastic_dropout.p for layer in layers] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert isinstance(layers[0].MBconv.stochastic_depth, nn.Identity)
    depths = [layer.MBconv.stochastic_depth for layer in layers[1:]]
    assert all(isinstance(depth, StochasticDepth) and depth.mode == "row" for depth in depths)


@pytest.mark.parametrize(("stride", "out_channels", "projects"), [(1, 8, False), (1, 12, True), (2, 8, True)])
def test_mbconv(stride, out_channels, projects):
    torch.manual_seed(0)
    block = MBConv(8, out_channels, 4, 0.25, stride, nn.GELU, nn.BatchNorm2d).eval()
    assert bool(list(block.proj.parameters())) is projects
    assert block.layers.squeeze_excitation.fc1.out_channels == out_channels // 4
    assert block.layers.conv_b[0].groups == 4 * out_channels
    x = torch.randn(2, 8, 7, 6)
    nn.init.zeros_(block.layers.conv_c.weight)
    nn.init.zeros_(block.layers.conv_c.bias)
    shortcut = block(x)
    assert shortcut.shape == (2, out_channels, 7 if stride == 1 else 4, 6 if stride == 1 else 3)
    if not projects:
        assert torch.equal(shortcut, x)
    else:
        pooled = x if stride == 1 else nn.functional.avg_pool2d(x, 3, 2, 1)
        torch.testing.assert_close(shortcut, block.proj[-1](pooled))


def test_position_bias_is_computed_once_and_follows_its_table():
    model = small()
    x = reference.image(1, 2, 3, 32, 48)
    with (
        mock.patch(
            "zoo_classification.maxvit.relative_position_bias",
            wraps=relative_position_bias,
        ) as bias,
        torch.inference_mode(),
    ):
        first = model(x)
        assert bias.call_count == 6  # two for each of three layers
        assert torch.equal(model(x), first)
        assert bias.call_count == 6
        attention = model.blocks[1].layers[0].layers.window_attention.attn_layer[1]
        attention.relative_position_bias_table.mul_(3)
        assert not torch.equal(model(x), first)
        assert bias.call_count == 7


def test_layouts_of_the_input_give_the_same():
    model = small()
    x = reference.image(1, 2, 3, 32, 48)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), expected)
        torch.testing.assert_close(model.to(memory_format=torch.channels_last)(x), expected)


def test_images_that_are_not_square():
    model = small(input_size=(48, 16))
    assert model(reference.image(1, 2, 3, 48, 16)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"48x16 pixels.*not 16x48"):
        model(torch.rand(1, 3, 16, 48))


def test_size_that_does_not_fit_the_partition():
    with pytest.raises(ValueError, match=r"\(7, 12\) of block 0.*partition size 2.*\(28, 48\).*multiples of 16"):
        small(input_size=(28, 48))
    with pytest.raises(ValueError, match=r"\(5, 6\) of block 1"):
        small(input_size=(40, 48))
    with pytest.raises(ValueError, match=r"\(15, 15\) of block 0.*multiples of 224"):
        maxvit_t(input_size=(60, 60))


def test_input_size_is_the_checkpoints(monkeypatch):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in maxvit_t().state_dict().items()}
    monkeypatch.setattr(
        "zoo_core.weights.Weights.get_state_dict",
        lambda self, **kwargs: {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()},
    )
    for kwargs in ({}, {"input_size": (224, 224)}, {"input_size": [224, 224]}):
        assert maxvit_t(weights=MaxVit_T_Weights.DEFAULT, **kwargs).input_size == (224, 224)
    with pytest.raises(ValueError, match=r"input_size=\(224, 224\), not \(448, 448\)"):
        maxvit_t(weights="DEFAULT", input_size=(448, 448))
    with torch.device("meta"):
        assert maxvit_t(input_size=[448, 448]).input_size == (448, 448)


def test_impossible_settings():
    with pytest.raises(ValueError, match="feat_dim: 9 must be divisible by head_dim: 4"):
        RelativePositionalMultiHeadAttention(9, 4, 49)
    with pytest.raises(ValueError, match="square of an integer, not 50"):
        RelativePositionalMultiHeadAttention(8, 4, 50)
    with pytest.raises(ValueError, match="'grid' or 'window', not 'dilated'"):
        PartitionAttentionLayer(8, 4, 7, "dilated", (14, 14), 4, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"grid_size \(14, 15\) is not divisible by partition_size 7"):
        PartitionAttentionLayer(8, 4, 7, "grid", (14, 15), 4, nn.GELU, nn.LayerNorm, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"length n_layers=2, got p_stochastic=\[0.0\]"):
        MaxVitBlock(8, 8, 0.25, 4, nn.BatchNorm2d, nn.GELU, 4, 4, 0.0, 0.0, 7, (14, 14), 2, [0.0])
    with pytest.raises(ValueError, match=r"element for each block.*\[8\]"):
        small(block_channels=[8])


def test_compiles_in_one_graph():
    model = small()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = reference.image(1, 2, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    model.train()
    compiled(x).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
