"""Layers that oneDNN computes: equal to torch's own, and torch's own where more is wanted than numbers."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo_core import fused
from zoo_core.fused import FusedConv2d, FusedLinear, fuse, fuse_activation
from zoo_core.inference import optimize_for_inference
from zoo_core.layers import MLP

ACTIVATIONS = [
    None, nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.SiLU(), nn.Sigmoid(), nn.GELU(),
    nn.GELU(approximate="tanh"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """How often a fused layer found that oneDNN may compute it."""
    seen = []
    is_eligible = fused._is_eligible

    def ask(*args):
        seen.append(is_eligible(*args))
        return seen[-1]

    monkeypatch.setattr(fused, "_is_eligible", ask)
    monkeypatch.setattr(fused, "_LEAST_WORK", 0)
    return seen


def fused_layer(layer: nn.Module, activation: nn.Module | None) -> nn.Module:
    layer = copy.deepcopy(layer).requires_grad_(False).eval()
    assert fuse(layer) if activation is None else fuse_activation(layer, activation)
    return layer


def expected_of(layer, activation, x):
    with torch.no_grad():
        output = layer(x)
        return output if activation is None else activation(output)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_linear(activation, dtype, tolerance, calls):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 40).to(dtype), torch.randn(3, 20, 24).to(dtype)
    for bias in (True, False):
        if not bias:
            layer.bias = None
        output = fused_layer(layer, activation)(x)
        assert output.dtype == dtype
        torch.testing.assert_close(output, expected_of(layer, activation, x), rtol=tolerance, atol=tolerance)
    if dtype is torch.float32:
        assert calls == [torch.backends.mkldnn.is_available()] * 2


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ((6, 10, 1), (2, 6, 5, 7)),
        ((6, 10, 3, 2, 1), (1, 6, 9, 8)),
        ((8, 8, 5, 1, 2, 1, 8), (2, 8, 7, 7)),
        ((8, 12, 3, 1, 4, 4, 4, False), (1, 8, 9, 9)),
        ((3, 7, (1, 3), (2, 1), (0, 1)), (2, 3, 6, 6)),
        ((6, 10, 1), (2, 6, 1, 1)),
    ],
)
def test_convolution(arguments, shape, activation):
    torch.manual_seed(0)
    layer = nn.Conv2d(*arguments).to(memory_format=torch.channels_last)
    faster = fused_layer(layer, activation)
    for x in (torch.randn(shape), torch.randn(shape).to(memory_format=torch.channels_last), torch.randn(3, *shape[1:])):
        torch.testing.assert_close(faster(x), expected_of(layer, activation, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv3d(3, 4, 1),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        nn.ReLU(),
    ],
)
def test_layers_that_stay(layer):
    kind = type(layer)
    assert not fuse(layer)
    assert not fuse_activation(layer, nn.ReLU())
    assert type(layer) is kind


def test_activations_that_stay():
    layer = nn.Linear(3, 4)
    assert not fuse_activation(layer, nn.Softmax())
    assert fuse_activation(layer, nn.ReLU())
    assert not fuse_activation(layer, nn.ReLU())  # it has one
    assert [name for name, _ in layer.named_modules()] == [""]
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.fixture(params=["linear", "convolution"])
def case(request):
    torch.manual_seed(0)
    if request.param == "linear":
        return nn.Linear(8, 8), torch.randn(40, 8)
    return nn.Conv2d(8, 8, 3, padding=1), torch.randn(1, 8, 6, 6)


def test_changes_of_the_weight_are_seen(case):
    layer, x = case
    faster = fused_layer(layer, nn.ReLU())
    first = faster(x)
    with torch.no_grad():
        faster.weight.mul_(-1)
        layer.weight.mul_(-1)
    torch.testing.assert_close(faster(x), layer(x).relu(), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(faster(x), first)
    faster.load_state_dict({name: torch.zeros_like(value) for name, value in layer.state_dict().items()})
    assert faster(x).count_nonzero() == 0
    faster.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    torch.testing.assert_close(
        faster(x), F.relu(layer(x) - layer.bias.view(-1, *[1] * (x.ndim - 2))), rtol=1e-5, atol=1e-5
    )
    assert faster.to(torch.float64)(x.double()).dtype == torch.float64


def test_copies_and_files(case):
    layer, x = case
    faster = fused_layer(layer, nn.SiLU())
    expected = faster(x)
    assert torch.equal(copy.deepcopy(faster)(x), expected)
    file = io.BytesIO()
    torch.save(faster, file)
    assert file.tell() < 6000  # no second copy of the weight
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), expected)


def test_gradients(case, calls):
    layer, x = case
    faster = fused_layer(layer, nn.SiLU())
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    faster(ours).square().sum().backward()
    F.silu(layer(plain)).square().sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)
    faster.requires_grad_(True)
    faster(x).sum().backward()
    assert faster.weight.grad is not None
    tangent = torch.ones_like(x)
    value, derivative = torch.func.jvp(faster, (x,), (tangent,))
    for found, wanted in zip(
        (value, derivative), torch.func.jvp(lambda x: F.silu(layer(x)), (x,), (tangent,)), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    assert not any(calls)


def test_vmap(case):
    layer, x = case
    faster = fused_layer(layer, nn.SiLU())
    with torch.no_grad():
        found = torch.func.vmap(faster)(torch.stack((x, 2 * x)))
        torch.testing.assert_close(found, torch.stack((F.silu(layer(x)), F.silu(layer(2 * x)))), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_programs(case):
    """No program has an operator in it that only this machine's torch knows."""
    layer, x = case
    model = nn.Sequential(fused_layer(layer, nn.SiLU()), nn.Identity())
    expected = model(x)
    exported = torch.export.export(model, (x,))
    assert "mkldnn" not in str(exported.graph)
    traced = torch.jit.trace(model, x)
    assert "mkldnn" not in str(traced.inlined_graph)
    symbolic = torch.fx.symbolic_trace(model)
    assert [node.target for node in symbolic.graph.nodes if node.op == "call_module"] == ["0", "1"]
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for program in (exported.module(), traced, symbolic, compiled):
        torch.testing.assert_close(program(x), expected, rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


def test_modes(case, calls):
    layer, x = case
    faster = fused_layer(layer, nn.ReLU())
    with torch.autocast("cpu", torch.bfloat16):
        assert faster(x).dtype == torch.bfloat16
    counts = []
    for module in (layer, faster):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(faster(x), layer(x).relu(), rtol=1e-5, atol=1e-5)
    assert not any(calls)
    assert faster(x.new_zeros(0, *x.shape[1:])).shape[0] == 0
    with torch.inference_mode():
        torch.testing.assert_close(faster(x), layer(x).relu(), rtol=1e-5, atol=1e-5)


def test_hooks_of_an_optimized_model():
    model = optimize_for_inference(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)))
    assert [type(layer) for layer in model] == [FusedConv2d, nn.Identity, nn.Identity, FusedConv2d]
    seen = []
    for layer in model:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(type(module)))
    model(torch.randn(1, 3, 8, 8))
    assert seen == [type(layer) for layer in model]


def test_mlps_are_folded_and_watched_ones_are_not():
    torch.manual_seed(0)
    x = torch.randn(40, 8)
    watched = nn.Sequential(MLP(8, [16, 8], activation_layer=nn.GELU), MLP(8, [16, 8], activation_layer=nn.GELU)).eval()
    expected = watched(x)
    seen = []
    watched[0][1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    optimize_for_inference(watched)
    torch.testing.assert_close(watched(x), expected, rtol=1e-5, atol=1e-5)
    assert type(watched[0][1]) is nn.GELU
    assert len(seen) == 1
    assert type(watched[1][0]) is FusedLinear
    assert type(watched[1][1]) is nn.Identity


def test_where_the_operators_are_missing(monkeypatch, case):
    layer, x = case
    faster = fused_layer(layer, nn.ReLU())
    monkeypatch.setattr(fused, "_computable", ())
    assert torch.equal(faster(x), layer(x).relu())


def test_large_models_keep_no_copies(monkeypatch):
    monkeypatch.setattr("zoo_core.inference._MOST_TO_COPY", 100)
    model = optimize_for_inference(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Linear(6, 6)))
    assert model[0].packed is None
    assert model[1].packed is None
    assert model(torch.randn(1, 8, 6, 6)).shape == (1, 8, 6, 6)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(24, 40), (3, 20, 24)), (nn.Conv2d(24, 40, 3, padding=1), (2, 24, 9, 11))], ids=str
)
def test_autocast_of_a_layer_in_bfloat16(layer, shape, calls):
    """Weights that are in the dtype of autocast already are computed with by oneDNN; others as torch does."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    low = fused_layer(layer.bfloat16(), nn.ReLU())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = layer(x).relu()
        found = low(x)
        assert found.dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=3e-2, atol=3e-2)
        if torch.bfloat16 in fused._dtypes():
            assert calls == [True]
        full = fused_layer(layer.float(), nn.ReLU())(x)
        assert full.dtype == torch.bfloat16
        torch.testing.assert_close(full, expected, rtol=3e-2, atol=3e-2)
        assert calls[-1] is False
