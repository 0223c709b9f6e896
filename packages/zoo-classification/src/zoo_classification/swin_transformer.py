"""Swin Transformer, versions 1 and 2.

- `Swin Transformer: Hierarchical Vision Transformer using Shifted Windows <https://arxiv.org/abs/2103.14030>`__
- `Swin Transformer V2: Scaling Up Capacity and Resolution <https://arxiv.org/abs/2111.09883>`__

Shapes: ``N`` images; ``H`` and ``W`` height and width, of the image in pixels, of a map in tokens; ``C`` channels,
which come last in maps, ``[N, H, W, C]``. A token is a patch of 4 x 4 pixels at first, and each merging halves ``H``
and ``W`` and doubles ``C``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core import swin
from zoo_core.attention import (
    attend_in_windows,
    dot_product_attention,
    join_heads,
    relative_position_bias,
    relative_position_index,
    resized_bias_table,
)
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, channels_first
from zoo_core.fused import FusedLinear, linear
from zoo_core.image_size import checked_size, replace_parameter
from zoo_core.inputs import explains_failures
from zoo_core.layers import Permute
from zoo_core.registry import register_model
from zoo_core.swin import PatchMerging, join_neighbours
from zoo_core.tracing import is_plain, is_stand_in, one_node
from zoo_core.value_cache import ValueCache
from zoo_core.weights import WeightsEnum

__all__ = [
    "SwinTransformer", "Swin_B_Weights", "Swin_S_Weights", "Swin_T_Weights", "Swin_V2_B_Weights", "Swin_V2_S_Weights",
    "Swin_V2_T_Weights", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t",
]  # fmt: skip


class SwinTransformer(nn.Module):
    """Swin Transformer of version 1 or 2, table 7 of the first paper.

    Args:
        patch_size: height and width of a patch.
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: number of blocks in each stage.
        num_heads: number of attention heads in each stage.
        window_size: height and width of a window.
        mlp_ratio: an MLP has ``mlp_ratio`` times as many channels between its layers.
        dropout: dropout probability after attention and each layer of an MLP.
        attention_dropout: dropout probability of the attention weights.
        stochastic_depth_prob: probability of dropping a branch of the last block, for a sample in training; it grows
            linearly from 0 at the first block.
        num_classes: number of classes.
        norm_layer: builds the normalisation for a number of channels; layer normalisation by default.
        block: builds a block; :class:`SwinTransformerBlock` by default, :class:`SwinTransformerBlockV2` for version 2.
        downsample_layer: makes what comes between stages: :class:`PatchMerging`, or :class:`PatchMergingV2`.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W of at least a patch.

    Raises:
        ValueError: the image is smaller than a patch.
    """

    def __init__(
        self,
        patch_size: list[int],
        embed_dim: int,
        depths: list[int],
        num_heads: list[int],
        window_size: list[int],
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.1,
        num_classes: int = 1000,
        norm_layer: Callable[..., nn.Module] | None = None,
        block: Callable[..., nn.Module] | None = None,
        downsample_layer: Callable[..., nn.Module] = PatchMerging,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths and num_heads must have an element for each stage, not {depths} and {num_heads}")
        self.num_classes = num_classes
        self.patch_size = (patch_size[0], patch_size[1])
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-5)
        block = block or SwinTransformerBlock
        stages: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(3, embed_dim, kernel_size=self.patch_size, stride=self.patch_size),
                Permute([0, 2, 3, 1]),
                norm_layer(embed_dim),
            )
        ]
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
                            window_size=window_size,
                            shift_size=[0 if i % 2 == 0 else size // 2 for size in window_size],
                            mlp_ratio=mlp_ratio,
                            dropout=dropout,
                            attention_dropout=attention_dropout,
                            stochastic_depth_prob=stochastic_depth_prob * (blocks_before + i) / last_block,
                            norm_layer=norm_layer,
                        )
                        for i in range(depth)
                    )
                )
            )
            blocks_before += depth
        self.features = nn.Sequential(*stages)
        self.norm = norm_layer(dim)
        self.permute = Permute([0, 3, 1, 2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(dim, num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        # Stages and mergings alternate; the normalisation is part of the last stage.
        stages = [*(f"features.{index}" for index in range(1, len(self.features) - 1, 2)), "norm"]
        forms = dict.fromkeys((swin.SwinTransformerBlock, PatchMerging, PatchMergingV2, nn.LayerNorm), channels_first)
        return FeatureLayers(stages, head="head", forms=forms)

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=self.patch_size)
        x = self.norm(self.features(x))
        return self.head(self.flatten(self.avgpool(self.permute(x))))


def resize_windows(model: SwinTransformer, img_size: int | Sequence[int]) -> SwinTransformer:
    """Makes windows larger or smaller with the images, so that the last stage has one; see :mod:`zoo_core.image_size`.

    Args:
        model: is changed.
        img_size: height and width of the images, multiples of what the stages reduce them by, 32 in the published
            models.

    Returns:
        The model.

    Raises:
        ValueError: ``img_size`` is of no such multiples.
    """
    window = _window_for(img_size, model.patch_size, (len(model.features) - 2) // 2)
    for module in model.modules():
        if isinstance(module, ShiftedWindowAttention):
            module.resize_window(window)
    return model


def _window_for(img_size: int | Sequence[int], patch_size: Sequence[int], mergings: int) -> list[int]:
    """Height and width of the last stage's map."""
    step = max(patch_size) * 2**mergings
    return [side // step for side in checked_size(img_size, step, of="Swin Transformers")]


class ShiftedWindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learnt bias for each relative position: section 3.2 of the paper.

    In eval mode without gradients, the bias and the mask of the shift are computed once and kept.

    Args:
        dim: channels.
        window_size: height and width of a window.
        shift_size: shift of the windows along height and width.
        num_heads: number of attention heads.
        qkv_bias: give the projections to queries, keys and values a bias.
        proj_bias: give the last projection a bias.
        attention_dropout: dropout probability of the attention weights.
        dropout: dropout probability of the output.

    Shape:
        Tensor[N, H, W, dim] -> Tensor[N, H, W, dim]; any H and W.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        window_size: list[int],
        shift_size: list[int],
        num_heads: int,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(window_size) != 2 or len(shift_size) != 2:
            raise ValueError(
                f"window_size and shift_size must be of length 2 (height, width), not {window_size} and {shift_size}"
            )
        if dim % num_heads != 0:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.window_size = window_size
        self.shift_size = shift_size
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self._make_position_tensors()
        self._bias_cache = ValueCache()
        self._layouts = ValueCache()

    def _make_position_tensors(self) -> None:
        height, width = self.window_size
        table = torch.empty((2 * height - 1) * (2 * width - 1), self.num_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index(self.window_size).flatten())

    def resize_window(self, window: list[int]) -> None:
        """Makes the window another one, with the biases that :meth:`fit_positions` gives."""
        if window == list(self.window_size):
            return
        own = dict(self.named_parameters(recurse=False)) | dict(self.named_buffers(recurse=False))
        self.shift_size = [0 if step == 0 else side // 2 for step, side in zip(self.shift_size, window, strict=True)]
        self.window_size = window
        for name, value in self.fit_positions({name: tensor.detach() for name, tensor in own.items()}).items():
            if name in self._parameters:
                replace_parameter(self, name, value)
            else:
                self.register_buffer(name, value)
        self._bias_cache, self._layouts = ValueCache(), ValueCache()

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a state dict of such attention, the tensors that are others with windows of this size."""
        table = state["relative_position_bias_table"]
        fitted = resized_bias_table(table, self.window_size)
        if fitted is table:
            return {}
        return {
            "relative_position_bias_table": fitted,
            "relative_position_index": self._index_like(state["relative_position_index"]),
        }

    def _index_like(self, index: Tensor) -> Tensor:
        with torch.device("cpu"):  # also where the module itself is without storage
            return relative_position_index(self.window_size).flatten().to(index.device)

    def _position_parameters(self) -> list[Tensor]:
        """What the position bias is computed from."""
        return [self.relative_position_bias_table, self.relative_position_index]

    def _position_bias(self) -> Tensor:
        return relative_position_bias(self.relative_position_bias_table, self.relative_position_index)

    def get_relative_position_bias(self) -> Tensor:
        """What is added to the logits of each query (row) and key (column): Tensor[1, heads, L, L] for L tokens."""
        return self._bias_cache.get(self._position_bias, self._position_parameters(), training=self.training)

    def _project(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tensor[B, L, dim] -> queries, keys and values, Tensor[B, heads, L, dim / heads] each."""
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return q, k, v

    def _scale(self) -> float | None:
        """Factor of the logits; ``None`` for one over the root of a head's size."""
        return None

    def _attend(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self._project(windows)
        bias = self.get_relative_position_bias().to(v.dtype)
        if mask is not None:
            bias = bias + mask.to(v.dtype)
        dropout = self.attention_dropout if self.training else 0.0
        x = dot_product_attention(q, k, v, bias, dropout_p=dropout, scale=self._scale())
        return F.dropout(self.proj(join_heads(x)), self.dropout, self.training)

    def forward(self, x: Tensor) -> Tensor:
        return attend_in_windows(x, self.window_size, self.shift_size, self._attend, self._layouts)


class SwinTransformerBlock(swin.SwinTransformerBlock):
    """:class:`zoo_core.swin.SwinTransformerBlock` over images.

    Args:
        dim, num_heads, window_size, shift_size: see there, as for the other arguments.
        mlp_ratio, dropout, attention_dropout, stochastic_depth_prob, norm_layer: likewise.
        attn_layer: builds the attention.

    Shape:
        Tensor[N, H, W, dim] -> Tensor[N, H, W, dim]
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: list[int],
        shift_size: list[int],
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.0,
        norm_layer: Callable[..., nn.Module] = nn.LayerNorm,
        attn_layer: Callable[..., nn.Module] = ShiftedWindowAttention,
    ) -> None:
        super().__init__(
            dim,
            num_heads,
            window_size,
            shift_size,
            mlp_ratio,
            dropout,
            attention_dropout,
            stochastic_depth_prob,
            norm_layer,
            attn_layer=attn_layer,
        )


# Of the cosine of query and key in version 2.
_MAX_SCALE = 100.0


class PatchMergingV2(nn.Module):
    """:class:`PatchMerging` that normalises after halving the channels.

    Args:
        dim: channels C of the input.
        norm_layer: builds the normalisation for a number of channels.

    Shape:
        Tensor[..., H, W, C] -> Tensor[..., ceil(H / 2), ceil(W / 2), 2 * C]
    """

    def __init__(self, dim: int, norm_layer: Callable[..., nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(join_neighbours(x)))


class ShiftedWindowAttentionV2(ShiftedWindowAttention):
    """:class:`ShiftedWindowAttention` by the cosine of query and key, and with a bias that a network computes from the
    relative position in logarithmic scale: sections 3.3 and 3.4 of the paper.

    Args:
        dim: channels.
        window_size: height and width of a window.
        shift_size: shift of the windows along height and width.
        num_heads: number of attention heads.
        qkv_bias: give the projections to queries and values a bias. The part for keys is there, but not used.
        proj_bias: give the last projection a bias.
        attention_dropout: dropout probability of the attention weights.
        dropout: dropout probability of the output.

    Shape:
        Tensor[N, H, W, dim] -> Tensor[N, H, W, dim]; any H and W.
    """

    relative_coords_table: Tensor

    def __init__(
        self,
        dim: int,
        window_size: list[int],
        shift_size: list[int],
        num_heads: int,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, window_size, shift_size, num_heads, qkv_bias, proj_bias, attention_dropout, dropout)
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, num_heads, bias=False))

    def _make_position_tensors(self) -> None:
        self.logit_scale = nn.Parameter(nn.init.constant_(torch.empty(self.num_heads, 1, 1), math.log(10)))
        self.register_buffer("relative_coords_table", relative_coordinates(self.window_size))
        self.register_buffer("relative_position_index", relative_position_index(self.window_size).flatten())

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        table = state["relative_coords_table"]
        sides = [(length + 1) // 2 for length in table.shape[1:3]]
        if sides == list(self.window_size):
            return {}
        with torch.device("cpu"):
            # Of neighbours, in eighths of the window that it was trained with; see relative_coordinates().
            trained = table.cpu()
            y, x = min(sides[0], table.shape[1] - 1), min(sides[1], table.shape[2] - 1)
            nearest = (trained[0, y, sides[1] - 1, 0], trained[0, sides[0] - 1, x, 1])
            steps = [float(2 ** (step.double() * math.log2(8)) - 1) for step in nearest]
            fitted = _logarithmic([torch.arange(1 - w, w) * s for w, s in zip(self.window_size, steps, strict=True)])
        return {
            "relative_coords_table": fitted.to(table),
            "relative_position_index": self._index_like(state["relative_position_index"]),
        }

    def _position_parameters(self) -> list[Tensor]:
        return [*self.cpb_mlp.parameters(), self.relative_coords_table, self.relative_position_index]

    def _position_bias(self) -> Tensor:
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        return 16 * torch.sigmoid(relative_position_bias(table, self.relative_position_index))

    def _project(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given: Tensor | None = getattr(self.qkv, "bias", None)
        bias = None if given is None else _without_keys(given)
        if is_plain(self.qkv, nn.Linear):
            qkv = None
            if isinstance(self.qkv, FusedLinear) and not torch.compiler.is_compiling() and not is_stand_in(windows):
                qkv = linear(windows, self.qkv.weight, bias, self.qkv.packed)
            if qkv is None:
                qkv = F.linear(windows, self.qkv.weight, bias)
        else:  # which may do more than multiply: its bias for keys is taken back
            qkv = self.qkv(windows)
            if given is not None and bias is not None:
                qkv = qkv + (bias - given)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        norm = _norm_over_channels(qk)
        scale = self.logit_scale.clamp(max=math.log(_MAX_SCALE)).exp().view(self.num_heads, 1)
        qk = qk * (torch.stack((scale, torch.ones_like(scale))) / norm)
        q, k = qk.permute(2, 0, 3, 1, 4).unbind()
        return q, k, v.transpose(1, 2)

    def _scale(self) -> float | None:
        return 1.0


def relative_coordinates(window: list[int]) -> Tensor:
    """Offsets between tokens of a window, in eighths of the window and in logarithmic scale: equation 4 of the paper.

    In a window of three rows they are -8, -4, 0, 4 and 8 eighths: log2(8 + 1) / log2(8) = 1.06, log2(4 + 1) / 3 = 0.77.

    >>> relative_coordinates([3, 1])[0, :, 0, 0]
    tensor([-1.0566, -0.7740,  0.0000,  0.7740,  1.0566])

    Args:
        window: height and width in tokens.

    Returns:
        Tensor[1, 2 * height - 1, 2 * width - 1, 2], in units of log(8).
    """
    axes = [torch.arange(1 - size, size, device="cpu") / max(size - 1, 1) * 8 for size in window]
    return _logarithmic(axes).to(torch.get_default_device())


def _logarithmic(axes: Sequence[Tensor]) -> Tensor:
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).unsqueeze(0)
    return torch.sign(offsets) * torch.log2(offsets.abs() + 1) / math.log2(8)


@one_node
def _without_keys(bias: Tensor) -> Tensor:
    """The bias of queries, keys and values, Tensor[3 * C], with zeros for keys.

    One node of a graph, so that tools that quantize the graph leave a layer's bias alone.
    """
    query, key, value = bias.chunk(3)
    return torch.cat((query, torch.zeros_like(key), value))


@one_node
def _norm_over_channels(x: Tensor) -> Tensor:
    """The norm of each vector in the last dimension, kept as one, or the least that vectors may be divided by."""
    # The largest scale over the least norm must be finite in half precision, too.
    least = max(1e-12, 2 * _MAX_SCALE / torch.finfo(x.dtype).max)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(least)


class SwinTransformerBlockV2(SwinTransformerBlock):
    """:class:`SwinTransformerBlock` that normalises after attention and after the MLP: section 3.2 of the paper.

    Args:
        dim, num_heads, window_size, shift_size: see :class:`SwinTransformerBlock`, as for the other arguments.
        mlp_ratio, dropout, attention_dropout, stochastic_depth_prob, norm_layer, attn_layer: likewise.

    Shape:
        Tensor[N, H, W, dim] -> Tensor[N, H, W, dim]
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: list[int],
        shift_size: list[int],
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.0,
        norm_layer: Callable[..., nn.Module] = nn.LayerNorm,
        attn_layer: Callable[..., nn.Module] = ShiftedWindowAttentionV2,
    ) -> None:
        super().__init__(
            dim,
            num_heads,
            window_size,
            shift_size,
            mlp_ratio,
            dropout,
            attention_dropout,
            stochastic_depth_prob,
            norm_layer,
            attn_layer,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.stochastic_depth(self.norm1(self.attn(x)))
        return x + self.stochastic_depth(self.norm2(self.mlp(x)))


class Swin_T_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Swin_S_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Swin_B_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Swin_V2_T_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Swin_V2_S_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Swin_V2_B_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


def _swin(
    weights: WeightsEnum | None, progress: bool, *, img_size: int | Sequence[int] | None = None, **kwargs: Any
) -> SwinTransformer:
    if img_size is None:
        return build(SwinTransformer, weights, progress, **kwargs)
    if weights is None:
        kwargs["window_size"] = _window_for(img_size, kwargs["patch_size"], len(kwargs["depths"]) - 1)
        return build(SwinTransformer, weights, progress, **kwargs)
    return resize_windows(build(SwinTransformer, weights, progress, **kwargs), img_size)


@register_model
def swin_t(*, weights: Swin_T_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """Swin-T, from `Swin Transformer: Hierarchical Vision Transformer using Shifted Windows
    <https://arxiv.org/abs/2103.14030>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.2)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=[7, 7],
        **kwargs,
    )


@register_model
def swin_s(*, weights: Swin_S_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """Swin-S, from `Swin Transformer: Hierarchical Vision Transformer using Shifted Windows
    <https://arxiv.org/abs/2103.14030>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.3)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=96,
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        window_size=[7, 7],
        **kwargs,
    )


@register_model
def swin_b(*, weights: Swin_B_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """Swin-B, from `Swin Transformer: Hierarchical Vision Transformer using Shifted Windows
    <https://arxiv.org/abs/2103.14030>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.5)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=[7, 7],
        **kwargs,
    )


@register_model
def swin_v2_t(*, weights: Swin_V2_T_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """SwinV2-T, from `Swin Transformer V2: Scaling Up Capacity and Resolution <https://arxiv.org/abs/2111.09883>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.2)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=[8, 8],
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
        **kwargs,
    )


@register_model
def swin_v2_s(*, weights: Swin_V2_S_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """SwinV2-S, from `Swin Transformer V2: Scaling Up Capacity and Resolution <https://arxiv.org/abs/2111.09883>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.3)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=96,
        depths=[2, 2, 18, 2],
        num_heads=[3, 6, 12, 24],
        window_size=[8, 8],
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
        **kwargs,
    )


@register_model
def swin_v2_b(*, weights: Swin_V2_B_Weights | None = None, progress: bool = True, **kwargs: Any) -> SwinTransformer:
    """SwinV2-B, from `Swin Transformer V2: Scaling Up Capacity and Resolution <https://arxiv.org/abs/2111.09883>`__.

    Takes images of any size. ``img_size=`` makes the windows larger or smaller with them: see
    :mod:`zoo_core.image_size`.
    """
    kwargs.setdefault("stochastic_depth_prob", 0.5)
    return _swin(
        weights,
        progress,
        patch_size=[4, 4],
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=[8, 8],
        block=SwinTransformerBlockV2,
        downsample_layer=PatchMergingV2,
        **kwargs,
    )
