"""Both forms of the correlation: against a plain sum over channels, against each other, and what memory they take."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from support.reference import image
from zoo_flow import correlation
from zoo_flow.correlation import AllPairsCorrelation, CorrBlock, OnDemandCorrelation


def feature_maps(n=2, c=5, h=17, w=22):
    return image(1, n, c, h, w) - 0.5, image(2, n, c, h, w) - 0.5


def awkward_points(n, h, w):
    """Points inside, on integers, on the border, just outside, and as far away as a diverging flow gets."""
    points = torch.rand(n, 2, h, w, generator=torch.Generator().manual_seed(3)) * 1.4 * max(h, w) - 4
    special = torch.tensor(
        [[0, 0], [w - 1, h - 1], [-1, -1], [w, h], [2, 3], [-3.5, 4], [w + 8.25, -7.75], [1e6, -1e6], [3e9, 1e12]]
    )
    points[0].flatten(1)[:, : len(special)] = special.T
    return points


def by_hand(fmap1, fmap2, points, num_levels, radius):
    """The definition, in float64 and without any of the operators under test, for one picture."""
    c, h, w = fmap1.shape
    result = []
    for level in range(num_levels):
        second = F.avg_pool2d(fmap2.double()[None], 2**level)[0]
        height, width = second.shape[1:]
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                values = torch.zeros(h, w, dtype=torch.float64)
                for i in range(h):
                    for j in range(w):
                        x = points[0, i, j].item() / 2**level + dx
                        y = points[1, i, j].item() / 2**level + dy
                        for column in (math.floor(x), math.floor(x) + 1):
                            for line in (math.floor(y), math.floor(y) + 1):
                                if 0 <= column < width and 0 <= line < height:
                                    weight = (1 - abs(x - column)) * (1 - abs(y - line))
                                    values[i, j] += weight * (fmap1[:, i, j].double() @ second[:, line, column])
                result.append(values / math.sqrt(c))
    return torch.stack(result)


@pytest.mark.parametrize("form", ["all_pairs", "on_demand"])
def test_definition(form):
    fmap1, fmap2 = feature_maps(n=1, c=3, h=6, w=9)
    points = awkward_points(1, 6, 9)
    block = CorrBlock(num_levels=2, radius=1, form=form)
    result = block(fmap1, fmap2)(points)
    assert result.shape == (1, block.out_channels, 6, 9)
    expected = by_hand(fmap1[0], fmap2[0], points[0], num_levels=2, radius=1)
    torch.testing.assert_close(result[0].double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("num_levels", "radius"), [(4, 4), (4, 3), (1, 0), (3, 7)])
def test_forms_agree(num_levels, radius):
    fmaps, points = feature_maps(), awkward_points(2, 17, 22)
    results = [
        CorrBlock(num_levels=num_levels, radius=radius, form=form)(*fmaps)(points)
        for form in ("all_pairs", "on_demand")
    ]
    torch.testing.assert_close(*results, rtol=0, atol=2e-6)


@pytest.mark.parametrize("gathered", [1, 3000, 2**30])
def test_any_chunks(gathered, monkeypatch):
    fmaps, points = feature_maps(), awkward_points(2, 17, 22)
    expected = CorrBlock(form="on_demand")(*fmaps)(points)
    monkeypatch.setitem(correlation.GATHERED_BYTES, "cpu", gathered)
    torch.testing.assert_close(CorrBlock(form="on_demand")(*fmaps)(points), expected, rtol=0, atol=1e-6)


def test_gradients_agree():
    points = awkward_points(2, 17, 22)
    gradients = []
    for form in ("all_pairs", "on_demand"):
        fmaps = [fmap.double().requires_grad_() for fmap in feature_maps()]
        result = CorrBlock(num_levels=3, radius=2, form=form)(*fmaps)(points.double())
        weights = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        gradients.append(torch.autograd.grad((result * weights).sum(), fmaps))
    for all_pairs, on_demand in zip(*gradients, strict=True):
        assert all_pairs.abs().max() > 0.1
        torch.testing.assert_close(on_demand, all_pairs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("height", "width", "kind"), [(1024, 1024, AllPairsCorrelation), (1088, 1920, OnDemandCorrelation)]
)
def test_auto_chooses_by_size(height, width, kind):
    with torch.device("meta"):
        fmap = torch.empty(1, 8, height // 8, width // 8)
        assert type(CorrBlock()(fmap, fmap)) is kind
        # A batch of small pictures takes as much memory as one large picture.
        assert type(CorrBlock()(*[torch.empty(16, 8, 64, 64)] * 2)) is AllPairsCorrelation
        assert type(CorrBlock()(*[torch.empty(17, 8, 64, 64)] * 2)) is OnDemandCorrelation


@pytest.mark.parametrize("form", ["all_pairs", "on_demand"])
@pytest.mark.parametrize(
    ("x", "window"), [(1.0, [0, 1, 4, 0, 2, 5, 0, 3, 6]), (1.5, [0, 1.5, 4.5, 0, 2.5, 5.5, 0, 1.5, 3])]
)
def test_a_window_by_hand(form, x, window):
    """Column by column, with zeros outside: the example in the documentation of CorrBlock."""
    first, second = torch.zeros(1, 1, 2, 3), torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]])
    first[..., 0, 0] = 1
    points = torch.zeros(1, 2, 2, 3)
    points[0, 0, 0, 0] = x
    found = CorrBlock(num_levels=1, radius=1, form=form)(first, second)(points)
    assert found[0, :, 0, 0].tolist() == window


def test_unknown_form():
    with pytest.raises(ValueError, match="auto, all_pairs, on_demand, not 'both'"):
        CorrBlock(form="both")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    fmaps = [fmap.to(dtype) for fmap in feature_maps()]
    points = awkward_points(2, 17, 22)
    expected = CorrBlock()(*[fmap.float() for fmap in fmaps])(points)
    with torch.autocast("cpu", torch.bfloat16):
        result = CorrBlock()(*fmaps)(points)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operator makes, in elements."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def largest_tensor(form, h, w):
    fmap = torch.rand(1, 4, h, w)
    with LargestTensor() as largest, torch.no_grad():
        CorrBlock(radius=3, form=form)(fmap, fmap)(torch.zeros(1, 2, h, w))
    return largest.elements


def test_on_demand_memory_is_linear(monkeypatch):
    monkeypatch.setitem(correlation.GATHERED_BYTES, "cpu", 2**14)
    assert largest_tensor("all_pairs", 64, 64) == 16 * largest_tensor("all_pairs", 32, 32) == 64**4
    assert largest_tensor("on_demand", 64, 64) == 4 * largest_tensor("on_demand", 32, 32) <= 256 * 64 * 64
