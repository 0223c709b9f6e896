"""The attention of Swin and MViT against their definition, written down token by token."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo_video.mvit import MultiscaleAttention
from zoo_video.swin_transformer import ShiftedWindowAttention3d


def assert_equal_with_gradients(module: nn.Module, ours, expected, x):
    """Compares two results of one input, and the gradients of input and parameters."""
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(expected)
    parameters = dict(module.named_parameters())
    for name, a, b in zip(
        ["input", *parameters],
        torch.autograd.grad((ours * weight).sum(), [x, *parameters.values()]),
        torch.autograd.grad((expected * weight).sum(), [x, *parameters.values()]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, msg=lambda message, name=name: f"{name}: {message}")


def swin_attention(attention: ShiftedWindowAttention3d, x: torch.Tensor) -> torch.Tensor:
    """Every query by itself: the keys of its window that were adjacent before the shift."""
    sizes = x.shape[1:4]
    window = [min(w, s) for w, s in zip(attention.window_size, sizes, strict=True)]
    shift = [0 if w == s else step for w, s, step in zip(window, sizes, attention.shift_size, strict=True)]
    padded = [math.ceil(s / w) * w for s, w in zip(sizes, window, strict=True)]
    x = F.pad(x, [0, 0, *itertools.chain(*((0, p - s) for p, s in reversed(list(zip(padded, sizes, strict=True)))))])
    q, k, v = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).unbind(4)
    positions = list(itertools.product(*map(range, padded)))
    place, wrapped, inside = {}, {}, {}
    for position in positions:
        shifted = [(p - s) % size for p, s, size in zip(position, shift, padded, strict=True)]
        place[position] = tuple(p // w for p, w in zip(shifted, window, strict=True))
        wrapped[position] = tuple(p < s for p, s in zip(position, shift, strict=True))
        within = [p % w for p, w in zip(shifted, window, strict=True)]
        inside[position] = (within[0] * window[1] + within[1]) * window[2] + within[2]
    out = torch.empty_like(x)
    table, index = attention.relative_position_bias_table, attention.relative_position_index
    rows = []
    for position in positions:
        keys = [other for other in positions if place[other] == place[position]]
        apart = torch.tensor([-100.0 if wrapped[other] != wrapped[position] else 0.0 for other in keys])
        bias = torch.stack([table[index[inside[position], inside[other]]] for other in keys])
        key = torch.stack([k[(slice(None), *other)] for other in keys], 1)
        value = torch.stack([v[(slice(None), *other)] for other in keys], 1)
        logits = torch.einsum("nhd,nkhd->nkh", q[(slice(None), *position)], key) / math.sqrt(q.shape[-1])
        weights = (logits + bias + apart[:, None]).softmax(1)
        rows.append(torch.einsum("nkh,nkhd->nhd", weights, value).flatten(1))
    out = attention.proj(torch.stack(rows, 1)).view(x.shape)
    return out[:, : sizes[0], : sizes[1], : sizes[2]]


@pytest.mark.parametrize(
    ("sizes", "shift"),
    [
        ((4, 6, 8), (1, 1, 2)),  # whole windows, shifted in all dimensions
        ((5, 4, 7), (1, 1, 2)),  # padded in all dimensions
        ((2, 6, 7), (1, 1, 2)),  # as large as the window in time: not shifted there
        ((1, 2, 9), (1, 1, 2)),  # smaller than the window in time and height
        ((4, 6, 4), (0, 0, 0)),
        ((1, 1, 1), (1, 1, 2)),
    ],
)
def test_attention_in_shifted_windows(sizes, shift):
    torch.manual_seed(0)
    attention = ShiftedWindowAttention3d(8, (2, 3, 4), shift, num_heads=2).double()
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, *sizes, 8, dtype=torch.float64, requires_grad=True)
    assert_equal_with_gradients(attention, attention(x), swin_attention(attention, x), x)
    with torch.no_grad():
        torch.testing.assert_close(attention.eval()(x), attention(x), rtol=0, atol=0)


def test_what_is_kept_between_calls_follows_size_parameters_and_device():
    torch.manual_seed(0)
    attention = ShiftedWindowAttention3d(8, (2, 3, 4), (1, 1, 2), num_heads=2).double().eval()
    first, second = (torch.randn(1, *size, 8, dtype=torch.float64) for size in ((4, 6, 8), (6, 3, 8)))
    with torch.inference_mode():
        for x in (first, second, first):
            torch.testing.assert_close(attention(x), swin_attention(attention, x))
    with torch.no_grad():
        attention.relative_position_bias_table.add_(torch.randn_like(attention.relative_position_bias_table))
        torch.testing.assert_close(attention(first), swin_attention(attention, first))
    loss = attention(first).sum()
    loss.backward()
    assert attention.relative_position_bias_table.grad.any()
    meta = attention.to("meta")(first.to("meta"))
    assert meta.is_meta
    assert meta.shape == first.shape


def test_relative_positions_of_a_window():
    """Equation 2 of the Swin paper in three dimensions, by hand for a window of 1x2x2."""
    attention = ShiftedWindowAttention3d(4, (1, 2, 2), (0, 0, 0), num_heads=1)
    # Numbers of the offsets (rows, columns) from -1 to 1 are 3 * (rows + 1) + columns + 1.
    expected = torch.tensor([[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]])
    assert torch.equal(attention.relative_position_index, expected)
    bias = attention.get_relative_position_bias()
    assert torch.equal(bias[0, 0], attention.relative_position_bias_table[expected].squeeze(-1))


def multiscale_attention(attention: MultiscaleAttention, x: torch.Tensor, size) -> torch.Tensor:
    """One head and one pair of query and key after the other."""
    out, class_out = [], []
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    d = attention.head_dim

    def pooled(pool, tokens):
        if pool is None:
            return tokens, size
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, size)
        maps = F.conv3d(maps, pool.pool.weight, None, pool.pool.stride, pool.pool.padding, 1, d)
        return pool.norm_act(torch.cat((tokens[:, :1], maps.flatten(2).transpose(1, 2)), 1)), tuple(maps.shape[2:])

    for head in range(attention.num_heads):
        part = slice(head * d, (head + 1) * d)
        query, q_size = pooled(attention.pool_q, q[..., part])
        key, k_size = pooled(attention.pool_k, k[..., part])
        value, _ = pooled(attention.pool_v, v[..., part])
        logits = query @ key.transpose(1, 2) / math.sqrt(d)
        if attention.rel_pos_h is not None:
            tables = (attention.rel_pos_t, attention.rel_pos_h, attention.rel_pos_w)
            bias = torch.zeros_like(logits)
            for i, at in enumerate(itertools.product(*map(range, q_size))):
                for j, to in enumerate(itertools.product(*map(range, k_size))):
                    embedding = 0
                    for dim, table in enumerate(tables):
                        # The coarser map is spread over the finer one.
                        q_step, k_step = max(k_size[dim] / q_size[dim], 1), max(q_size[dim] / k_size[dim], 1)
                        embedding = embedding + table[int((at[dim] * q_step) - (to[dim] - k_size[dim] + 1) * k_step)]
                    bias[:, 1 + i, 1 + j] = query[:, 1 + i] @ embedding
            logits = logits + bias
        attended = logits.softmax(-1) @ value
        if attention.residual_pool:
            first = query[:, :1] if attention.residual_with_cls_embed else torch.zeros_like(query[:, :1])
            attended = attended + torch.cat((first, query[:, 1:]), 1)
        class_out.append(attended[:, :1])
        out.append(attended[:, 1:])
    return attention.project(torch.cat((torch.cat(class_out, -1), torch.cat(out, -1)), 1))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(
    ("stride_q", "stride_kv"),
    [([1, 1, 1], [1, 2, 2]), ([1, 2, 2], [1, 1, 1]), ([2, 2, 2], [1, 4, 4]), ([], [1, 2, 2]), ([], [])],
)
@pytest.mark.parametrize(
    ("rel_pos_embed", "residual_pool", "residual_with_cls_embed"),
    [(True, True, False), (True, True, True), (False, False, False)],
)
def test_pooling_attention(heads, stride_q, stride_kv, rel_pos_embed, residual_pool, residual_with_cls_embed):
    torch.manual_seed(0)
    size = (2, 4, 8)
    attention = MultiscaleAttention(
        size,
        6,
        8,
        heads,
        kernel_q=[3, 3, 3] if stride_q else [],
        kernel_kv=[3, 3, 3] if stride_kv else [],
        stride_q=stride_q,
        stride_kv=stride_kv,
        residual_pool=residual_pool,
        residual_with_cls_embed=residual_with_cls_embed,
        rel_pos_embed=rel_pos_embed,
    ).double()
    for name, parameter in attention.named_parameters():
        if "rel_pos" in name or "norm" in name:
            nn.init.normal_(parameter)
    x = torch.randn(2, 1 + math.prod(size), 6, dtype=torch.float64, requires_grad=True)
    ours, new_size = attention(x, size)
    assert ours.shape == (2, 1 + math.prod(new_size), 8)
    assert_equal_with_gradients(attention, ours, multiscale_attention(attention, x, size), x)


def test_compiles_without_breaks():
    """Attention is one graph, in eval mode and in training."""
    window = ShiftedWindowAttention3d(8, (2, 3, 4), (1, 1, 2), num_heads=2)
    pooling = MultiscaleAttention((2, 4, 8), 6, 8, 2, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1], True, False, True)
    for module, arguments in (
        (window, (torch.randn(2, 4, 7, 8, 8),)),
        (pooling, (torch.randn(2, 65, 6), (2, 4, 8))),
    ):
        for training in (False, True):
            module.train(training)
            compiled = torch.compile(module, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(*arguments), module(*arguments))
