"""Attention in windows against loops over tokens."""

import itertools
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn import functional as F

from support import reference
from zoo_core.attention import (
    attend_in_windows,
    dot_product_attention,
    pad_to,
    relative_position_bias,
    relative_position_index,
)
from zoo_core.value_cache import ValueCache


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (2, 5), (2, 3, 4)])
def test_relative_position_index(window):
    index = relative_position_index(window)
    tokens = list(itertools.product(*(range(size) for size in window)))
    # In order of their offsets, which the numbers follow.
    offsets = list(itertools.product(*(range(1 - size, size) for size in window)))
    assert index.shape == (len(tokens), len(tokens))
    assert index.dtype == torch.int64
    for (i, query), (j, key) in itertools.product(enumerate(tokens), enumerate(tokens)):
        offset = tuple(q - k for q, k in zip(query, key, strict=True))
        assert offsets[index[i, j]] == offset


def test_relative_position_index_on_another_default_device():
    with torch.device("meta"):
        assert relative_position_index((2, 2)).is_meta


def test_relative_position_bias():
    index = relative_position_index((2, 3))
    table = torch.randn(3 * 5, 4)
    bias = relative_position_bias(table, index)
    assert bias.shape == (1, 4, 6, 6)
    assert torch.equal(bias, relative_position_bias(table, index.flatten()))
    for head, query, key in itertools.product(range(4), range(6), range(6)):
        assert bias[0, head, query, key] == table[index[query, key], head]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_bias_that_is_learned_by_autocast(dtype):
    """Outputs and gradients are those of float64, as far as the products' precision goes."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 5, 8, generator=generator) for _ in range(3))
    bias = torch.randn(1, 2, 5, 5, generator=generator)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v, bias)]
    with torch.autocast("cpu", dtype):
        found = dot_product_attention(q.to(dtype), k.to(dtype), v.to(dtype), bias)
    found.float().square().sum().backward()
    doubles = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = F.scaled_dot_product_attention(*doubles)
    expected.square().sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=0.03, atol=0.03)
    for tensor, double in zip(inputs, doubles, strict=True):
        torch.testing.assert_close(tensor.grad.double(), double.grad, rtol=0.05, atol=0.05)


def test_pad_to():
    x = torch.rand(2, 3, 4, 5)
    assert pad_to(x, (3, 4)) is x
    padded = pad_to(x, (4, 6))
    assert padded.shape == (2, 4, 6, 5)
    assert torch.equal(padded[:, :3, :4], x)
    assert padded.sum().item() == pytest.approx(x.sum().item(), rel=1e-5)


def mean_over_visible(windows, mask):
    """Each token becomes the mean of those that it may see."""
    batch, length, _ = windows.shape
    logits = torch.zeros(batch, 1, length, length, dtype=windows.dtype) if mask is None else mask
    return logits[:, 0].softmax(-1) @ windows


def mean_by_loops(x, window, shift):
    """The same by loops over the tokens of one map."""
    sizes = x.shape[:-1]
    padded = [math.ceil(size / side) * side for size, side in zip(sizes, window, strict=True)]
    steps = [0 if size <= side else step for size, side, step in zip(padded, window, shift, strict=True)]

    def place(token):
        """The window of a token, and whether a shift carried the token across the border, for each dimension."""
        shifted = [t - s for t, s in zip(token, steps, strict=True)]
        return tuple((p % n // w, p < 0) for p, n, w in zip(shifted, padded, window, strict=True))

    result = torch.zeros_like(x)
    everywhere = list(itertools.product(*(range(size) for size in padded)))
    for token in itertools.product(*(range(size) for size in sizes)):
        visible = [other for other in everywhere if place(other) == place(token)]
        inside = [other for other in visible if all(o < n for o, n in zip(other, sizes, strict=True))]
        result[token] = sum(x[other] for other in inside) / len(visible)
    return result


@pytest.mark.parametrize(
    ("sizes", "window", "shift"),
    [
        ((6, 8), (3, 4), (0, 0)),
        ((6, 8), (3, 4), (1, 2)),
        ((6, 8), (3, 4), (0, 2)),
        ((7, 5), (3, 4), (1, 2)),  # padded in both
        ((3, 9), (3, 4), (1, 2)),  # one window high: no shift there
        ((2, 3), (3, 4), (2, 3)),  # less than a window
        ((1, 1), (3, 4), (1, 2)),
        ((9, 7), (5, 2), (4, 1)),
        ((4, 5, 3), (2, 3, 3), (1, 1, 1)),
        ((3, 4, 5), (2, 2, 2), (1, 0, 1)),
    ],
)
def test_attend_in_windows(sizes, window, shift):
    x = torch.randn(3, *sizes, 2, dtype=torch.float64)
    layouts = ValueCache()
    for batch in (3, 1):
        y = attend_in_windows(x[:batch], window, shift, mean_over_visible, layouts)
        expected = torch.stack([mean_by_loops(one, window, shift) for one in x[:batch]])
        torch.testing.assert_close(y, expected)


def test_attend_in_windows_of_several_sizes_and_types():
    """What is kept for one map is not used for another."""
    layouts = ValueCache()
    for sizes, dtype in [((6, 8), torch.float64), ((8, 6), torch.float64), ((6, 8), torch.float32), ((6, 7), None)]:
        x = torch.randn(2, *sizes, 3, dtype=dtype)
        y = attend_in_windows(x, (3, 4), (1, 2), mean_over_visible, layouts)
        torch.testing.assert_close(y, torch.stack([mean_by_loops(one, (3, 4), (1, 2)) for one in x]))


def test_attend_in_windows_changes_the_channels_and_takes_no_images():
    y = attend_in_windows(torch.rand(0, 5, 5, 2), (3, 3), (1, 1), lambda w, mask: w.repeat(1, 1, 2), ValueCache())
    assert y.shape == (0, 5, 5, 4)


def test_gradient_of_attend_in_windows():
    x = torch.randn(2, 4, 5, 1, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: attend_in_windows(x, (3, 2), (1, 1), mean_over_visible, ValueCache()), x)


def test_fake_tensors_stay_out_of_what_is_kept():
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        x = mode.from_tensor(torch.rand(1, 6, 6, 2))
        layouts = ValueCache()
        attend_in_windows(x, (3, 3), (1, 1), mean_over_visible, layouts)
    x = reference.image(1, 1, 6, 6, 2)
    y = attend_in_windows(x, (3, 3), (1, 1), mean_over_visible, layouts)
    torch.testing.assert_close(y[0], mean_by_loops(x[0], (3, 3), (1, 1)))
    with FakeTensorMode() as mode:
        attend_in_windows(mode.from_tensor(x), (3, 3), (1, 1), mean_over_visible, layouts)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("biased", [False, True])
def test_transforms_of_torch_func(biased, scale):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 5, 4, dtype=torch.double, generator=generator)
    bias = torch.randn(1, 2, 5, 5, dtype=torch.double, generator=generator) if biased else None

    def attend(q):
        return dot_product_attention(q, k, v, bias, scale=scale)

    expected = torch.autograd.functional.jacobian(attend, q)
    assert torch.allclose(torch.func.jacfwd(attend)(q), expected)
    assert torch.allclose(torch.func.jacrev(attend)(q), expected)


@pytest.mark.parametrize("shape", [(1, 2, 5, 5), (3, 1, 5, 5)])
def test_a_learned_bias_gets_its_gradient(shape):
    """In training, plain operators take the place of the kernel, which has none for it; values and gradients agree."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 5, 4, generator=generator, requires_grad=True) for _ in range(3))
    bias = torch.randn(shape, generator=generator, requires_grad=True)
    found = dot_product_attention(q, k, v, bias, scale=0.3)
    expected = F.scaled_dot_product_attention(q, k, v, bias, scale=0.3)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator)
    gradients = [torch.autograd.grad((result * weights).sum(), (q, k, v, bias)) for result in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_values_with_tangents_are_not_kept():
    cache, parameter = ValueCache(), torch.ones(3)
    for tangent in (1.0, 2.0):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(parameter, torch.full((3,), tangent))
            found = forward_ad.unpack_dual(cache.get(lambda x=dual: x * 2, [dual])).tangent
            assert torch.equal(found, torch.full((3,), 2 * tangent))
    assert len(cache) == 0
