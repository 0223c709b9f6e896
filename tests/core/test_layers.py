"""Building blocks against hand-computed cases and torch's own modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support import reference
from zoo_core import features, layers


@pytest.mark.parametrize(
    "name", ["Conv2dNormActivation", "Conv3dNormActivation", "MLP", "Permute", "SqueezeExcitation", "StochasticDepth"]
)
def test_signatures_are_the_references(name):
    reference.assert_signature(getattr(layers, name), reference.signatures("ops")[name])


def test_stochastic_depth_function_has_the_references_signature():
    reference.assert_signature(layers.stochastic_depth, reference.signatures("ops")["stochastic_depth"])


@pytest.mark.parametrize(
    ("value", "divisor", "expected"),
    # 0.9 * 19 = 17.1 > 16, so 19 goes up to 24; 18 to 16 loses just over a tenth, and 17 less than that.
    [(16, 8, 16), (17, 8, 16), (18, 8, 24), (19, 8, 24), (20, 8, 24), (3, 8, 8), (100, 10, 100), (0.5, 8, 8)],
)
def test_make_divisible(value, divisor, expected):
    assert layers.make_divisible(value, divisor) == expected


def test_make_divisible_never_loses_more_than_a_tenth():
    for value in range(1, 2000):
        rounded = layers.make_divisible(value)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * value


def test_convolution_keeps_the_size_by_default():
    for kernel, dilation in ((1, 1), (3, 1), (5, 2), (7, 3)):
        block = layers.Conv2dNormActivation(3, 4, kernel, dilation=dilation)
        assert block(torch.rand(2, 3, 17, 19)).shape == (2, 4, 17, 19)
    block = layers.Conv3dNormActivation(3, 4, (1, 3, 5), dilation=(1, 2, 1))
    assert block(torch.rand(2, 3, 7, 9, 11)).shape == (2, 4, 7, 9, 11)


def test_convolution_has_a_bias_only_without_normalisation():
    assert layers.Conv2dNormActivation(3, 4)[0].bias is None
    plain = layers.Conv2dNormActivation(3, 4, norm_layer=None, activation_layer=None)
    assert len(plain) == 1
    assert plain[0].bias is not None
    assert layers.Conv2dNormActivation(3, 4, bias=True)[0].bias is not None
    assert layers.Conv2dNormActivation(3, 4).out_channels == 4


def test_activation_without_an_inplace_argument():
    block = layers.Conv2dNormActivation(3, 4, activation_layer=nn.GELU, inplace=None)
    assert isinstance(block[2], nn.GELU)


def test_squeeze_excitation_by_hand():
    block = layers.SqueezeExcitation(2, 1)
    with torch.no_grad():
        block.fc1.weight.copy_(torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1))
        block.fc1.bias.zero_()
        block.fc2.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        block.fc2.bias.zero_()
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])  # means 2 and 1, so the squeezed value is 3
    up, down = torch.sigmoid(torch.tensor(3.0)), torch.sigmoid(torch.tensor(-3.0))
    torch.testing.assert_close(block(x), torch.stack((x[:, 0] * up, x[:, 1] * down), dim=1))


def test_mlp_is_linear_layers_with_activations_between():
    mlp = layers.MLP(4, [8, 3], activation_layer=nn.GELU, dropout=0.5).eval()
    x = torch.rand(5, 4)
    expected = F.linear(F.gelu(F.linear(x, mlp[0].weight, mlp[0].bias)), mlp[3].weight, mlp[3].bias)
    torch.testing.assert_close(mlp(x), expected)
    assert [type(m).__name__ for m in mlp] == ["Linear", "GELU", "Dropout", "Linear", "Dropout"]


def test_permute():
    assert layers.Permute([0, 2, 3, 1])(torch.rand(2, 3, 4, 5)).shape == (2, 4, 5, 3)


class TestStochasticDepth:
    def test_rows_are_dropped_whole_or_scaled(self):
        torch.manual_seed(0)
        x = torch.rand(4000, 3, 2) + 1
        y = layers.stochastic_depth(x, 0.25, "row")
        dropped = (y == 0).all(dim=(1, 2))
        torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
        assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.03)
        assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.05)

    def test_a_batch_is_dropped_as_one(self):
        x = torch.ones(8, 2)
        kept = 0
        for seed in range(400):
            torch.manual_seed(seed)
            y = layers.stochastic_depth(x, 0.5, "batch")
            assert torch.equal(y, torch.zeros_like(x)) or torch.equal(y, 2 * x)
            kept += bool(y.any())
        assert 160 < kept < 240

    def test_probability_one_drops_everything_and_zero_nothing(self):
        x = torch.rand(5, 2)
        assert torch.equal(layers.stochastic_depth(x, 1.0, "row"), torch.zeros_like(x))
        assert layers.stochastic_depth(x, 0.0, "row") is x

    def test_eval_mode_passes_the_input_on(self):
        x = torch.rand(5, 2)
        assert layers.StochasticDepth(0.9, "row").eval()(x) is x

    @pytest.mark.parametrize(("p", "mode"), [(-0.1, "row"), (1.1, "row"), (0.5, "column")])
    def test_bad_arguments(self, p, mode):
        with pytest.raises(ValueError, match="must be"):
            layers.stochastic_depth(torch.rand(2, 2), p, mode)


class TestIntermediateLayerGetter:
    @pytest.fixture
    def model(self):
        model = nn.Module()
        model.first = nn.Conv2d(3, 4, 1)
        model.second = nn.ReLU()
        model.third = nn.Conv2d(4, 5, 1)
        model.head = nn.Linear(5, 2)
        return model

    def test_returns_the_asked_outputs_and_leaves_out_what_follows(self, model):
        getter = features.IntermediateLayerGetter(model, {"third": "out", "first": "low"})
        x = torch.rand(1, 3, 2, 2)
        outputs = getter(x)
        assert list(outputs) == ["low", "out"]
        torch.testing.assert_close(outputs["low"], model.first(x))
        torch.testing.assert_close(outputs["out"], model.third(model.second(model.first(x))))
        assert list(dict(getter.named_children())) == ["first", "second", "third"]
        assert set(getter.state_dict()) == {"first.weight", "first.bias", "third.weight", "third.bias"}

    def test_signature(self):
        expected = reference.signatures("features")["IntermediateLayerGetter"]
        reference.assert_signature(features.IntermediateLayerGetter, expected)

    def test_unknown_layer(self, model):
        with pytest.raises(ValueError, match=r"no layers fourth; it has first, second, third, head"):
            features.IntermediateLayerGetter(model, {"fourth": "out"})


class OnGpu(Tensor):
    """A tensor that says that it is on a GPU."""

    is_cuda = True  # type: ignore[assignment]


def test_padded_pooling_on_gpus_takes_contiguous_inputs_where_they_have_gradients() -> None:
    """There, torch's gradients of channels-last inputs are wrong."""
    x = torch.randn(2, 8, 5, 5).to(memory_format=torch.channels_last)
    with_gradient = x.clone().requires_grad_()
    assert layers.input_of_padded_pooling(x) is x
    assert layers.input_of_padded_pooling(with_gradient) is with_gradient
    there = x.as_subclass(OnGpu)
    assert layers.input_of_padded_pooling(there) is there
    got = layers.input_of_padded_pooling(with_gradient.as_subclass(OnGpu))
    assert got.is_contiguous()
    assert torch.equal(got, x)
    got.sum().backward()
    assert with_gradient.grad is not None
