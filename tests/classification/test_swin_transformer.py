"""What is particular to Swin and Swin V2. Windows and shifts are tested in tests/core/test_attention.py."""

import copy
import math
from unittest import mock

import pytest
import torch
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

import zoo_core.attention
from support import reference
from zoo_classification import SwinTransformer, swin_t
from zoo_classification.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    ShiftedWindowAttention,
    ShiftedWindowAttentionV2,
    SwinTransformerBlock,
    SwinTransformerBlockV2,
)
from zoo_core.layers import StochasticDepth

VERSIONS = {
    1: {"window_size": [7, 7]},
    2: {"window_size": [4, 4], "block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2},
}


def small(version, **kwargs):
    torch.manual_seed(0)
    settings = {"patch_size": [4, 4], "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "num_classes": 5}
    return reference.fill_parameters(SwinTransformer(**settings | VERSIONS[version] | kwargs))


def one_window(attention, x):
    """The papers' formulas for one window, head by head and token by token."""
    length, dim = x.shape
    heads = attention.num_heads
    qkv_bias = attention.qkv.bias.clone()
    is_v2 = isinstance(attention, ShiftedWindowAttentionV2)
    if is_v2:
        qkv_bias[dim : 2 * dim] = 0  # keys have none
    q, k, v = (x @ attention.qkv.weight.T + qkv_bias).view(length, 3, heads, dim // heads).permute(1, 2, 0, 3)
    height, width = attention.window_size
    bias = torch.zeros(heads, length, length)
    for i in range(length):
        for j in range(length):
            dy, dx = i // width - j // width, i % width - j % width
            if is_v2:
                offset = torch.tensor([dy * 8 / (height - 1), dx * 8 / (width - 1)])
                offset = offset.sign() * (offset.abs() + 1).log2() / 3
                bias[:, i, j] = 16 * torch.sigmoid(attention.cpb_mlp(offset))
            else:
                table = attention.relative_position_bias_table.view(2 * height - 1, 2 * width - 1, heads)
                bias[:, i, j] = table[dy + height - 1, dx + width - 1]
    if is_v2:
        cosine = nn.functional.cosine_similarity(q[:, :, None], k[:, None], dim=-1)
        logits = cosine * attention.logit_scale.exp().clamp(max=100)
    else:
        logits = q @ k.transpose(1, 2) / math.sqrt(dim // heads)
    mixed = ((logits + bias).softmax(-1) @ v).transpose(0, 1).reshape(length, dim)
    return mixed @ attention.proj.weight.T + attention.proj.bias


@pytest.mark.parametrize("cls", [ShiftedWindowAttention, ShiftedWindowAttentionV2])
@pytest.mark.parametrize("training", [False, True])
def test_attention_by_the_papers_formula(cls, training):
    torch.manual_seed(0)
    attention = cls(12, [3, 4], [0, 0], 3).train(training)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
        if cls is ShiftedWindowAttentionV2:
            attention.logit_scale[:] = torch.tensor([1.0, 4.0, 6.0]).view(3, 1, 1)  # the last beyond the limit of 100
        x = torch.randn(1, 3, 4, 12)
        expected = one_window(attention, x.flatten(0, 2)).view(1, 3, 4, 12)
        torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [ShiftedWindowAttention, ShiftedWindowAttentionV2])
def test_position_bias_and_mask_are_computed_once(cls):
    attention = cls(8, [4, 4], [2, 2], 2).eval()
    x = torch.randn(2, 12, 8, 8)
    with (
        mock.patch.object(zoo_core.attention, "_window_layout", wraps=zoo_core.attention._window_layout) as layout,
        mock.patch.object(cls, "_position_bias", autospec=True, side_effect=cls._position_bias) as bias,
        torch.inference_mode(),
    ):
        first = attention(x)
        assert torch.equal(attention(x), first)
        assert (layout.call_count, bias.call_count) == (1, 1)
        attention(x[:, :8])  # another size
        assert (layout.call_count, bias.call_count) == (2, 1)


@pytest.mark.parametrize("version", [1, 2])
def test_kept_bias_follows_the_parameters(version):
    """Each way of changing parameters gives what a new model with them would give."""
    model, other = small(version), small(version)
    x = reference.image(1, 2, 3, 60, 44)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        expected, before = other(x), model(x)
        assert not torch.allclose(expected, before)
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(x), expected)
        assert torch.equal(copy.deepcopy(model)(x), expected)
        for parameter, value in zip(model.parameters(), small(version).parameters(), strict=True):
            parameter.data.copy_(value)
        assert torch.equal(model(x), before)
        torch.testing.assert_close(model.double()(x.double()), before.double(), rtol=1e-4, atol=1e-4)
        assert torch.equal(model.float()(x), before)


@pytest.mark.parametrize("version", [1, 2])
def test_gradients_do_not_go_stale(version):
    """Evaluating between training steps does not disturb training."""
    x = reference.image(1, 2, 3, 60, 44)
    gradients = []
    for evaluates in (False, True):
        model = small(version, stochastic_depth_prob=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            if evaluates:
                with torch.no_grad():
                    model.eval()(x)
            model.train()
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, other in zip(*gradients, strict=True):
        assert torch.equal(plain, other)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(version, dtype):
    """Also where padding makes keys of length zero."""
    model = small(version)
    x = reference.image(1, 2, 3, 60, 44)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", dtype):
            automatic = model(x)
        half = model.to(dtype)(x.to(dtype))
    for output in (automatic, half):
        torch.testing.assert_close(output.float(), expected, rtol=0.1, atol=0.1 * expected.abs().max().item())


@pytest.mark.parametrize("cls", [PatchMerging, PatchMergingV2])
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (2, 5, 7, 3), (1, 1, 1, 3), (4, 3, 3)])
def test_patch_merging(cls, shape):
    torch.manual_seed(0)
    merging = cls(3)
    nn.init.uniform_(merging.norm.weight)
    x = torch.randn(shape)
    *batch, height, width, _ = shape
    padded = torch.zeros(*batch, height + height % 2, width + width % 2, 3)
    padded[..., :height, :width, :] = x
    joined = torch.cat([padded[..., i::2, j::2, :] for j in (0, 1) for i in (0, 1)], -1)
    expected = (
        merging.reduction(merging.norm(joined)) if cls is PatchMerging else merging.norm(merging.reduction(joined))
    )
    torch.testing.assert_close(merging(x), expected)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (33, 90)])
def test_any_size_from_one_patch_on(version, size):
    model = small(version)
    with torch.no_grad():
        assert bool(model(reference.image(1, 2, 3, *size)).isfinite().all())
    with pytest.raises(ValueError, match=r"at least 4x4 pixels.*not 3x9"):
        model(torch.rand(1, 3, 3, 9))


def test_blocks_normalise_before_or_after():
    x = torch.randn(1, 4, 4, 8)
    for cls, is_after in ((SwinTransformerBlock, False), (SwinTransformerBlockV2, True)):
        block = cls(8, 2, [4, 4], [0, 0]).eval()
        for norm in (block.norm1, block.norm2):
            nn.init.zeros_(norm.weight)
        # After the branches, this silences them; before, constants go on.
        assert torch.equal(block(x), x) is is_after


def test_stochastic_depth_grows_from_block_to_block():
    model = small(1, depths=[2, 3], stochastic_depth_prob=0.4)
    probabilities = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    assert probabilities == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert [m.p for m in small(1, depths=[1], num_heads=[2]).modules() if isinstance(m, StochasticDepth)] == [0.0]
    with torch.device("meta"):
        assert [m.p for m in swin_t().modules() if isinstance(m, StochasticDepth)][-1] == 0.2
        assert [m.p for m in swin_t(stochastic_depth_prob=0.5).modules() if isinstance(m, StochasticDepth)][-1] == 0.5


def test_every_second_block_is_shifted():
    model = small(1, depths=[3, 2], window_size=[7, 4])
    shifts = [m.shift_size for m in model.modules() if isinstance(m, ShiftedWindowAttention)]
    assert shifts == [[0, 0], [3, 2], [0, 0], [0, 0], [3, 2]]


def test_own_settings():
    model = small(1, mlp_ratio=2.0, dropout=0.3, attention_dropout=0.2, norm_layer=nn.RMSNorm)
    block = model.features[1][0]
    assert block.mlp[0].out_features == 16
    assert (block.attn.dropout, block.attn.attention_dropout, block.mlp[2].p) == (0.3, 0.2, 0.3)
    assert isinstance(model.norm, nn.RMSNorm)
    attention = ShiftedWindowAttentionV2(8, [4, 4], [2, 2], 2, qkv_bias=False, proj_bias=False).eval()
    assert not {"qkv.bias", "proj.bias"} & set(attention.state_dict())
    with torch.no_grad():
        y = attention(torch.zeros(1, 5, 5, 8, dtype=torch.float32))
    assert torch.equal(y, torch.zeros(1, 5, 5, 8))


def test_impossible_settings():
    with pytest.raises(ValueError, match=r"length 2.*\[7\]"):
        ShiftedWindowAttention(8, [7], [0], 2)
    with pytest.raises(ValueError, match="dim=9 must be a multiple of num_heads=2"):
        ShiftedWindowAttention(9, [7, 7], [0, 0], 2)
    with pytest.raises(ValueError, match=r"element for each stage.*\[2\] and \[2, 4\]"):
        small(1, depths=[2])


@pytest.mark.parametrize(("version", "strict"), [(1, False), (2, True)])
def test_export_with_dynamic_sizes(version, strict):
    """Also where one side is a single window and is not shifted, and where padding comes or goes."""
    model = small(version)
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.export.export(
            model, (reference.image(1, 2, 3, 56, 40),), dynamic_shapes=(dynamic,), strict=strict
        )
        exported = program.module()
        for shape in [(1, 3, 64, 128), (3, 3, 24, 100), (2, 3, 57, 31)]:
            x = reference.image(2, *shape)
            torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", [1, 2])
def test_compiles_in_one_graph(version):
    model = small(version, depths=[2], num_heads=[2])
    x = reference.image(1, 2, 3, 56, 40)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    model.train()
    compiled(x).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("version", VERSIONS)
def test_quantizes_as_a_graph(version):
    """torch's quantization of traced models puts int8 layers where linear ones and convolutions were."""
    model, x = small(version), reference.image(1, 2, 3, 32, 40)
    prepared = quantize_fx.prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping("x86"), (x,))
    with torch.inference_mode():
        prepared(x)
        quantized, expected = quantize_fx.convert_fx(prepared)(x), model(x)
    assert not torch.equal(quantized, expected)
    assert (quantized - expected).abs().max() < 0.2 * expected.abs().max()
