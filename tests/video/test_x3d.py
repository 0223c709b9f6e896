"""X3D against the paper: its table of layers, its counts of parameters and operations, and a plain form of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import zoo_core
from support import reference
from zoo_core import catalog
from zoo_core.builders import without_storage
from zoo_core.features import features
from zoo_core.inference import optimize_for_inference
from zoo_video import X3D, x3d_xs
from zoo_video.x3d import Block, SqueezeExcitation3d

DEPTHS = (3, 5, 11, 7)


@pytest.fixture(scope="module")
def filled() -> nn.Module:
    with reference.no_random_init():
        model = x3d_xs(num_classes=10)
    return reference.fill_parameters(model).eval()


def empty(**arguments) -> nn.Module:
    with without_storage():
        return X3D(**arguments).eval()


def giga_multiply_adds(model: nn.Module, frames: int, side: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, frames, side, side, device="meta"))
    return counter.get_total_flops() / 2e9


def test_parameters_and_operations_are_the_papers():
    paper = catalog.model("x3d_xs").paper
    assert paper is not None
    count = sum(parameter.numel() for parameter in empty().parameters())
    assert count == pytest.approx(paper.num_params, rel=0.01)
    assert round(count / 1e6, 1) == 3.8
    assert giga_multiply_adds(empty(), 4, 160) == pytest.approx(paper.ops, abs=0.01)
    # X3D-S and X3D-M, which are the same network.
    assert giga_multiply_adds(empty(), 13, 160) == pytest.approx(1.96, abs=0.01)
    assert giga_multiply_adds(empty(), 16, 224) == pytest.approx(4.73, abs=0.01)
    # X3D-L, which is deeper.
    large = empty(depths=(5, 10, 25, 15))
    assert sum(parameter.numel() for parameter in large.parameters()) == pytest.approx(6.1e6, rel=0.02)
    assert giga_multiply_adds(large, 16, 312) == pytest.approx(18.37, abs=0.02)


def test_layers_are_those_of_table_1():
    model = empty()
    layers = ["conv1", "res2", "res3", "res4", "res5", "conv5"]
    found = features(model, torch.empty(1, 3, 16, 224, 224, device="meta"), layers=layers)
    assert [tuple(found[name].shape[1:]) for name in layers] == [
        (24, 16, 112, 112),
        (24, 16, 56, 56),
        (48, 16, 28, 28),
        (96, 16, 14, 14),
        (192, 16, 7, 7),
        (432, 16, 7, 7),
    ]
    stages = (model.res2, model.res3, model.res4, model.res5)
    for stage, depth, inner, squeezed in zip(stages, DEPTHS, (54, 108, 216, 432), (8, 8, 16, 32), strict=True):
        blocks = [block for block in stage if isinstance(block, Block)]
        assert len(blocks) == depth
        for number, block in enumerate(blocks):
            assert block.b[0].groups == block.b[0].in_channels == block.b[0].out_channels == inner
            assert block.b[0].stride == ((1, 2, 2) if number == 0 else (1, 1, 1))
            assert isinstance(block.se, SqueezeExcitation3d) == (number % 2 == 0)
            if number % 2 == 0:
                assert block.se.fc1.out_channels == squeezed
    assert (model.fc1.in_features, model.fc1.out_features, model.fc2.out_features) == (432, 2048, 400)
    assert model.fc1.bias is None


def test_output_is_that_of_a_plain_form(filled):
    """Written from the paper with functions alone, in double precision, on the model's parameters."""
    state = {key: value.double() for key, value in filled.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        shape = (-1, 1, 1, 1)
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
        shift = state[f"{name}.bias"] - scale * state[f"{name}.running_mean"]
        return x * scale.view(shape) + shift.view(shape)

    def pointwise(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.0.weight"].flatten(1)
        return norm(torch.einsum("ncthw,oc->nothw", x[..., ::stride, ::stride], weight), f"{name}.1")

    def excited(x: Tensor, name: str) -> Tensor:
        squeezed = x.mean((2, 3, 4))
        hidden = F.linear(squeezed, state[f"{name}.fc1.weight"].flatten(1), state[f"{name}.fc1.bias"]).relu()
        scale = F.linear(hidden, state[f"{name}.fc2.weight"].flatten(1), state[f"{name}.fc2.bias"]).sigmoid()
        return x * scale[:, :, None, None, None]

    clip = reference.image(1, 2, 3, 5, 40, 56)
    x = F.conv3d(clip.double(), state["conv1.0.weight"], stride=(1, 2, 2), padding=(0, 1, 1))
    x = F.conv3d(x, state["conv1.1.weight"], padding=(2, 0, 0), groups=24)
    x = norm(x, "conv1.2").relu()
    for stage, depth in zip(("res2", "res3", "res4", "res5"), DEPTHS, strict=True):
        for number in range(depth):
            name, stride = f"{stage}.{number}", 2 if number == 0 else 1
            out = pointwise(x, f"{name}.a").relu()
            weight = state[f"{name}.b.0.weight"]
            out = norm(F.conv3d(out, weight, None, (1, stride, stride), 1, 1, len(weight)), f"{name}.b.1")
            if number % 2 == 0:
                out = excited(out, f"{name}.se")
            out = pointwise(out * out.sigmoid(), f"{name}.c")
            x = (out + (pointwise(x, f"{name}.shortcut", 2) if number == 0 else x)).relu()
    x = pointwise(x, "conv5").relu().mean((2, 3, 4))
    expected = F.linear(F.linear(x, state["fc1.weight"]).relu(), state["fc2.weight"], state["fc2.bias"])
    with torch.inference_mode():
        torch.testing.assert_close(filled(clip).double(), expected, rtol=1e-4, atol=1e-4)


def test_export_of_any_batch_and_size(filled):
    dim = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            filled, (reference.image(1, 2, 3, 4, 40, 56),), dynamic_shapes=({0: dim, 2: dim, 3: dim, 4: dim},)
        )
        for shape in ((1, 3, 6, 33, 48), (3, 3, 5, 64, 40)):
            x = reference.image(2, *shape)
            torch.testing.assert_close(program.module()(x), filled(x), rtol=1e-4, atol=1e-4)


def test_videos_that_it_takes_and_that_it_cannot(filled):
    with torch.inference_mode():
        assert filled(torch.rand(2, 3, 1, 1, 1)).shape == (2, 10)
        batch = reference.image(3, 3, 3, 5, 40, 56)
        torch.testing.assert_close(filled(batch[1:2]), filled(batch)[1:2], rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match=r"X3D .*at least 1 frames.*not 0 frames of 64x64"):
            filled(torch.zeros(1, 3, 0, 64, 64))
        with pytest.raises(ValueError, match=r"Tensor\[N, C, T, H, W\].*\[3, 8, 64, 64\].*unsqueeze"):
            filled(torch.zeros(3, 8, 64, 64))
        with pytest.raises(TypeError, match=r"torch\.uint8.*transforms"):
            filled(torch.zeros(1, 3, 8, 64, 64, dtype=torch.uint8))


def test_optimized_for_inference(filled):
    x = reference.image(1, 1, 3, 4, 64, 72)
    with torch.inference_mode():
        expected = filled(x)
        with reference.no_random_init():
            model = optimize_for_inference(reference.fill_parameters(x3d_xs(num_classes=10)))
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def test_blocks_that_start_as_the_identity():
    model = X3D(num_classes=5, zero_init_residual=True).eval()
    x = torch.rand(1, 48, 2, 6, 6)
    with torch.inference_mode():
        assert torch.equal(model.res3[1](x), x)
        assert not torch.equal(X3D(num_classes=5).eval().res3[1](x), x)


def test_arguments():
    with pytest.raises(ValueError, match=r"depths must have 4 elements, one for each stage, not \(1, 2\)"):
        X3D(depths=(1, 2))
    with without_storage():
        model = X3D((1, 1, 1, 1), (8, 16, 32, 64), bottleneck=2, hidden=32, num_classes=3, norm_layer=nn.InstanceNorm3d)
    assert model.res5[0].b[0].groups == 128
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def test_it_is_a_model_of_the_zoo_like_others():
    assert reference.own_names("video") == ["x3d_xs"]
    builder = zoo_core.get_model_builder("x3d_xs")
    assert builder is x3d_xs
    assert "https://arxiv.org/abs/2004.04730" in (builder.__doc__ or "")
    reference.assert_arguments_described(builder)
