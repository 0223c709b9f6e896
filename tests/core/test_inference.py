"""Models made fast for serving: what is folded, what must stay as it is, and that outputs do not change."""

import copy
import io
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo_core.inference import FixedNormalization, optimize_for_inference
from zoo_core.layers import Conv2dNormActivation


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode, with statistics and affine parameters as after training."""
    torch.manual_seed(seed)
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def assert_same_after(model: nn.Module, x: torch.Tensor, *, remaining: list[str]) -> nn.Module:
    expected = model(x)
    assert optimize_for_inference(model) is model
    assert norms(model) == remaining
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    return model


def test_other_threads_go_on_while_a_model_is_traced():
    """Images are preprocessed, by modules, while an engine is tried."""
    done, errors, begun = threading.Event(), [], threading.Event()
    other = nn.Sequential(nn.Identity(), nn.ReLU())

    def work():
        while not done.is_set():
            try:
                other(torch.zeros(1))
            except Exception as error:
                errors.append(error)
            begun.set()

    class Slow(nn.Module):
        def forward(self, x):
            begun.clear()
            assert begun.wait(10), "the other thread stands still"
            return x + 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        model = optimize_for_inference(settled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Slow())))
    finally:
        done.set()
        thread.join()
    assert errors == []
    assert norms(model) == []


def test_by_hand():
    convolution, norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.0)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1))
        convolution.bias.copy_(torch.tensor([1.0, 0.0]))
        norm.running_mean.copy_(torch.tensor([2.0, 1.0]))
        norm.running_var.copy_(torch.tensor([4.0, 0.25]))
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    model = optimize_for_inference(nn.Sequential(convolution, norm))
    # (3x + 1 - 2) / 2 + 0.5 = 1.5x, and (-x - 1) / 0.5 * 2 = -4x - 4
    assert model[0].weight.flatten().tolist() == [1.5, -4.0]
    assert model[0].bias.tolist() == [0.0, -4.0]
    assert isinstance(model[1], nn.Identity)


@pytest.mark.parametrize(
    ("convolution", "norm", "shape"),
    [
        (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), (2, 3, 7, 9)),
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8, affine=False), (2, 3, 7, 9)),
        (nn.Conv2d(4, 8, 3, groups=4, dilation=2, stride=2), nn.BatchNorm2d(8, momentum=None), (1, 4, 9, 9)),
        (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), (0, 3, 7, 9)),
        (nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), (2, 3, 7)),
        (nn.Conv3d(3, 8, (1, 3, 3), bias=False), nn.BatchNorm3d(8), (2, 3, 4, 5, 6)),
    ],
)
def test_convolutions_of_all_kinds(convolution, norm, shape):
    assert_same_after(settled(nn.Sequential(convolution, norm, nn.ReLU())), torch.randn(shape), remaining=[])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_stays(dtype):
    model = settled(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)).to(dtype))
    x = torch.randn(1, 3, 8, 8, dtype=dtype)
    expected = model(x)
    optimize_for_inference(model)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    tolerance = 1e-12 if dtype is torch.float64 else 0.05
    torch.testing.assert_close(model(x), expected, rtol=tolerance, atol=tolerance)


def test_what_the_model_is_afterwards():
    model = settled(nn.Sequential(Conv2dNormActivation(3, 8), nn.Flatten(), nn.LazyLinear(2)))
    model(torch.randn(1, 3, 4, 4))
    optimize_for_inference(model.train())
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    with torch.no_grad():
        assert torch.equal(optimize_for_inference(model)(x), expected)  # nothing is left to do
    assert torch.equal(copy.deepcopy(model)(x), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), expected)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


def test_features_come_in_channels_last():
    model = optimize_for_inference(settled(nn.Sequential(Conv2dNormActivation(3, 8), Conv2dNormActivation(8, 8))))
    assert model(torch.randn(1, 3, 6, 6)).is_contiguous(memory_format=torch.channels_last)


class Residual(nn.Module):
    """Names, and an order of registration, that tell nothing of what follows what."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.BatchNorm2d(4)
        self.y = nn.Conv2d(4, 4, 3, padding=1)
        self.a = nn.BatchNorm2d(4)
        self.z = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return F.relu(self.a(self.z(F.relu(self.b(self.y(x))))) + x)


def test_order_is_that_of_calls():
    assert_same_after(settled(Residual()), torch.randn(1, 4, 5, 5), remaining=[])


class Depends(nn.Module):
    """Cannot be traced: what it does depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Residual()
        self.other = nn.Sequential(Conv2dNormActivation(4, 4), Residual())

    def forward(self, x):
        for _ in range(2 + int(x.mean() > 0)):
            x = self.block(x)
        return self.other(x) if x.sum() > 0 else self.other(-x)


@pytest.mark.parametrize("sign", [1, -1])
def test_parts_of_what_depends_on_values(sign):
    x = sign * torch.rand(1, 4, 5, 5)
    assert_same_after(settled(nn.Sequential(Depends(), nn.ReLU())), x, remaining=[])


class TwoUses(nn.Module):
    """The convolution's output goes elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


class TwoCalls(TwoUses):
    """The convolution is called twice, and normalised once."""

    def forward(self, x):
        return self.norm(self.conv(x)) + self.conv(-x)


class OneNormForTwo(TwoUses):
    """The normalisation is called on two things."""

    def forward(self, x):
        return self.norm(self.conv(x)) + self.norm(x)


class ReadsTheWeight(TwoUses):
    """The convolution's weight serves elsewhere too."""

    def forward(self, x):
        return self.norm(self.conv(x)) + F.conv2d(x, self.conv.weight)


class Between(TwoUses):
    def forward(self, x):
        return self.norm(F.relu(self.conv(x)))


class Before(TwoUses):
    def forward(self, x):
        return self.conv(self.norm(x))


class OnlyWithASkip(TwoUses):
    """Tracing gives a stand-in to what callers may leave out, which is not None."""

    def forward(self, x, skip=None):
        x = self.conv(x)
        return x if skip is None else self.norm(x) + skip


@pytest.mark.parametrize("model", [TwoUses, TwoCalls, OneNormForTwo, ReadsTheWeight, Between, Before, OnlyWithASkip])
def test_what_is_not_a_pair(model):
    assert_same_after(settled(model()), torch.randn(2, 4, 5, 5), remaining=["norm"])


class Upwards(nn.Module):
    """Hands its parts all that they may take, so what they make of it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.first = OnlyWithASkip()
        self.second = OnlyWithASkip()

    def forward(self, x):
        return self.second(self.first(x), x)


def test_parameters_that_callers_may_leave_out():
    assert_same_after(settled(Upwards()), torch.randn(2, 4, 5, 5), remaining=["first.norm"])


def test_a_module_in_two_places():
    """Each place alone would be a pair."""
    convolution = nn.Conv2d(4, 4, 1)
    first, second = nn.Sequential(convolution, nn.BatchNorm2d(4)), nn.Sequential(convolution, nn.BatchNorm2d(4))
    assert_same_after(settled(nn.Sequential(first, second)), torch.randn(1, 4, 5, 5), remaining=["0.1", "1.1"])


def test_a_module_in_two_places_of_what_cannot_be_traced():
    model = Depends()
    model.other[1].z = model.block.z
    assert_same_after(settled(model), torch.rand(1, 4, 5, 5), remaining=["block.a", "other.1.a"])


def test_shared_parameters():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    model[2].weight = model[0].weight
    assert_same_after(settled(model), torch.randn(1, 4, 5, 5), remaining=["1", "3"])
    assert model[2].weight is model[0].weight


def test_a_model_that_was_made_in_inference_mode():
    """Torch does not count changes of such tensors, so that layers could keep nothing of them."""
    with torch.inference_mode():
        model = settled(nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)))
        model.append(nn.Conv2d(8, 8, 3))
        model[4].weight = model[3].weight
        model.register_buffer("scale", torch.ones(1))
        x = torch.randn(2, 4, 16, 16)
        assert_same_after(model, x, remaining=[])
        packed = [model[place].packed._kept for place in (0, 3, 4)]
    assert not any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers()))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model[4].weight is model[3].weight
    if torch.backends.mkldnn.is_available():
        assert all(kept is not None for kept in packed)


def test_statistics_of_the_batch():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert_same_after(settled(model), torch.randn(2, 4, 5, 5), remaining=["1"])


@pytest.mark.parametrize("index", [0, 1])
def test_hooks_see_what_they_saw(index):
    model = settled(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    seen = []
    model[index].register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert_same_after(model, torch.randn(1, 4, 5, 5), remaining=["1"])
    torch.testing.assert_close(seen[0], seen[-1])


def test_parametrizations():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4))
    assert_same_after(settled(model), torch.randn(1, 4, 5, 5), remaining=["1"])


class Doubled(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):
        return 2 * super()._conv_forward(input, weight, bias)


class Named(nn.Conv2d):
    """A class that only has another constructor."""

    def __init__(self, channels):
        super().__init__(channels, channels, 3)


class Shifted(nn.BatchNorm2d):
    def forward(self, input):
        return super().forward(input) + 1


@pytest.mark.parametrize(
    ("model", "remaining"),
    [
        (nn.Sequential(Doubled(4, 4, 1), nn.BatchNorm2d(4)), ["1"]),
        (nn.Sequential(Named(4), nn.BatchNorm2d(4)), []),
        (nn.Sequential(nn.Conv2d(4, 4, 1), Shifted(4)), ["1"]),
    ],
)
def test_subclasses(model, remaining):
    assert_same_after(settled(model), torch.randn(1, 4, 5, 5), remaining=remaining)


def test_a_replaced_forward():
    model = settled(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    model.forward = lambda x: model[1](model[0](x).abs())
    assert_same_after(model, torch.randn(1, 4, 5, 5), remaining=["1"])


class Fixed(nn.Module):
    def __init__(self, scale: list[float], bias: list[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, x):
        scale, bias = self.scale_and_bias()
        return x * scale[:, None, None] + bias[:, None, None]

    def scale_and_bias(self):
        return self.scale, self.bias


def test_a_normalisation_of_ones_own():
    norm = Fixed([2.0, -3.0], [0.5, 1.0])
    assert isinstance(norm, FixedNormalization)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), norm)
    assert_same_after(model, torch.randn(1, 3, 5, 5), remaining=[])
    assert isinstance(model[1], nn.Identity)


@pytest.mark.parametrize("model", [nn.BatchNorm2d(3), nn.Identity(), nn.Sequential(), nn.Conv2d(3, 2, 1)])
def test_models_of_a_single_module(model):
    kept = norms(model)
    assert_same_after(settled(model), torch.randn(1, 3, 5, 5), remaining=kept)


def test_what_is_compiled_already():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(TypeError, match="OptimizedModule; optimise the model first"):
        optimize_for_inference(torch.compile(model, backend="eager"))
    scripted = torch.jit.trace(model.eval(), torch.randn(1, 4, 5, 5))
    with pytest.raises(TypeError, match="optimise the model first"):
        optimize_for_inference(scripted)
