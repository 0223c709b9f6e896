"""3x3 convolutions with fewer multiplications: equal to torch's, in double precision, but for rounding."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo_core import fused, winograd
from zoo_core.fused import fuse, fuse_activation

pytestmark = pytest.mark.skipif(torch.float32 not in fused._dtypes(), reason="torch has no oneDNN here")


def convolved(x, weight, bias, padding, activation=None):
    kernels = winograd.transformed(weight)
    return winograd.convolve(x, kernels, bias, len(weight), padding, activation)


def expected_of(x, weight, bias, padding):
    return F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=padding)


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1), (0, 3)], ids=str)
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 4, 4), (1, 5, 6, 7), (2, 16, 9, 33), (3, 8, 40, 37), (5, 24, 5, 4), (1, 1, 3, 300), (70, 4, 6, 6)],
    ids=str,
)
def test_any_shape(shape, padding):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(11, shape[1], 3, 3), torch.randn(11)
    for form in (x, x.contiguous(memory_format=torch.channels_last)):
        found = convolved(form, weight, bias, padding)
        expected = expected_of(x, weight, bias, padding)
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_channels_lie_last_and_nothing_is_kept():
    """What is given is not changed, and a second call gives the same."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 32, 17, 21), torch.randn(48, 32, 3, 3), torch.randn(48)
    given = copy.deepcopy((x, weight, bias))
    kernels = winograd.transformed(weight)
    first = winograd.convolve(x, kernels, bias, 48, (1, 1))
    assert first.is_contiguous(memory_format=torch.channels_last)
    kept = first.clone()
    assert torch.equal(winograd.convolve(x, kernels, bias, 48, (1, 1)), kept)
    assert torch.equal(first, kept)
    assert all(map(torch.equal, (x, weight, bias), given))


def test_a_kernel_that_copies():
    """A one in the middle gives the input back; one in a corner moves it by a pixel."""
    x = torch.arange(2.0 * 3 * 10 * 13).reshape(2, 3, 10, 13)
    weight = torch.zeros(3, 3, 3, 3)
    weight[[0, 1, 2], [0, 1, 2], 1, 1] = 1
    torch.testing.assert_close(convolved(x, weight, None, (1, 1)), x, rtol=0, atol=2e-3)
    weight = weight.roll((-1, -1), (2, 3))  # to the upper left
    moved = F.pad(x, (1, 0, 1, 0))[..., :10, :13]
    torch.testing.assert_close(convolved(x, weight, None, (1, 1)), moved, rtol=0, atol=2e-3)


def test_activation_and_bias():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 8, 12, 12), torch.randn(8, 8, 3, 3)
    expected = expected_of(x, weight, None, (1, 1))
    for activation in (nn.ReLU(), nn.ReLU(inplace=True), nn.Hardswish()):
        found = convolved(x, weight, None, (1, 1), activation)
        torch.testing.assert_close(found.double(), activation(expected.clone()), rtol=0, atol=1e-3)
    shift = torch.arange(8.0)
    found = convolved(x, weight, shift, (1, 1), torch.neg)
    torch.testing.assert_close(found.double(), -(expected + shift[:, None, None]), rtol=0, atol=1e-3)


def test_what_is_not_finite_stays_where_it_is():
    """NaN and infinity reach the tile that holds them, and no other image."""
    x = torch.zeros(3, 8, 40, 40)
    x[1, :, 20, 20] = torch.inf
    x[2, :, 3, 39] = torch.nan
    found = convolved(x, torch.randn(8, 8, 3, 3), None, (1, 1))
    assert found[0].isfinite().all()
    assert not found[1, :, 19:22, 19:22].isfinite().any()
    assert not found[2, :, 2:5, 38:].isfinite().any()
    assert found[1:, :, 30:, :30].isfinite().all()


def test_where_it_pays(monkeypatch):
    monkeypatch.setattr(winograd, "_IS_X86", True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert winograd.pays((1, 256, 100, 136), 256, (1, 1))
    assert winograd.pays((8, 256, 14, 14), 256, (1, 1))
    assert not winograd.pays((1, 64, 56, 56), 64, (1, 1)), "few channels"
    assert not winograd.pays((1, 512, 7, 7), 512, (1, 1)), "few tiles"
    assert not winograd.pays((1, 256, 100, 136), 4, (1, 1)), "few outputs"
    assert not winograd.pays((1000, 256, 3, 3), 256, (0, 0)), "most of a tile is beyond the output"
    assert winograd.pays((1, 128, 100, 136), 128, (1, 1))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not winograd.pays((1, 128, 100, 136), 128, (1, 1)), "sums are hardly shared by threads"
    assert winograd.pays((1, 256, 100, 136), 256, (1, 1))
    monkeypatch.setattr(winograd, "_IS_X86", False)
    assert not winograd.pays((1, 256, 100, 136), 256, (1, 1))


@pytest.fixture
def taken(monkeypatch):
    """The shapes of what was convolved so."""
    seen = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "_IS_X86", True)
    monkeypatch.setattr(winograd, "_SHARE", 0.0)  # whatever the threads here
    monkeypatch.setattr(winograd, "convolve", lambda x, *rest: (seen.append(tuple(x.shape)), convolve(x, *rest))[1])
    return seen


def layer_of(**options):
    return nn.Conv2d(128, 128, 3, **{"padding": 1, **options}).eval().requires_grad_(False)


def test_a_fused_layer_takes_it(taken):
    torch.manual_seed(0)
    plain, x = layer_of(), torch.randn(2, 128, 60, 59)
    layer = copy.deepcopy(plain)
    assert fuse_activation(layer, nn.ReLU())
    expected = expected_of(x, plain.weight, plain.bias, 1).relu()
    found = layer(x)
    assert taken == [(2, 128, 60, 59)]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5 * float(expected.max()))
    # Another weight is transformed anew.
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.zero_()
    twice = (2 * expected_of(x, plain.weight, None, 1)).relu()
    torch.testing.assert_close(layer(x).double(), twice, rtol=0, atol=2e-5 * float(twice.max()))
    # Small ones are convolved as before, by the same layer.
    small = torch.randn(1, 128, 7, 7)
    torch.testing.assert_close(
        layer(small), F.conv2d(small, layer.weight, layer.bias, padding=1).relu(), rtol=1e-4, atol=1e-4
    )
    assert len(taken) == 2


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": "same"}, {"padding_mode": "reflect"}],
    ids=str,
)
def test_other_convolutions_are_left_alone(taken, options):
    torch.manual_seed(0)
    plain, x = layer_of(**options), torch.randn(1, 128, 60, 60)
    layer = copy.deepcopy(plain)
    fuse(layer)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-4)
    assert not taken


def test_other_numbers_and_gradients_are_left_alone(taken):
    torch.manual_seed(0)
    plain, x = layer_of(), torch.randn(1, 128, 60, 60)
    layer = copy.deepcopy(plain)
    assert fuse(layer)
    given = x.clone().requires_grad_()
    layer(given).sum().backward()
    assert given.grad is not None
    assert copy.deepcopy(layer).double()(x.double()).dtype == torch.float64
    assert copy.deepcopy(layer).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    with torch.inference_mode():
        unseen = copy.deepcopy(plain)  # changes of its weight are not counted
    assert fuse(unseen)
    assert unseen(x).shape == x.shape
    assert not taken


def test_threads_share_a_layer(taken):
    torch.manual_seed(0)
    layer, x = layer_of(), torch.randn(1, 128, 60, 60)
    assert fuse(layer)
    found = [None] * 4

    def run(number):
        found[number] = layer(x)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 4
    assert all(torch.equal(one, found[0]) for one in found)
