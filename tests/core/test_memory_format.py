"""Channels last on the CPU."""

import pytest
import torch
from torch import nn

from zoo_core.memory_format import channels_last


@pytest.mark.parametrize(
    ("shape", "memory_format", "strides"),
    [
        ((2, 3, 4, 5), torch.channels_last, (60, 1, 15, 3)),
        ((2, 3, 4, 5, 6), torch.channels_last_3d, (360, 1, 90, 18, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_order(shape, memory_format, strides, dtype):
    x = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    result = channels_last(x)
    assert result.stride() == strides
    assert torch.equal(result, x)
    assert result.dtype == dtype
    assert channels_last(result) is result  # no copy of what is in this order


def test_empty_batch():
    assert channels_last(torch.zeros(0, 3, 4, 5)).shape == (0, 3, 4, 5)


def test_gradient():
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    weight = torch.randn(2, 3, 4, 5)
    (channels_last(x) * weight).sum().backward()
    assert torch.equal(x.grad, weight)


def test_elsewhere_than_on_the_cpu_nothing_changes():
    x = torch.zeros(2, 3, 4, 5, device="meta")
    assert channels_last(x) is x


def test_a_single_image_stays_as_it_is():
    x = torch.zeros(3, 4, 5)
    assert channels_last(x) is x


def test_symbolic_tracing():
    class Model(nn.Module):
        def forward(self, x):
            return channels_last(x) * 2

    x = torch.randn(1, 3, 4, 5)
    assert torch.equal(torch.fx.symbolic_trace(Model())(x), x * 2)


def test_vmap_of_gradients():
    x = torch.rand(2, 3, 4, 5)
    found = torch.func.vmap(torch.func.grad(lambda x: channels_last(x[None]).square().sum()))(x)
    assert torch.equal(found, 2 * x)
