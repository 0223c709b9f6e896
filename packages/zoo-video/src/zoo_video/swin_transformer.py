"""Video Swin Transformer.

`Video Swin Transformer <https://arxiv.org/abs/2106.13230>`__

Shapes: ``N`` videos, ``T`` frames, ``H`` x ``W`` pixels; ``C`` channels, which come last in maps of tokens, ``[N, T, H,
W, C]``. A token is a patch of 2 x 4 x 4 pixels at first, and each merging halves ``H`` and ``W`` and doubles ``C``.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.attention import (
    dot_product_attention,
    join_heads,
    pad_to,
    relative_position_bias,
    relative_position_index,
)
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, channels_first
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.swin import PatchMerging, SwinTransformerBlock
from zoo_core.tracing import is_stand_in, one_node
from zoo_core.value_cache import ValueCache
from zoo_core.weights import WeightsEnum
from zoo_video.inputs import check_video

__all__ = [
    "Swin3D_B_Weights", "Swin3D_S_Weights", "Swin3D_T_Weights", "SwinTransformer3d", "swin3d_b", "swin3d_s",
    "swin3d_t",
]  # fmt: skip


class SwinTransformer3d(nn.Module):
    """Swin Transformer for videos, section 3.4 of the paper.

    Args:
        patch_size: frames, height and width of a patch.
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: number of blocks in each stage.
        num_heads: number of attention heads in each stage.
        window_size: frames, height and width of a window.
        mlp_ratio: an MLP has ``mlp_ratio`` times as many channels between its layers.
        dropout: dropout probability after the patches' embedding, attention and each layer of an
            MLP.
        attention_dropout: dropout probability of the attention weights.
        stochastic_depth_prob: probability of dropping a branch of the last block, for a sample in training; it grows
            linearly from 0 at the first block.
        num_classes: number of classes.
        norm_layer: builds the normalisation for a number of channels; layer normalisation by default.
        block: builds a block, :class:`~zoo_core.swin.SwinTransformerBlock` by default; gets ``attn_layer=``
            :class:`ShiftedWindowAttention3d` if it takes that argument and has no value for it from a ``partial``.
        downsample_layer: makes what comes between stages.
        patch_embed: builds the embedding of patches; :class:`PatchEmbed3d` by default.

    Shape:
        Tensor[N, 3, T, H, W] -> Tensor[N, num_classes]; any T, H and W.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: Sequence[int],
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.1,
        num_classes: int = 400,
        norm_layer: Callable[..., nn.Module] | None = None,
        block: Callable[..., nn.Module] | None = None,
        downsample_layer: Callable[..., nn.Module] = PatchMerging,
        patch_embed: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths and num_heads must have an element for each stage, not {depths} and {num_heads}")
        self.num_classes = num_classes
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-5)
        block = block or SwinTransformerBlock
        attention = {"attn_layer": ShiftedWindowAttention3d} if _asks_for_attention(block) else {}
        self.patch_embed = (patch_embed or PatchEmbed3d)(
            patch_size=patch_size, embed_dim=embed_dim, norm_layer=norm_layer
        )
        self.pos_drop = nn.Dropout(dropout)
        stages: list[nn.Module] = []
        dim = embed_dim
        blocks_before, last_block = 0, max(sum(depths) - 1, 1)
        for stage, depth in enumerate(depths):
            if stage > 0:
                stages.append(downsample_layer(dim, norm_layer))
                dim *= 2
            stages.append(
                nn.Sequential(
                    *(
                        block(
                            dim,
                            num_heads[stage],
                            window_size=list(window_size),
                            shift_size=[0 if i % 2 == 0 else side // 2 for side in window_size],
                            mlp_ratio=mlp_ratio,
                            dropout=dropout,
                            attention_dropout=attention_dropout,
                            stochastic_depth_prob=stochastic_depth_prob * (blocks_before + i) / last_block,
                            norm_layer=norm_layer,
                            **attention,
                        )
                        for i in range(depth)
                    )
                )
            )
            blocks_before += depth
        self.features = nn.Sequential(*stages)
        self.num_features = dim
        self.norm = norm_layer(dim)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.head = nn.Linear(dim, num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Sets one module's own parameters as the authors do."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        # Stages and mergings alternate; the normalisation is part of the last stage.
        stages = [*(f"features.{index}" for index in range(0, len(self.features) - 1, 2)), "norm"]
        forms = dict.fromkeys((SwinTransformerBlock, PatchMerging, nn.LayerNorm), channels_first)
        return FeatureLayers(stages, head="head", forms=forms, input_size=(16, 224, 224))

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_video(x, model="SwinTransformer3d")
        x = self.norm(self.features(self.pos_drop(self.patch_embed(x))))
        return self.head(self.avgpool(x.permute(0, 4, 1, 2, 3)).flatten(1))


def _asks_for_attention(block: Callable[..., nn.Module]) -> bool:
    """Whether a user's block takes the attention from the model: images' blocks have another one by default."""
    if isinstance(block, partial):
        return "attn_layer" not in block.keywords and _asks_for_attention(block.func)
    parameters = inspect.signature(block).parameters
    return "attn_layer" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class ShiftedWindowAttention3d(nn.Module):
    """Multi-head attention inside windows over time and space, with a learnt bias for each relative position: sections
    3.2 and 3.3 of the paper.

    A window that is larger than the map in some dimension is cut to it, and not shifted there.

    Args:
        dim: channels.
        window_size: frames, height and width of a window.
        shift_size: shift of the windows along time, height and width.
        num_heads: number of attention heads.
        qkv_bias: give the projections to queries, keys and values a bias.
        proj_bias: give the last projection a bias.
        attention_dropout: dropout probability of the attention weights.
        dropout: dropout probability of the output.

    Shape:
        Tensor[N, T, H, W, dim] -> Tensor[N, T, H, W, dim]; any T, H and W.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int],
        shift_size: Sequence[int],
        num_heads: int,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(window_size) != 3 or len(shift_size) != 3:
            raise ValueError(
                "window_size and shift_size must be of length 3 (time, height, width), not "
                f"{window_size} and {shift_size}"
            )
        if dim % num_heads != 0:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.window_size = list(window_size)
        self.shift_size = list(shift_size)
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        table = torch.empty(math.prod(2 * size - 1 for size in window_size), num_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index(window_size))
        self._order_cache = ValueCache()

    def get_relative_position_bias(self, window_size: Sequence[int] | None = None) -> Tensor:
        """What is added to the logits of each query (row) and key (column): Tensor[1, heads, L, L] for L tokens.

        Args:
            window_size: the window after it was cut to the map; that of the module by default. As in the published
                models, its tokens have the numbers of the whole window's first ones.
        """
        window = self.window_size if window_size is None else window_size
        return _position_bias_of_first(self.relative_position_bias_table, self.relative_position_index, window)

    def forward(self, x: Tensor) -> Tensor:
        window, shift = _fit(x, self.window_size, self.shift_size)
        if is_stand_in(x):
            to_windows, to_map = _orders(x, window, shift)
        else:
            # The type of x tells a fake tensor, which cannot meet a real one.
            to_windows, to_map = self._order_cache.get(
                lambda: _orders(x, window, shift), (), key=(*x.shape[1:-1], x.device, type(x))
            )
        windows = _tokens_of_windows(x, to_windows, window)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        bias = self.get_relative_position_bias(window).to(v.dtype)
        dropout = self.attention_dropout if self.training else 0.0
        tokens = self.proj(_attend_by_groups(q, k, v, bias, x, window, shift, dropout))
        return F.dropout(_tokens_of_map(tokens, to_map, x), self.dropout, self.training)


@one_node
def _position_bias_of_first(table: Tensor, index: Tensor, window: Sequence[int]) -> Tensor:
    """The bias for as many of the first tokens as a window has."""
    length = math.prod(window)
    return relative_position_bias(table, index[:length, :length])


@one_node
def _fit(x: Tensor, window: Sequence[int], shift: Sequence[int]) -> tuple[list[int], list[int]]:
    """Window and shift in a map, ``Tensor[N, *sizes, C]``: cut to it, and not shifted where one window covers it."""
    sizes = [int(size) for size in x.shape[1:-1]] if torch.jit.is_tracing() else x.shape[1:-1]
    cut = [min(side, size) for side, size in zip(window, sizes, strict=True)]
    return cut, [step if side < size else 0 for step, side, size in zip(shift, cut, sizes, strict=True)]


@one_node
def _orders(x: Tensor, window: Sequence[int], shift: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where the tokens of the windows are in the map, and the tokens of the map in the windows.

    Args:
        x: the map, ``Tensor[N, *sizes, C]``, of which only sizes and device matter.
        window: size of a window in each dimension.
        shift: of the windows in each dimension.

    Returns:
        Two int64 tensors. For each token of the windows, group by group, its number in the padded map; and for each
        token of the map without its padding, its number among those of the windows.
    """
    sizes, padded, device = x.shape[1:-1], _padded(x, window), x.device
    numbers = torch.arange(math.prod(padded), device=device)
    counts = [size // side for size, side in zip(padded, window, strict=True)]
    shifted = numbers.view(*padded).roll([-step for step in shift], (0, 1, 2))
    windows = shifted.view(counts[0], window[0], counts[1], window[1], counts[2], window[2]).permute(0, 2, 4, 1, 3, 5)
    groups = [windows]
    for dim, step in enumerate(shift):
        if step:
            groups = [part for group in groups for part in group.split((counts[dim] - 1, 1), dim)]
    place = torch.cat([group.flatten() for group in groups])
    home = torch.empty_like(place).scatter(0, place, numbers).view(*padded)
    return place, home[tuple(slice(size) for size in sizes)].flatten()


def _padded(x: Tensor, window: Sequence[int]) -> list[int]:
    """The sizes of a map, ``Tensor[N, *sizes, C]``, rounded up to multiples of the window's."""
    return [(size + side - 1) // side * side for size, side in zip(x.shape[1:-1], window, strict=True)]


@one_node
def _tokens_of_windows(x: Tensor, to_windows: Tensor, window: Sequence[int]) -> Tensor:
    """``Tensor[N, *sizes, C]`` -> Tensor[W * N, L, C]: the windows of one group lie together, those of all samples."""
    padded, length = _padded(x, window), math.prod(window)
    sample = torch.arange(x.shape[0], device=x.device)[:, None]
    place = to_windows.view(-1, 1, length) + sample * math.prod(padded)
    return pad_to(x, padded).reshape(-1, x.shape[-1]).index_select(0, place.flatten()).view(-1, length, x.shape[-1])


@one_node
def _attend_by_groups(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    x: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
    dropout: float,
) -> Tensor:
    """Attention inside windows, with one mask for each group of them.

    Args:
        q, k, v: Tensor[W * N, heads, L, C], in the order of :func:`_tokens_of_windows`.
        bias: to be added to the logits of all, Tensor[1, heads, L, L].
        x: the map, ``Tensor[N, *sizes, D]``, of which only the sizes matter.
        window: size of a window in each dimension.
        shift: of the windows in each dimension.
        dropout: dropout probability of the attention weights.

    Returns:
        Tensor[W * N, L, heads * C].
    """
    batch = x.shape[0]
    attended = []
    first = 0
    for cut, count in _groups(_padded(x, window), window, shift):
        query, key, value = [part.narrow(0, first * batch, count * batch) for part in (q, k, v)]
        logits = bias + _mask(window, cut, v.dtype, v.device) if any(cut) else bias
        attended.append(dot_product_attention(query, key, value, logits, dropout_p=dropout).transpose(1, 2))
        first += count
    # By way of cat, which copies, tokens come to lie together.
    tokens = attended[0] if len(attended) == 1 else torch.cat(attended)
    return join_heads(tokens.transpose(1, 2))


def _groups(sizes: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> list[tuple[list[int], int]]:
    """Which windows of a shifted map need the same mask.

    A shift brings tokens from the one end of the map to the other end, into the last windows of that dimension. Six
    tokens in windows of two, shifted by one: 1 2, 3 4, and 5 0, which is cut between the two.

    >>> _groups(sizes=[6], window=[2], shift=[1])
    [([0], 2), ([1], 1)]

    Returns:
        For each group in the order that :func:`_orders` gives them: where the windows are cut in two in each dimension
        (0 where they are not), and the number of windows.
    """
    options = []
    for size, side, step in zip(sizes, window, shift, strict=True):
        count = size // side
        options.append([(0, count)] if step == 0 else [(0, count - 1), (side - step, 1)])
    return [
        ([cut for cut, _ in group], math.prod([count for _, count in group])) for group in itertools.product(*options)
    ]


def _mask(window: Sequence[int], cut: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Keeps apart the parts of a window that is cut in two in some dimensions: figure 4 of Swin's paper.

    >>> _mask(window=[3], cut=[1], dtype=torch.float32, device=torch.device("cpu"))
    tensor([[   0., -100., -100.],
            [-100.,    0.,    0.],
            [-100.,    0.,    0.]])

    Returns:
        Tensor[L, L] to be added to the logits: 0 where query and key may meet, else -100.
    """
    part = torch.zeros((), dtype=torch.int64, device=device)
    for side, position in zip(window, cut, strict=True):
        part = part[..., None] * 2 + (torch.arange(side, device=device) >= (position or side)).to(torch.int64)
    part = part.flatten()
    return torch.zeros(1, dtype=dtype, device=device).where(part[:, None] == part, _MASKED)


# What separates regions that a shift has brought into one window. Finite, as in the published models.
_MASKED = -100.0


@one_node
def _tokens_of_map(tokens: Tensor, to_map: Tensor, x: Tensor) -> Tensor:
    """Tensor[W * N, L, C] -> ``Tensor[N, *sizes, C]``, as x has them."""
    batch, length, channels = x.shape[0], tokens.shape[1], tokens.shape[2]
    sample = torch.arange(batch, device=x.device)[:, None]
    home = (to_map // length * batch + sample) * length + to_map % length
    return tokens.reshape(-1, channels).index_select(0, home.flatten()).view(*x.shape[:-1], channels)


class PatchEmbed3d(nn.Module):
    """A linear layer over each patch, and a normalisation.

    Args:
        patch_size: frames, height and width of a patch.
        in_channels: channels of the video.
        embed_dim: channels of the output.
        norm_layer: builds the normalisation for a number of channels; ``None`` for none.

    Shape:
        Tensor[N, in_channels, T, H, W] -> Tensor[N, T', H', W', embed_dim], with as many patches as cover the video
        after padding with zeros.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        in_channels: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.patch_size = (patch_size[0], patch_size[1], patch_size[2])
        self.proj = nn.Conv3d(in_channels, embed_dim, kernel_size=self.patch_size, stride=self.patch_size)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_to_patches(x, self.patch_size)
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


@one_node
def _pad_to_patches(x: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Adds zeros at the end of Tensor[N, C, T, H, W], so that patches cover it."""
    time, height, width = [-size % side for size, side in zip(x.shape[2:], patch_size, strict=True)]
    if torch.jit.is_tracing() or time or height or width:
        x = F.pad(x, (0, width, 0, height, 0, time))
    return x


class Swin3D_T_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


class Swin3D_S_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


class Swin3D_B_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    KINETICS400_IMAGENET22K_V1 = auto()
    DEFAULT = KINETICS400_V1


@register_model
def swin3d_t(*, weights: Swin3D_T_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer3d:
    """Video Swin-T, from `Video Swin Transformer <https://arxiv.org/abs/2106.13230>`__."""
    return build(
        SwinTransformer3d,
        weights,
        progress,
        patch_size=(2, 4, 4),
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=(8, 7, 7),
        **kwargs,
    )


@register_model
def swin3d_s(*, weights: Swin3D_S_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer3d:
    """Video Swin-S, from `Video Swin Transformer <https://arxiv.org/abs/2106.13230>`__."""
    return build(
        SwinTransformer3d,
        weights,
        progress,
        patch_size=(2, 4, 4),
        embed_dim=96,
        depths=(2, 2, 18, 2),
        num_heads=(3, 6, 12, 24),
        window_size=(8, 7, 7),
        **kwargs,
    )


@register_model
def swin3d_b(*, weights: Swin3D_B_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer3d:
    """Video Swin-B, from `Video Swin Transformer <https://arxiv.org/abs/2106.13230>`__."""
    return build(
        SwinTransformer3d,
        weights,
        progress,
        patch_size=(2, 4, 4),
        embed_dim=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=(8, 7, 7),
        **kwargs,
    )
