"""Feature pyramid network and frozen batch normalisation."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_detection.ops import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    FrozenBatchNorm2d,
    LastLevelMaxPool,
    LastLevelP6P7,
)


def features() -> OrderedDict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = {"a": (2, 8, 17, 20), "b": (2, 16, 9, 10), "c": (2, 32, 5, 5)}
    return OrderedDict((name, torch.randn(shape, generator=g)) for name, shape in shapes.items())


def test_pyramid_is_the_figure_of_the_paper() -> None:
    fpn = FeaturePyramidNetwork([8, 16, 32], 12).eval()
    x = features()
    out = fpn(x)
    assert list(out) == ["a", "b", "c"]

    def convolve(kind: str, i: int, value: Tensor, padding: int) -> Tensor:
        state = fpn.state_dict()
        return F.conv2d(value, state[f"{kind}.{i}.0.weight"], state[f"{kind}.{i}.0.bias"], padding=padding)

    top = convolve("inner_blocks", 2, x["c"], 0)
    torch.testing.assert_close(out["c"], convolve("layer_blocks", 2, top, 1))
    rows = (torch.arange(9) * 5 / 9).long()
    columns = torch.arange(10) // 2
    middle = convolve("inner_blocks", 1, x["b"], 0) + top[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(out["b"], convolve("layer_blocks", 1, middle, 1))
    assert out["a"].shape == (2, 12, 17, 20)


def test_extra_levels() -> None:
    x = features()
    out = FeaturePyramidNetwork([8, 16, 32], 12, LastLevelMaxPool())(x)
    assert list(out) == ["a", "b", "c", "pool"]
    assert torch.equal(out["pool"], out["c"][:, :, ::2, ::2])
    for in_channels, from_c5 in ((32, True), (12, False)):
        extra = LastLevelP6P7(in_channels, 12)
        out = FeaturePyramidNetwork([8, 16, 32], 12, extra)(x)
        assert list(out) == ["a", "b", "c", "p6", "p7"]
        torch.testing.assert_close(out["p6"], extra.p6(x["c"] if from_c5 else out["c"]))
        torch.testing.assert_close(out["p7"], extra.p7(out["p6"].relu()))
        assert out["p6"].shape == (2, 12, 3, 3)
        assert out["p7"].shape == (2, 12, 2, 2)


def test_pyramid_with_normalisation() -> None:
    fpn = FeaturePyramidNetwork([8, 16], 12, norm_layer=nn.BatchNorm2d)
    assert "inner_blocks.1.1.running_mean" in fpn.state_dict()
    assert "inner_blocks.1.0.bias" not in fpn.state_dict()


def test_pyramid_reads_old_state_dicts() -> None:
    new = FeaturePyramidNetwork([8, 16], 12)
    old = {key.replace(".0.weight", ".weight").replace(".0.bias", ".bias"): v for key, v in new.state_dict().items()}
    assert "inner_blocks.0.weight" not in new.state_dict()
    # The first block's own index is 0 too.
    old = {}
    for key, value in new.state_dict().items():
        kind, i, zero, name = key.split(".")
        assert zero == "0"
        old[f"{kind}.{i}.{name}"] = value
    again = nn.Sequential(FeaturePyramidNetwork([8, 16], 12))
    again.load_state_dict({f"0.{key}": value for key, value in old.items()})
    for key, value in new.state_dict().items():
        assert torch.equal(again[0].state_dict()[key], value)
    again[0].load_state_dict(new.state_dict())


def test_pyramid_errors() -> None:
    with pytest.raises(ValueError, match="in_channels_list must be positive"):
        FeaturePyramidNetwork([8, 0], 12)
    with pytest.raises(TypeError, match="extra_blocks must be an ExtraFPNBlock, but it is a Identity"):
        FeaturePyramidNetwork([8], 12, nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="made from 1 feature maps, but 3 were given"):
        FeaturePyramidNetwork([8], 12)(features())
    with pytest.raises(NotImplementedError, match="must define forward"):
        ExtraFPNBlock()([], [], [])


def test_pyramid_initialisation() -> None:
    torch.manual_seed(0)
    fpn = FeaturePyramidNetwork([256], 256)
    convolution = fpn.get_submodule("inner_blocks.0.0")
    assert isinstance(convolution, nn.Conv2d)
    weight, bias = convolution.weight, convolution.bias
    assert bias is not None
    # Kaiming uniform with a=1: bound sqrt(3 / fan in).
    assert weight.abs().max().item() == pytest.approx((3 / 256) ** 0.5, rel=1e-2)
    assert bias.abs().max() == 0


def test_frozen_batch_norm_is_batch_norm_in_evaluation() -> None:
    norm = nn.BatchNorm2d(5, eps=1e-3).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(torch.randn(5))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.rand(5) + 0.1)  # type: ignore[union-attr]
    frozen = FrozenBatchNorm2d(5, eps=1e-3)
    frozen.load_state_dict(norm.state_dict())  # which has num_batches_tracked
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(frozen(x), norm(x))
    torch.testing.assert_close(frozen.train()(x), norm(x))
    assert list(frozen.parameters()) == []
    assert list(frozen.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert repr(frozen) == "FrozenBatchNorm2d(5, eps=0.001)"


def test_export() -> None:
    model = nn.Sequential(OrderedDict(norm=FrozenBatchNorm2d(3), conv=nn.Conv2d(3, 8, 1)))
    program = torch.export.export(model, (torch.randn(2, 3, 8, 8),))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(program.module()(x), model(x))
