"""3x3 convolutions with a quarter of the multiplications, by minimal filtering, F(4x4, 3x3).

From `Fast Algorithms for Convolutional Neural Networks <https://arxiv.org/abs/1509.09308>`__ (Lavin and Gray), after
Winograd. Of each tile of 6x6 pixels, 4x4 of the output come by 36 multiplications for each pair of channels, of 144::

    output = A^T [ (G kernel G^T) * (B^T tile B) ] A

The sums on both sides of the products are multiplications of a tile's pixels, written as one column, by the Kronecker
square of B^T and of A^T. Tiles are taken by as many as caches hold.

Rounding errors are about five times those of the sum that a convolution is: 1e-5 of the largest output in float32.

Shapes: ``N`` batch, ``C`` channels in, ``D`` channels out, ``H`` and ``W`` sides of the output, ``T`` tiles at a time.
"""

import math
import platform
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["convolve", "pays", "transformed"]

_STEP, _SIDE = 4, 6  # of tiles
_PLACES = _SIDE * _SIDE
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
# Tiles at a time: enough for fast multiplications, and few enough to stay in a core's cache. Always as many, since the
# order in which oneDNN wants its weights may depend on it.
_TILES = 64
# What a multiplication costs, measured in those of oneDNN's convolution: of the products; of the sums beside them; and
# how much more the latter are with each further thread, as they hardly share them.
_PRODUCT, _SUM, _SHARE = 1.3, 4.3, 0.5
_GROUPED = (0, 0), (1, 1), (1, 1), _PLACES  # padding, stride, dilation, groups
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def pays(shape: Sequence[int], channels: int, padding: Sequence[int]) -> bool:
    """Whether this is faster than oneDNN's convolution, by a model of what both cost with as many threads as torch has.

    On processors other than x86 it never is: oneDNN has such algorithms there.

    Args:
        shape: ``(N, C, height, width)`` of the input.
        channels: ``D``.
        padding: of height and width.
    """
    batch, inputs, *sides = shape
    height, width = (side + 2 * around - 2 for side, around in zip(sides, padding, strict=True))
    if not _IS_X86 or height < _STEP or width < _STEP:
        return False
    tiles = _TILES * math.ceil(batch * math.ceil(height / _STEP) * math.ceil(width / _STEP) / _TILES)
    products = _PLACES * inputs * channels
    sums = _PLACES * (_PLACES * inputs + _STEP * _STEP * channels)
    sum_cost = _SUM * (1 + _SHARE * (torch.get_num_threads() - 1))
    return tiles * (_PRODUCT * products + sum_cost * sums) < 9 * batch * height * width * inputs * channels


def transformed(weight: Tensor) -> Tensor:
    """Kernels as :func:`convolve` takes them, in oneDNN's order: of ``Tensor[D, C, 3, 3]``."""
    outputs, channels = weight.shape[:2]
    kernels = _square(_KERNEL) @ weight.to(torch.float64).permute(2, 3, 0, 1).reshape(9, -1)
    kernels = kernels.to(weight.dtype).reshape(_PLACES * outputs, channels, 1, 1)
    shape = 1, _PLACES * channels, _TILES, 1
    return torch.ops.mkldnn._reorder_convolution_weight.default(kernels, *_GROUPED, shape)


def convolve(
    x: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    channels: int,
    padding: Sequence[int],
    activation: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """:func:`torch.nn.functional.conv2d` of 3x3 kernels, stride 1, and an activation. Has no gradients.

    Args:
        x: float32 ``Tensor[N, C, H + 2 - 2 * padding[0], W + 2 - 2 * padding[1]]``, best with channels last.
        kernels: see :func:`transformed`.
        bias: ``Tensor[D]``, or ``None``.
        channels: ``D``.
        padding: zeros around height and width.
        activation: computes each value by itself; may work in place.

    Returns:
        ``Tensor[N, D, H, W]`` with channels last.
    """
    batch, inputs, *sides = x.shape
    height, width = (side + 2 * around - 2 for side, around in zip(sides, padding, strict=True))
    down, across = math.ceil(height / _STEP), math.ceil(width / _STEP)
    padded = x.new_zeros(batch, _STEP * down + 2, _STEP * across + 2, inputs)
    top, left = padding
    padded[:, top : top + sides[0], left : left + sides[1]] = x.permute(0, 2, 3, 1)
    # A line more than the output has: for what tiles have beyond it.
    output = x.new_empty(batch * height * width + 1, channels)
    sources, places = _pixels(batch, height, width)
    before, after = (_square(matrix).to(x.dtype).expand(_TILES, -1, -1) for matrix in (_INPUT, _OUTPUT))
    taken, sums = x.new_empty(2, _TILES, _PLACES, inputs)
    for source, place in zip(sources.split(_TILES * _PLACES), places.split(_TILES * _STEP**2), strict=True):
        torch.index_select(padded.view(-1, inputs), 0, source, out=taken.view(-1, inputs))
        torch.bmm(before, taken, out=sums)
        values = torch.bmm(after, _products(sums, kernels)).view(-1, channels)
        if bias is not None:
            values += bias
        output.index_copy_(0, place, values if activation is None else activation(values))
    return output[:-1].view(batch, height, width, channels).permute(0, 3, 1, 2)


def _products(sums: Tensor, kernels: Tensor) -> Tensor:
    """The products of each of the places, summed over channels: [T, 36, C] -> [T, 36, D].

    To oneDNN it is a convolution of 1x1 in 36 groups, which it computes faster than torch multiplies 36 matrices.
    """
    x = sums.view(1, len(sums), 1, -1).permute(0, 3, 1, 2)
    found = torch.ops.mkldnn._convolution_pointwise.default(x, kernels, None, *_GROUPED, "none", (), "")
    return found.permute(0, 2, 3, 1).reshape(len(sums), _PLACES, -1)


def _pixels(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which lines of the padded input tiles are made of, and which lines of the output they become.

    Of whole multiples of :data:`_TILES` tiles: those beyond the last one are like the first, and go to the line behind
    the output, as pixels do that are not in it.

    Returns:
        int64 Tensors of 36 and of 16 lines a tile.
    """
    down, across = math.ceil(height / _STEP), math.ceil(width / _STEP)
    count = batch * down * across
    beyond = -count % _TILES
    tiles = torch.arange(count + beyond)
    tiles[count:] = 0
    image, row, column = tiles // (down * across), tiles // across % down * _STEP, tiles % across * _STEP
    side, step = torch.arange(_SIDE), torch.arange(_STEP)
    line = (image * (_STEP * down + 2) + row)[:, None] + side
    sources = (line * (_STEP * across + 2))[:, :, None] + column[:, None, None] + side
    y, x = row[:, None, None] + step[:, None], column[:, None, None] + step
    places = (image[:, None, None] * height + y) * width + x
    places[(y >= height) | (x >= width)] = batch * height * width
    places[count:] = batch * height * width
    return sources.flatten(), places.flatten()


def _square(matrix: Sequence[Sequence[float]]) -> Tensor:
    """What a matrix does from both sides, to a matrix that is written as one column."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one)
