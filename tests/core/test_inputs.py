"""Inputs that a model's layers refuse: the error names the cause in terms of the input."""

import pickle

import pytest
import torch
from torch import Tensor, nn

from zoo_core.inputs import check_batch, explains_failures


class Net(nn.Module):
    """Two strided layers with normalisation, of images or of videos."""

    def __init__(self, dims: int = 2, norm: type[nn.Module] | None = None) -> None:
        super().__init__()
        conv, batch_norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.dims = dims
        self.body = nn.Sequential(conv(3, 4, 3, 4, 1), (norm or batch_norm)(4), conv(4, 2, 1))

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        kind, dims = ("image", "N, C, H, W") if self.dims == 2 else ("video", "N, C, T, H, W")
        check_batch(x, model="Net", dims=dims, kind=kind)
        return self.body(x)


@pytest.mark.parametrize(
    ("net", "shape", "words"),
    [
        (Net(), (1, 3, 4, 3), "Net cannot be trained on a batch of 1 image of 4x3 pixels: .*more or larger images"),
        (Net(3), (1, 3, 2, 4, 3), "a batch of 1 video of 2 frames of 4x3 pixels: .*more or larger videos"),
        (Net(norm=nn.InstanceNorm2d), (2, 3, 4, 3), "a batch of 2 images of 4x3 pixels"),
        (Net(), (2, 8, 8, 3), r"takes images of 3 channels, not shape \[2, 8, 8, 3\]; .*permute\(0, 3, 1, 2\)"),
        (Net(), (2, 1, 8, 8), "images of 3 channels, .*in_channels"),
        (Net(3), (2, 4, 8, 8, 3), r"videos of 3 channels, .*permute\(0, 4, 1, 2, 3\)"),
        (Net(3), (2, 4, 3, 8, 8), r"videos of 3 channels, .*transpose\(1, 2\)"),
    ],
)
def test_shapes(net: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=words) as error:
        net(torch.rand(shape))
    assert type(error.value) is type(error.value.__cause__)


@pytest.mark.parametrize(("hint", "shape"), [("0, 3, 1, 2", (2, 8, 9, 3)), ("0, 4, 1, 2, 3", (2, 4, 8, 9, 3))])
def test_the_hint_helps(hint: str, shape: tuple[int, ...]) -> None:
    net = Net(len(shape) - 2)
    assert net(torch.rand(shape).permute(*map(int, hint.split(", ")))).shape[1] == 2


@pytest.mark.parametrize(("own", "other"), [(torch.float32, torch.float64), (torch.bfloat16, torch.float32)])
def test_dtypes(own: torch.dtype, other: torch.dtype) -> None:
    net, x = Net().to(own), torch.rand(2, 3, 8, 8)
    words = rf"computes in {own}, .*not {other}; .*batch\.to\({own}\), or the model with model\.to\({other}\)"
    with pytest.raises(RuntimeError, match=words):
        net(x.to(other))
    assert net(x.to(own)).dtype == own
    assert net.to(other)(x.to(other)).dtype == other


def test_other_errors_stay() -> None:
    net = Net()
    net.body[2] = nn.Conv2d(5, 2, 1)
    with pytest.raises(RuntimeError, match=r"expected input\[2, 4, 2, 2\] to have 5 channels"):
        net(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match="unsqueeze"):
        net(torch.rand(3, 8, 8))
    with pytest.raises(TypeError):
        net()


def test_a_forward_that_succeeds_is_what_it_was() -> None:
    net, x = Net().eval(), torch.rand(2, 3, 8, 8)
    expected = net.body(x)
    assert torch.equal(net(x=x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), expected)
    graph = torch.fx.symbolic_trace(net)
    assert [node.name for node in graph.graph.nodes] == ["x", "body_0", "body_1", "body_2", "output"]
    assert torch.equal(graph(x), expected)
    assert torch.equal(torch.jit.trace(net, x)(x), expected)
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="eager")(x), expected)
    for strict in (False, True):
        torch.testing.assert_close(torch.export.export(net, (x,), strict=strict).module()(x), expected)
