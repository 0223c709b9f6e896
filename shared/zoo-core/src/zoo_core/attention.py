"""What vision transformers share: attention in windows, and relative positions.

Maps have any number of dimensions (two for images, three for videos) and channels last.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.sizes import smaller
from zoo_core.tracing import is_recorded, is_stand_in, is_transformed, one_node
from zoo_core.value_cache import ValueCache

EvalCache = ValueCache  # its former name

# Added to the logits of tokens that may not meet. Finite, as in the published models.
_MASKED = -100.0


def relative_position_index(window: Sequence[int]) -> Tensor:
    """Numbers the offsets between two tokens of a window.

    In a window of two tokens there are three: -1, 0 and 1.

    >>> relative_position_index((2,))
    tensor([[1, 0],
            [2, 1]])

    Args:
        window: size of the window in each dimension.

    Returns:
        int64 Tensor[L, L] for a window of L tokens: for query (row) and key (column) the number of their offset, from 0
        to ``prod(2 * size - 1) - 1``.
    """
    axes = [torch.arange(size, device="cpu") for size in window]  # fast even where the default device is "meta"
    tokens = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    offsets = tokens[:, :, None] - tokens[:, None, :]
    index = torch.zeros_like(offsets[0])
    for offset, size in zip(offsets, window, strict=True):
        index = index * (2 * size - 1) + offset + (size - 1)
    return index.to(torch.get_default_device())


def resized_bias_table(table: Tensor, window: Sequence[int]) -> Tensor:
    """The biases of a square window's relative positions, for a window of another size.

    They are interpolated as an image with a pixel for each offset, bicubically, as the authors of Swin do it for larger
    windows. Computed in single precision.

    Args:
        table: Tensor[(2 * side - 1) ** 2, heads].
        window: height and width of the new one.

    Returns:
        Tensor[(2 * height - 1) * (2 * width - 1), heads]; ``table`` itself for a window of the same size.

    Raises:
        ValueError: the table is of no square window.
    """
    old = math.isqrt(table.shape[0])
    if old * old != table.shape[0] or old % 2 == 0:
        raise ValueError(f"the biases of {table.shape[0]} relative positions are of no square window")
    height, width = (2 * side - 1 for side in window)
    if (height, width) == (old, old):
        return table
    planes = table.float().t().unflatten(1, (old, old))[None]
    resized = F.interpolate(planes, size=(height, width), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).t().contiguous().to(table.dtype)


@one_node
def relative_position_bias(table: Tensor, index: Tensor) -> Tensor:
    """Looks up the bias of each query and key.

    Args:
        table: Tensor[offsets, heads].
        index: see :func:`relative_position_index`; Tensor[L, L], or its flattened form.

    Returns:
        Tensor[1, heads, L, L].
    """
    length, heads = math.isqrt(index.numel()), table.shape[1]
    # Looking up numbers head by head is several times faster than rows of all heads that then are transposed.
    bias = table.t().contiguous().gather(1, index.flatten().expand(heads, -1))
    return bias.view(1, heads, length, length)


def dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, dropout_p: float = 0.0, scale: float | None = None
) -> Tensor:
    """:func:`~torch.nn.functional.scaled_dot_product_attention`, which :mod:`torch.func` can transform as well.

    The kernels behind it have no rules for forward-mode differentiation, nor for ``vmap`` with the gradient of a bias.
    Second derivatives of a model whose parameters are frozen need
    ``with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):`` around its call.

    Args:
        q: Tensor[N, heads, L, C].
        k, v: Tensor[N, heads, S, C].
        bias: is added to the logits, of a shape that extends to Tensor[N, heads, L, S].
        dropout_p: probability with which a weight becomes zero.
        scale: of the products, ``C ** -0.5`` by default.

    Returns:
        Tensor[N, heads, L, C].
    """
    learns_bias = _learns_bias(q, bias)
    if not learns_bias and not is_transformed():
        return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout_p, scale=scale)
    logits = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if bias is not None:
        in_place = learns_bias and not is_transformed() and logits.dtype == bias.dtype
        logits = logits.add_(bias) if in_place else logits + bias
    return F.dropout(logits.softmax(-1), dropout_p) @ v


def _learns_bias(q: Tensor, bias: Tensor | None) -> bool:
    """Whether no fused kernel is for this: on CPUs none gives a bias its gradient.

    What takes their place looks for rows of minus infinity, in several passes over the logits. A bias that is learned
    is finite.
    """
    if bias is None or is_recorded(q) or not torch.is_grad_enabled():
        return False
    # By autocast, the sum with a bias in float32 and the softmax are in float32 as well.
    is_precise = q.dtype == torch.float32 or torch.is_autocast_enabled("cpu")
    return q.device.type == "cpu" and is_precise and bias.requires_grad


def join_heads(x: Tensor) -> Tensor:
    """What attention gives for each head, as channels of the tokens.

    Args:
        x: Tensor[N, heads, L, C].

    Returns:
        Tensor[N, L, heads * C].
    """
    x = x.transpose(1, 2)
    if torch.compiler.is_exporting():
        # What an exporter puts in the place of attention gives its result in another order in memory, of which what
        # is a view here would be none.
        x = x.clone(memory_format=torch.contiguous_format)
    return x.flatten(2)


def attend_in_windows(
    x: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
    attend: Callable[[Tensor, Tensor | None], Tensor],
    layouts: ValueCache,
) -> Tensor:
    """Lets tokens attend to those of their window, after a cyclic shift of the map.

    Maps whose sizes are no multiples of the window's are padded with zeros, which take part as tokens. A map of one
    window in some dimension is not shifted in that dimension. What the shift brings into one window though it was not
    adjacent before is masked, as in figure 4 of the Swin paper.

    Args:
        x: ``Tensor[N, *sizes, C]``.
        window: size of a window in each dimension.
        shift: of the map in each dimension, less than the window's size.
        attend: takes the W windows of L tokens of each map, Tensor[N * W, L, C], and what is to be added to the logits,
            Tensor[N * W, 1, L, L] or ``None``; returns Tensor[N * W, L, D].
        layouts: keeps what the sizes of the last map determine. It belongs to ``window`` and ``shift``.

    Returns:
        ``Tensor[N, *sizes, D]``.
    """
    if is_stand_in(x):
        to_windows, to_map, any_mask = _any_window_layout(x, tuple(window), tuple(shift))
        masks = [any_mask] if any(shift) else []
    else:
        # The type of x tells a fake tensor, which cannot meet a real one.
        key = (*x.shape[1:-1], x.dtype, x.device, type(x))
        to_windows, to_map, *masks = layouts.get(lambda: _window_layout(x, window, shift), (), key=key)
    windows = _tokens_of_windows(x, to_windows, tuple(window))
    mask = _mask_of_windows(masks[0], x) if masks else None
    return _tokens_of_map(attend(windows, mask), to_map, x, tuple(window))


@one_node
def _tokens_of_windows(x: Tensor, to_windows: Tensor, window: Sequence[int]) -> Tensor:
    """``Tensor[N, *sizes, C]`` -> Tensor[N * W, L, C], in the order of a layout."""
    batch, *sizes, channels = x.shape
    padded = _padded(sizes, window)
    length, tokens = math.prod(window), math.prod(padded)
    x = pad_to(x, padded).reshape(batch, tokens, channels).index_select(1, to_windows)
    # By way of two dimensions: nothing compares the number of windows with that of maps then.
    return x.view(batch * tokens, channels).view(batch * (tokens // length), length, channels)


@one_node
def _mask_of_windows(mask: Tensor, x: Tensor) -> Tensor:
    """The mask of one map's windows, Tensor[W * L, L], for all maps of x: Tensor[N * W, 1, L, L]."""
    length = mask.shape[1]
    if not is_recorded(x) and x.shape[0] == 1:
        return mask.view(-1, 1, length, length)
    return mask.repeat(x.shape[0], 1).view(x.shape[0] * (mask.shape[0] // length), 1, length, length)


@one_node
def _tokens_of_map(windows: Tensor, to_map: Tensor, x: Tensor, window: Sequence[int]) -> Tensor:
    """Tensor[N * W, L, D] -> ``Tensor[N, *sizes, D]``, as x has them, in the order of a layout."""
    batch, *sizes, _ = x.shape
    tokens, channels = math.prod(_padded(sizes, window)), windows.shape[-1]
    windows = windows.reshape(batch * tokens, channels).view(batch, tokens, channels)
    return windows.index_select(1, to_map).unflatten(1, sizes)


def _padded(sizes: Sequence[int], window: Sequence[int]) -> list[int]:
    """The sizes rounded up to multiples of the window's."""
    return [(size + side - 1) // side * side for size, side in zip(sizes, window, strict=True)]


@one_node
def _any_window_layout(x: Tensor, window: Sequence[int], shift: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`_window_layout` with a mask of zeros where nothing needs to be masked: always three tensors."""
    to_windows, to_map, *masks = _window_layout(x, window, shift)
    return to_windows, to_map, masks[0] if masks else x.new_zeros(len(to_windows), math.prod(window))


def _window_layout(x: Tensor, window: Sequence[int], shift: Sequence[int]) -> tuple[Tensor, ...]:
    """Where tokens are in windows, and where they were in the map.

    Four tokens in windows of two, after a shift by one: the windows are 1 2 and 3 0, of which the second has joined the
    ends of the map, which must not meet.

    >>> to_windows, to_map, mask = _window_layout(torch.zeros(1, 4, 1), window=(2,), shift=(1,))
    >>> to_windows, to_map
    (tensor([1, 2, 3, 0]), tensor([3, 0, 1, 2]))
    >>> mask.view(2, 2, 2)[1]
    tensor([[   0., -100.],
            [-100.,    0.]])

    No number of windows is the size of a dimension here: of a size that may be 1, an exported program could not stay
    dynamic.

    Args:
        x: a map, ``Tensor[N, *sizes, C]``, of which only sizes, dtype and device matter.
        window: size of a window in each dimension.
        shift: of the map in each dimension.

    Returns:
        Three tensors, the last only if there is a shift. For each token of the windows, its position in the padded map.
        For each position of the map before padding, its token in the windows. For each token of the windows (row) and
        each token of its window (column): 0, or -100 where they may not meet.
    """
    sizes, dtype, device = x.shape[1:-1], x.dtype, x.device
    padded = _padded(sizes, window)
    steps = [
        0 if step == 0 else smaller(step, size - side) for step, size, side in zip(shift, padded, window, strict=True)
    ]
    length = math.prod(window)
    token = torch.arange(math.prod(padded), device=device)
    position = torch.arange(math.prod(sizes), device=device)
    window_index, within = token // length, token % length
    to_windows, to_map, region = torch.zeros_like(token), torch.zeros_like(position), torch.zeros_like(token)
    map_stride = window_stride = token_stride = 1
    for size, padded_size, side, step in reversed(list(zip(sizes, padded, window, steps, strict=True))):
        count = padded_size // side
        shifted = window_index % count * side + within % side
        window_index, within = window_index // count, within // side
        to_windows += (shifted + step) % padded_size * map_stride
        # The last window holds two regions if it is shifted, which other windows have no part of.
        region = region * 3 + (shifted >= padded_size - side).long() + (shifted >= padded_size - step).long()

        shifted = (position % size - step) % padded_size
        position = position // size
        to_map += shifted // side * (window_stride * length) + shifted % side * token_stride
        map_stride, window_stride, token_stride = map_stride * padded_size, window_stride * count, token_stride * side
    if all(map(_is_zero, steps)):
        return to_windows, to_map
    same_window = (token - token % length)[:, None] + torch.arange(length, device=device)
    apart = region[:, None] != region[same_window]
    return to_windows, to_map, torch.zeros(apart.shape, dtype=dtype, device=device).masked_fill(apart, _MASKED)


@one_node
def pad_to(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Adds zeros at the end of each dimension of a map, up to the given sizes.

    Args:
        x: ``Tensor[..., *old sizes, C]``.
        sizes: none is less than the old one.

    Returns:
        ``Tensor[..., *sizes, C]``; ``x`` itself where nothing is to be added.
    """
    padding = [after - before for before, after in zip(x.shape[-1 - len(sizes) : -1], sizes, strict=True)]
    if all(map(_is_zero, padding)):
        return x
    return F.pad(
        x, (0, 0, *(amount for pair in zip([0] * len(padding), padding[::-1], strict=True) for amount in pair))
    )


def _is_zero(size: int) -> bool:
    """Whether a size is zero. Of a size that stays symbolic in an exported program that isn't asked."""
    return not torch.compiler.is_dynamo_compiling() and isinstance(size, int) and size == 0
