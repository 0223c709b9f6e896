"""Tests of models under the transforms of ``torch.func``: forward-mode derivatives, and ``vmap`` of gradients.

A module of tests says of which models:

    pytestmark = transformed.models(["r3d_18"], MaxVit=lambda: (MaxVit(...), (torch.rand(2, 3, 32, 32),)))
    test_forward_mode = transformed.test_forward_mode
"""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from support import recording, reference

TOLERANCE = 1e-8

Make = Callable[[], tuple[nn.Module, recording.Inputs]]
Prepared = tuple[Callable[..., Tensor], recording.Inputs, Tensor]


def models(builders: Sequence[str] = (), **others: Make) -> pytest.MarkDecorator:
    """For each test: builders by name, and other models with two inputs that they take."""
    cases = {name: partial(_built, name) for name in builders} | others
    return pytest.mark.parametrize("make", cases.values(), ids=cases.keys())


def _built(name: str) -> tuple[nn.Module, recording.Inputs]:
    return recording.small_model(name), recording.small_inputs(name)


def prepared(make: Make) -> Prepared:
    """A model's last output as a function of its inputs in double precision, inputs, and weights of its output."""
    model, inputs = make()
    reference.fill_parameters(model)
    model.double()
    inputs = tuple(x.double() for x in inputs)

    def function(*inputs: Tensor) -> Tensor:
        return recording.outputs(model(*inputs))[-1]

    with torch.no_grad():
        shape = function(*inputs).shape
    return function, inputs, torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def gradients(function: Callable[..., Tensor], inputs: recording.Inputs, weights: Tensor) -> tuple[Tensor, ...]:
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    return torch.autograd.grad((function(*inputs) * weights).sum(), inputs)


def test_forward_mode(make: Make) -> None:
    function, inputs, weights = prepared(make)
    generator = torch.Generator().manual_seed(2)
    direction = tuple(torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in inputs)
    _, tangent = torch.func.jvp(function, inputs, direction)
    # Both give the derivative of the weighted sum in that direction.
    expected = [g * d for g, d in zip(gradients(function, inputs, weights), direction, strict=True)]
    scale = sum(float(product.abs().sum()) for product in expected)
    assert scale > 0
    difference = float((tangent.detach() * weights).sum() - sum(product.sum() for product in expected))
    assert abs(difference) < TOLERANCE * scale


def test_gradients_of_single_inputs(make: Make) -> None:
    function, inputs, weights = prepared(make)

    def total(weights: Tensor, *inputs: Tensor) -> Tensor:
        return (function(*(x[None] for x in inputs)) * weights).sum()

    found = torch.func.vmap(torch.func.grad(total, argnums=tuple(range(1, 1 + len(inputs)))))(weights, *inputs)
    for gradient, expected in zip(found, gradients(function, inputs, weights), strict=True):
        assert float((gradient - expected).detach().abs().max()) < TOLERANCE * float(expected.abs().max())
