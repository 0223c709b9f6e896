"""How alike the features of two images are: section 3.2 of RAFT, in two forms that give equal results.

Each location of the first feature map asks for a window of the second one, around the point where the flow moves it.
The *all-pairs* form compares every location with every other once, and then reads windows from that volume: memory
grows with the square of the number of pixels. The *on-demand* form compares each location with its window alone, anew
for each update of the flow: memory grows with the number of pixels.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.layers import without_autocast
from zoo_core.sizes import POOLING_FIXES_SIZES

__all__ = ["CorrBlock"]

FORMS = ("auto", "all_pairs", "on_demand")

# Where the form is chosen by size: the largest volume (its finest level) that is computed for all pairs, in elements.
MAX_ALL_PAIRS = 2**28

# The on-demand form gathers the windows of so many bytes at a time: what a processor's cache holds, and what keeps
# another device busy.
GATHERED_BYTES = {"cpu": 2**21}
GATHERED_BYTES_ELSEWHERE = 2**28


class CorrBlock(nn.Module):
    """Correlation of two feature maps, at several scales, around given points.

    With one scale, a radius of 1 and one channel, where the location of the first map has the feature 1 and the second
    map is the one on the left::

        1  2  3      the window around x = 1, y = 0       0  1  4      x = 0, y = -1, 0, 1
        4  5  6      is read column by column:            0  2  5      x = 1
                     what is outside counts as 0          0  3  6      x = 2

    The result has these nine numbers along its channels, in this order. Points between locations read by bilinear
    interpolation: around ``x = 1.5`` the first three are 0, 1.5 and 4.5. The next scale halves the second map, and
    reads it around half of ``x`` and ``y``.

    >>> fmap1, fmap2 = torch.ones(1, 1, 3, 3), torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    >>> correlation = CorrBlock(num_levels=1, radius=1)(fmap1, fmap2)
    >>> correlation(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3))[0, :, 0, 0]
    tensor([0., 1., 4., 0., 2., 5., 0., 3., 6.])
    >>> correlation(torch.tensor([1.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3))[0, :3, 0, 0]
    tensor([0.0000, 1.5000, 4.5000])

    Args:
        num_levels: number of scales. The second feature map of each has half the size of the one before.
        radius: a window has ``2 * radius + 1`` points on each side, one location of its scale apart.
        form: ``"all_pairs"`` computes the whole volume once, ``"on_demand"`` only the windows that are asked for;
            ``"auto"`` takes the first where the volume has at most 2**28 elements (1 GiB in float32: an image of
            about one million pixels), and in graphs that are exported.

    Attributes:
        out_channels: channels of the result, ``num_levels * (2 * radius + 1) ** 2``.

    Raises:
        ValueError: ``form`` is none of those.
    """

    def __init__(self, *, num_levels: int = 4, radius: int = 4, form: str = "auto") -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"the form of the correlation must be one of {', '.join(FORMS)}, not {form!r}")
        self.num_levels = num_levels
        self.radius = radius
        self.form = form
        self.out_channels = num_levels * (2 * radius + 1) ** 2
        self._windows: Callable[[Tensor], Tensor] | None = None

    def forward(self, fmap1: Tensor, fmap2: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepares the comparison of two feature maps.

        Args:
            fmap1, fmap2: Tensor[N, C, h, w].

        Returns:
            A function that takes points of ``fmap2``, Tensor[N, 2, h, w] of x and y for each location of ``fmap1``,
            and gives the correlations around them, Tensor[N, out_channels, h, w].
        """
        form = self.form
        if form == "auto":
            form = "all_pairs"
            if not (torch.compiler.is_exporting() or torch.jit.is_tracing()):
                n, _, h, w = fmap1.shape
                form = "all_pairs" if n * (h * w) ** 2 <= MAX_ALL_PAIRS else "on_demand"
        kind = AllPairsCorrelation if form == "all_pairs" else OnDemandCorrelation
        # In half precision the sum over many channels would lose what tells neighbours apart.
        dtype = torch.promote_types(fmap1.dtype, torch.float32)
        with without_autocast(fmap1.device.type):
            return kind(fmap1.to(dtype), fmap2.to(dtype), self.num_levels, self.radius)

    def build_pyramid(self, fmap1: Tensor, fmap2: Tensor) -> None:
        """Prepares the comparison of two feature maps, Tensor[N, C, h, w] each, and keeps it for
        :meth:`index_pyramid`: what :meth:`forward` does, in torchvision's form.
        """
        self._windows = self(fmap1, fmap2)

    def index_pyramid(self, centroids_coords: Tensor) -> Tensor:
        """Correlations around points, Tensor[N, 2, h, w], in the maps that :meth:`build_pyramid` was given.

        Raises:
            RuntimeError: it was given none.
        """
        if self._windows is None:
            raise RuntimeError("a CorrBlock compares feature maps that build_pyramid(fmap1, fmap2) is given first")
        return self._windows(centroids_coords)

    def extra_repr(self) -> str:
        return f"num_levels={self.num_levels}, radius={self.radius}, form={self.form!r}"


class AllPairsCorrelation:
    """Windows read from the correlation of all pairs of locations. Arguments as for :class:`OnDemandCorrelation`."""

    def __init__(self, fmap1: Tensor, fmap2: Tensor, num_levels: int, radius: int) -> None:
        n, c, h, w = fmap1.shape
        volume = torch.bmm(fmap1.flatten(2).transpose(1, 2) / math.sqrt(c), fmap2.flatten(2))
        self.radius = radius
        self.pyramid = [volume.view(n * h * w, 1, h, w)]
        for _ in range(num_levels - 1):
            self.pyramid.append(_halved(self.pyramid[-1]))

    def __call__(self, points: Tensor) -> Tensor:
        n, _, h, w = points.shape
        side = 2 * self.radius + 1
        offsets = torch.arange(-self.radius, self.radius + 1, device=points.device, dtype=points.dtype)
        x, y = points.permute(1, 0, 2, 3).reshape(2, n * h * w, 1)
        found = []
        for level, volume in enumerate(self.pyramid):
            height, width = volume.shape[-2:]
            # Positions from -1 to 1 between the centres of the outermost locations, as grid_sample has them.
            grid_x = (x / 2**level + offsets) * (2 / (width - 1)) - 1
            grid_y = (y / 2**level + offsets) * (2 / (height - 1)) - 1
            # A window's first dimension is x: the order that published weights were trained with.
            grid = torch.stack(
                (grid_x[:, :, None].expand(-1, -1, side), grid_y[:, None, :].expand(-1, side, -1)), dim=-1
            )
            window = F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
            found.append(window.view(n, h, w, side * side))
        return torch.cat(found, dim=-1).permute(0, 3, 1, 2).contiguous()


class OnDemandCorrelation:
    """Windows computed when they are asked for.

    Args:
        fmap1, fmap2: Tensor[N, C, h, w] of float32 or float64.
        num_levels, radius: as for :class:`CorrBlock`.
    """

    def __init__(self, fmap1: Tensor, fmap2: Tensor, num_levels: int, radius: int) -> None:
        c = fmap1.shape[1]
        self.radius = radius
        self.queries = _rows(fmap1) / math.sqrt(c)
        self.levels = []
        for level in range(num_levels):
            # Means of the features correlate as the means of the correlations: the pyramid is made of the former.
            fmap2 = fmap2 if level == 0 else _halved(fmap2)
            # The row of zeros at the end stands for every location outside.
            self.levels.append((F.pad(_rows(fmap2), (0, 0, 0, 1)), fmap2.shape[2], fmap2.shape[3]))

    def __call__(self, points: Tensor) -> Tensor:
        n, _, h, w = points.shape
        side = 2 * self.radius + 2
        offsets = torch.arange(-self.radius, self.radius + 2, device=points.device)
        image = torch.arange(n, device=points.device).repeat_interleave(h * w)[:, None, None]
        x, y = points.permute(1, 0, 2, 3).reshape(2, n * h * w, 1)
        found = []
        for level, (keys, height, width) in enumerate(self.levels):
            left, top = torch.floor(x / 2**level), torch.floor(y / 2**level)
            # One location more than the window has on each side: its points lie between four locations each.
            columns = (left.long() + offsets)[:, :, None]
            lines = (top.long() + offsets)[:, None, :]
            inside = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height)
            index = torch.where(inside, (image * height + lines) * width + columns, n * height * width)
            products = window_products(self.queries, keys, index.flatten(1)).view(-1, side, side)
            part_x, part_y = (x / 2**level - left)[:, :, None], (y / 2**level - top)[:, :, None]
            window = torch.lerp(products[:, :-1], products[:, 1:], part_x)
            window = torch.lerp(window[:, :, :-1], window[:, :, 1:], part_y)
            found.append(window.reshape(n, h, w, (side - 1) ** 2))
        return torch.cat(found, dim=-1).permute(0, 3, 1, 2).contiguous()


def _halved(maps: Tensor) -> Tensor:
    """Means of 2 x 2 locations; a last row or column that has no partner is left out."""
    if POOLING_FIXES_SIZES and torch.compiler.is_exporting():
        upper, lower = maps[..., :-1:2, :], maps[..., 1::2, :]
        return (upper[..., :-1:2] + upper[..., 1::2] + lower[..., :-1:2] + lower[..., 1::2]) / 4
    return F.avg_pool2d(maps, kernel_size=2, stride=2)


def _rows(fmap: Tensor) -> Tensor:
    """Tensor[N, C, h, w] -> Tensor[N * h * w, C]."""
    return fmap.permute(0, 2, 3, 1).reshape(-1, fmap.shape[1])


def window_products(queries: Tensor, keys: Tensor, index: Tensor) -> Tensor:
    """Scalar products of each query with the keys that it names.

    Args:
        queries: Tensor[Q, C].
        keys: Tensor[K, C].
        index: int64 Tensor[Q, W], rows of ``keys``.

    Returns:
        Tensor[Q, W]: ``result[q, i] = queries[q] @ keys[index[q, i]]``.
    """
    if torch.compiler.is_compiling():
        # A compiler fuses this. Steps by columns, whose number is fixed, leave the number of queries dynamic.
        step = math.isqrt(index.shape[1])
        columns = [index[:, i : i + step] for i in range(0, index.shape[1], step)]
        return torch.cat([(keys[some] * queries[:, None]).sum(-1) for some in columns], dim=1)
    return _WindowProducts.apply(queries, keys, index)


class _WindowProducts(torch.autograd.Function):
    """:func:`window_products` in chunks, which keeps none of the gathered keys for the backward pass."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(queries, keys, index)
        products = queries.new_empty(index.shape)
        for some in _chunks(queries, index):
            gathered = keys.index_select(0, index[some].flatten()).view(*index[some].shape, -1)
            # The query as a row: the other way round the product is several times as slow.
            products[some] = torch.bmm(queries[some].unsqueeze(1), gathered.transpose(1, 2)).squeeze(1)
        return products

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, keys, index = ctx.saved_tensors
        grad_queries, grad_keys = torch.empty_like(queries), torch.zeros_like(keys)
        for some in _chunks(queries, index):
            gathered = keys.index_select(0, index[some].flatten()).view(*index[some].shape, -1)
            grad_queries[some] = torch.bmm(grad[some].unsqueeze(1), gathered).squeeze(1)
            outer = grad[some].unsqueeze(2) * queries[some].unsqueeze(1)
            grad_keys.index_add_(0, index[some].flatten(), outer.flatten(0, 1))
        return grad_queries, grad_keys, None


def _chunks(queries: Tensor, index: Tensor) -> list[slice]:
    gathered_bytes = GATHERED_BYTES.get(queries.device.type, GATHERED_BYTES_ELSEWHERE)
    step = max(1, gathered_bytes // (index.shape[1] * queries.shape[1] * queries.element_size()))
    return [slice(start, start + step) for start in range(0, len(queries), step)]
