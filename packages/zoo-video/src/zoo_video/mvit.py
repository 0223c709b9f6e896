"""Multiscale Vision Transformers (MViT), versions 1 and 2.

- `Multiscale Vision Transformers <https://arxiv.org/abs/2104.11227>`__
- `MViTv2: Improved Multiscale Vision Transformers for Classification and Detection
  <https://arxiv.org/abs/2112.01526>`__

Shapes: ``N`` videos; ``T``, ``H`` and ``W`` sizes of a map of tokens; ``L`` = T * H * W; ``C``
channels. Between blocks ``[N, 1 + L, C]``, the class token first; inside attention ``[N, 1 + L, heads, C]``. Pooling
makes L smaller; the sizes go from block to block beside the tokens.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import auto
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.attention import dot_product_attention, join_heads
from zoo_core.builders import build, set_from_weights
from zoo_core.features.declared import FeatureLayers, tokens_to_map
from zoo_core.image_size import checked_size, replace_parameter
from zoo_core.inputs import explains_failures
from zoo_core.layers import MLP, StochasticDepth
from zoo_core.registry import register_model
from zoo_core.tracing import is_plain, is_stand_in, one_node
from zoo_core.weights import WeightsEnum
from zoo_video.inputs import check_video, refusal

__all__ = ["MViT", "MViT_V1_B_Weights", "MViT_V2_S_Weights", "mvit_v1_b", "mvit_v2_s"]


class MViT(nn.Module):
    """Multiscale Vision Transformer, version 1 (tables 2 and 3 of the first paper) or 2 (section 4 of the second).

    Args:
        spatial_size: height and width of the frames.
        temporal_size: number of frames.
        block_setting: the blocks.
        residual_pool: add the pooled queries to what attention gives.
        residual_with_cls_embed: do so for the class token, too.
        rel_pos_embed: add to the logits what the query and the relative position say, in the place of adding positions
            to the tokens.
        proj_after_attn: change the number of channels in attention, and not in the MLP.
        dropout: dropout probability before the classifier.
        attention_dropout: dropout probability after attention and each layer of an MLP.
        stochastic_depth_prob: probability of dropping a branch of the last block, for a sample in training; it grows
            linearly from 0 at the first block.
        num_classes: number of classes.
        block: builds a block; :class:`MultiscaleBlock` by default.
        norm_layer: builds the normalisation for a number of channels; layer normalisation by default.
        patch_embed_kernel, patch_embed_stride, patch_embed_padding: of the convolution that makes the tokens, over
            frames, height and width.

    Shape:
        ``Tensor[N, 3, temporal_size, *spatial_size]`` -> Tensor[N, num_classes]

    Raises:
        ValueError: there are no blocks; or the videos are of another size.
    """

    def __init__(
        self,
        spatial_size: tuple[int, int],
        temporal_size: int,
        block_setting: "Sequence[MSBlockConfig]",
        residual_pool: bool,
        residual_with_cls_embed: bool,
        rel_pos_embed: bool,
        proj_after_attn: bool,
        dropout: float = 0.5,
        attention_dropout: float = 0.0,
        stochastic_depth_prob: float = 0.0,
        num_classes: int = 400,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        patch_embed_kernel: "Size" = (3, 7, 7),
        patch_embed_stride: "Size" = (2, 4, 4),
        patch_embed_padding: "Size" = (1, 3, 3),
    ) -> None:
        super().__init__()
        if not block_setting:
            raise ValueError("block_setting must have an element for each block, and is empty")
        block = block or MultiscaleBlock
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-6)
        self.input_size = (temporal_size, *spatial_size)
        self.patch_embedding = (patch_embed_kernel, patch_embed_stride, patch_embed_padding)
        self.conv_proj = nn.Conv3d(
            3,
            block_setting[0].input_channels,
            kernel_size=patch_embed_kernel,
            stride=patch_embed_stride,
            padding=patch_embed_padding,
        )
        self.token_size = self._tokens_of(self.input_size)
        self.pos_encoding = PositionalEncoding(
            block_setting[0].input_channels, self.token_size[1:], self.token_size[0], rel_pos_embed
        )
        size = self.token_size
        self._map_sizes: list[Size] = []  # behind each block
        self.blocks = nn.ModuleList()
        for index, setting in enumerate(block_setting):
            self.blocks.append(
                block(
                    input_size=size,
                    cnf=setting,
                    residual_pool=residual_pool,
                    residual_with_cls_embed=residual_with_cls_embed,
                    rel_pos_embed=rel_pos_embed,
                    proj_after_attn=proj_after_attn,
                    dropout=attention_dropout,
                    stochastic_depth_prob=stochastic_depth_prob * index / max(len(block_setting) - 1, 1),
                    norm_layer=norm_layer,
                )
            )
            size = _pooled_size(size, setting.kernel_q, setting.stride_q)
            self._map_sizes.append(size)
        self.norm = norm_layer(block_setting[-1].output_channels)
        self.head = nn.Sequential(
            nn.Dropout(dropout, inplace=True), nn.Linear(block_setting[-1].output_channels, num_classes)
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Sets one module's own parameters as the authors do."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, PositionalEncoding):
            for parameter in module.parameters():
                nn.init.trunc_normal_(parameter, std=0.02)

    def _tokens_of(self, size: Sequence[int]) -> "Size":
        """Size of the map of tokens for videos of so many frames, rows and columns."""
        kernel, stride, padding = self.patch_embedding
        return _triple(
            [
                (length + 2 * zeros - side) // step + 1
                for length, side, step, zeros in zip(size, kernel, stride, padding, strict=True)
            ]
        )

    def feature_layers(self) -> FeatureLayers:
        sizes = self._map_sizes
        last = len(sizes) - 1
        ends = [index for index in range(last) if sizes[index] != sizes[index + 1]] + [last]
        forms = {type(block): _map_of_tokens for block in self.blocks}
        stages = [f"blocks.{index}" for index in ends]
        return FeatureLayers(stages, head="head.1", forms=forms, input_size=self.input_size, fixed_size=True)

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_video(x, model="this MViT")
        if not (is_stand_in(x) or torch.jit.is_tracing()) and self._tokens_of(x.shape[2:]) != self.token_size:
            frames, height, width = self.input_size
            raise refusal(x, "this MViT", f"of {frames} frames of {height}x{width} pixels")
        x = self.pos_encoding(self.conv_proj(x).flatten(2).transpose(1, 2))
        size = self.token_size
        for block in self.blocks:
            x, size = block(x, size)
        if is_plain(self.norm, nn.LayerNorm) and not is_stand_in(x):
            return self.head(self.norm(x[:, 0]))  # which normalises each token by itself
        return self.head(self.norm(x)[:, 0])


def resize_frames(model: MViT, img_size: int | Sequence[int]) -> MViT:
    """Makes a trained model one for frames of another size; see :mod:`zoo_core.image_size`.

    Args:
        model: is changed.
        img_size: height and width of the frames, multiples of 32.

    Returns:
        The model.

    Raises:
        ValueError: ``img_size`` is of no such multiples.
    """
    height, width = checked_size(img_size, 32, of="MViT")
    if (height, width) == model.input_size[1:]:
        return model
    model.input_size = (model.input_size[0], height, width)
    size = model.token_size = model._tokens_of(model.input_size)
    model.pos_encoding.resize(size[1:])
    for index, block in enumerate(model.blocks):
        attention: Any = block.attn
        size = attention.resize(size)
        model._map_sizes[index] = size
    return model


@dataclass
class MSBlockConfig:
    """One block: a row of table 2 (b) of the first paper, or of table 6 of the second.

    Args:
        num_heads: number of attention heads.
        input_channels: channels of the input.
        output_channels: channels of the output.
        kernel_q, kernel_kv: size of the kernel that pools the queries, and the keys and values, over frames, height and
            width; empty for no pooling.
        stride_q, stride_kv: step of those kernels; empty for no pooling.
    """

    num_heads: int
    input_channels: int
    output_channels: int
    kernel_q: list[int]
    kernel_kv: list[int]
    stride_q: list[int]
    stride_kv: list[int]


# Frames, height and width of a map of tokens.
Size = tuple[int, int, int]


def _map_of_tokens(value: "tuple[Tensor, Size]") -> Tensor:
    """What a block gives -> the map of its tokens, Tensor[N, C, T, H, W]."""
    tokens, size = value
    return tokens_to_map(tokens, *size)


class MultiscaleBlock(nn.Module):
    """Pooling attention and MLP, each after a normalisation and with a shortcut: figure 3 of the first paper.

    Args:
        input_size: frames, height and width of the input's map of tokens.
        cnf: heads, channels and pooling.
        residual_pool, residual_with_cls_embed, rel_pos_embed: see :class:`MultiscaleAttention`.
        proj_after_attn: change the number of channels in attention, and not in the MLP.
        dropout: dropout probability after attention and each layer of the MLP.
        stochastic_depth_prob: probability of dropping attention, and the MLP, for a sample in training.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        cnf: MSBlockConfig,
        residual_pool: bool,
        residual_with_cls_embed: bool,
        rel_pos_embed: bool,
        proj_after_attn: bool,
        dropout: float = 0.0,
        stochastic_depth_prob: float = 0.0,
        norm_layer: Callable[..., nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.proj_after_attn = proj_after_attn
        self.pool_skip: Pool | None = None
        if math.prod(cnf.stride_q) > 1:
            kernel = [step + 1 if step > 1 else step for step in cnf.stride_q]
            padding = [side // 2 for side in kernel]
            self.pool_skip = Pool(nn.MaxPool3d(_triple(kernel), _triple(cnf.stride_q), _triple(padding)))
        attention_dim = cnf.output_channels if proj_after_attn else cnf.input_channels
        self.norm1 = norm_layer(cnf.input_channels)
        self.norm2 = norm_layer(attention_dim)
        self.attn = MultiscaleAttention(
            input_size,
            cnf.input_channels,
            attention_dim,
            cnf.num_heads,
            kernel_q=cnf.kernel_q,
            kernel_kv=cnf.kernel_kv,
            stride_q=cnf.stride_q,
            stride_kv=cnf.stride_kv,
            residual_pool=residual_pool,
            residual_with_cls_embed=residual_with_cls_embed,
            rel_pos_embed=rel_pos_embed,
            dropout=dropout,
            norm_layer=norm_layer,
        )
        self.mlp = MLP(
            attention_dim,
            [4 * attention_dim, cnf.output_channels],
            activation_layer=nn.GELU,
            dropout=dropout,
        )
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.project: nn.Linear | None = None
        if cnf.input_channels != cnf.output_channels:
            self.project = nn.Linear(cnf.input_channels, cnf.output_channels)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Computes tokens, and the size of their map.

        Args:
            x: Tensor[N, 1 + L, input_channels], the class token first.
            size: of the map of the L others.

        Returns:
            Tensor[N, 1 + L', output_channels], and the size of the map of its L' tokens.
        """
        normed = self.norm1(x)
        attended, new_size = self.attn(normed, size)
        shortcut = x if self.project is None or not self.proj_after_attn else self.project(normed)
        if self.pool_skip is not None:
            pooled, _ = self.pool_skip(shortcut.unsqueeze(2), size)
            shortcut = pooled.squeeze(2)
        x = shortcut + self.stochastic_depth(attended)

        normed = self.norm2(x)
        shortcut = x if self.project is None or self.proj_after_attn else self.project(normed)
        return shortcut + self.stochastic_depth(self.mlp(normed)), new_size


class Pool(nn.Module):
    """Pools a map of tokens, each attention head by itself. A class token beside them is only normalised.

    Args:
        pool: pools Tensor[N, C, T, H, W]: a depthwise convolution, or something without parameters.
        norm: normalises the tokens afterwards; ``None`` for nothing.
    """

    def __init__(self, pool: nn.Conv3d | nn.MaxPool3d, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.pool = pool
        self.norm_act = None if norm is None else nn.Sequential(norm)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Computes tokens, and the size of their map.

        Args:
            x: Tensor[N, 1 + L, heads, C], the class token first.
            size: of the map of the L others.

        Returns:
            Class token and tokens after pooling, Tensor[N, 1 + L', heads, C], and the size of the map of the latter.
        """
        tokens = x[:, 1:]
        heads, channels = x.shape[2], x.shape[3]
        conv: Any = self.pool
        if not is_stand_in(x) and heads > 1 and is_plain(conv, nn.Conv3d) and conv.padding_mode == "zeros":
            # Channels stay last in memory, for which depthwise convolution is fastest.
            maps = tokens.flatten(2).unflatten(1, size).permute(0, 4, 1, 2, 3)
            weight = conv.weight.repeat(heads, 1, 1, 1, 1)
            bias = None if conv.bias is None else conv.bias.repeat(heads)
            maps = F.conv3d(maps, weight, bias, conv.stride, conv.padding, conv.dilation, heads * conv.groups)
            tokens = maps.permute(0, 2, 3, 4, 1).flatten(1, 3).unflatten(2, (heads, channels))
        else:
            maps = conv(tokens.transpose(1, 2).flatten(0, 1).unflatten(1, size).permute(0, 4, 1, 2, 3))
            tokens = maps.flatten(2).transpose(1, 2).unflatten(0, (-1, heads)).transpose(1, 2)
        x = torch.cat((x[:, :1], tokens), dim=1)
        if self.norm_act is not None:
            x = self.norm_act(x)
        return x, (maps.shape[2], maps.shape[3], maps.shape[4])


def _triple(values: Sequence[int]) -> Size:
    """Three whole numbers as a tuple of three."""
    time, height, width = values
    return time, height, width


class MultiscaleAttention(nn.Module):
    """Multi-head attention with pooled queries, keys and values: figure 2 of the second paper.

    Args:
        input_size: frames, height and width of the input's map of tokens.
        embed_dim: channels of the input.
        output_dim: channels of the output.
        num_heads: number of attention heads.
        kernel_q, kernel_kv, stride_q, stride_kv: see :class:`MSBlockConfig`.
        residual_pool: add the pooled queries to what attention gives.
        residual_with_cls_embed: do so for the class token, too.
        rel_pos_embed: add to the logits what the query and the relative position say, for each dimension by itself.
        dropout: dropout probability of the output.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        embed_dim: int,
        output_dim: int,
        num_heads: int,
        kernel_q: Sequence[int],
        kernel_kv: Sequence[int],
        stride_q: Sequence[int],
        stride_kv: Sequence[int],
        residual_pool: bool,
        residual_with_cls_embed: bool,
        rel_pos_embed: bool,
        dropout: float = 0.0,
        norm_layer: Callable[..., nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        if output_dim % num_heads != 0:
            raise ValueError(f"output_dim={output_dim} must be a multiple of num_heads={num_heads}")
        self.embed_dim = embed_dim
        self.output_dim = output_dim
        self.num_heads = num_heads
        self.head_dim = output_dim // num_heads
        self.residual_pool = residual_pool
        self.residual_with_cls_embed = residual_with_cls_embed

        self.qkv = nn.Linear(embed_dim, 3 * output_dim)
        project: list[nn.Module] = [nn.Linear(output_dim, output_dim)]
        if dropout > 0.0:
            project.append(nn.Dropout(dropout))
        self.project = nn.Sequential(*project)
        self.pool_q = self._make_pool(kernel_q, stride_q, norm_layer)
        self.pool_k = self._make_pool(kernel_kv, stride_kv, norm_layer)
        self.pool_v = self._make_pool(kernel_kv, stride_kv, norm_layer)

        self._kernels = (kernel_q, stride_q), (kernel_kv, stride_kv)

        self.rel_pos_h: nn.Parameter | None = None
        self.rel_pos_w: nn.Parameter | None = None
        self.rel_pos_t: nn.Parameter | None = None
        if rel_pos_embed:
            queries = _pooled_size(input_size, kernel_q, stride_q)
            keys = _pooled_size(input_size, kernel_kv, stride_kv)
            time, height, width = (2 * max(q, k) - 1 for q, k in zip(queries, keys, strict=True))
            self.rel_pos_h = self._position_parameter(height)
            self.rel_pos_w = self._position_parameter(width)
            self.rel_pos_t = self._position_parameter(time)

    def resize(self, size: Size) -> Size:
        """Fits the positions to an input of another size. Returns that of the output."""
        (of_queries, of_keys) = self._kernels
        queries, keys = _pooled_size(size, *of_queries), _pooled_size(size, *of_keys)
        if self.rel_pos_h is not None and self.rel_pos_w is not None:
            for name, q, k in (("rel_pos_h", queries[1], keys[1]), ("rel_pos_w", queries[2], keys[2])):
                table: Tensor = getattr(self, name).detach()
                replace_parameter(self, name, _resized_rows(table, 2 * max(q, k) - 1))
        return queries

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a state dict of such attention, the tensors that are others for inputs of this size."""
        if self.rel_pos_h is None or self.rel_pos_w is None:
            return {}
        wanted = {"rel_pos_h": self.rel_pos_h.shape[0], "rel_pos_w": self.rel_pos_w.shape[0]}
        return {
            name: _resized_rows(state[name], count) for name, count in wanted.items() if state[name].shape[0] != count
        }

    def _position_parameter(self, count: int) -> nn.Parameter:
        return nn.Parameter(nn.init.trunc_normal_(torch.empty(count, self.head_dim), std=0.02))

    def _make_pool(
        self, kernel: Sequence[int], stride: Sequence[int], norm_layer: Callable[..., nn.Module]
    ) -> Pool | None:
        if not kernel or (math.prod(kernel) == 1 and math.prod(stride) == 1):
            return None
        convolution = nn.Conv3d(
            self.head_dim,
            self.head_dim,
            _triple(kernel),
            stride=_triple(stride),
            padding=_triple([side // 2 for side in kernel]),
            groups=self.head_dim,
            bias=False,
        )
        return Pool(convolution, norm_layer(self.head_dim))

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Computes tokens, and the size of their map.

        Args:
            x: Tensor[N, 1 + L, embed_dim], the class token first.
            size: of the map of the L others.

        Returns:
            Tensor[N, 1 + L', output_dim], and the size of the map of its L' tokens.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(2)
        q, q_size = (q, size) if self.pool_q is None else self.pool_q(q, size)
        k, k_size = (k, size) if self.pool_k is None else self.pool_k(k, size)
        v, _ = (v, size) if self.pool_v is None else self.pool_v(v, size)
        class_q, q = q[:, :1], q[:, 1:]
        class_token = _attend(class_q, k, v)
        if self.rel_pos_t is None or self.rel_pos_h is None or self.rel_pos_w is None:
            tokens = _attend(q, k, v)
        else:
            # Logits of content and of position come from one product, of longer queries and keys: what a query says
            # about each frame, row and column, and which of them a key is in.
            scale = self.head_dim**-0.5
            positions = _position_logits(
                q.unflatten(1, q_size),
                _relative_positions(self.rel_pos_t, q_size[0], k_size[0]),
                _relative_positions(self.rel_pos_h, q_size[1], k_size[1]),
                _relative_positions(self.rel_pos_w, q_size[2], k_size[2]),
            )
            targets = _position_targets(k_size, k) / scale
            longer_q = torch.cat((q, positions), dim=-1)
            longer_k = torch.cat((k, targets), dim=-1)
            longer_v = F.pad(v, (0, targets.shape[-1]))
            tokens = _attend(longer_q, longer_k, longer_v, scale)[..., : self.head_dim]
        if self.residual_pool:
            tokens = tokens + q
            if self.residual_with_cls_embed:
                class_token = class_token + class_q
        return self.project(join_heads(torch.cat((class_token, tokens), dim=1).transpose(1, 2))), q_size


def _resized_rows(table: Tensor, count: int) -> Tensor:
    """Tensor[offsets, C] -> Tensor[count, C], interpolated linearly."""
    if table.shape[0] == count:
        return table
    resized = F.interpolate(table.float().t()[None], size=count, mode="linear", align_corners=False)
    return resized[0].t().contiguous().to(table.dtype)


def _pooled_size(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Size:
    """Size of a map after pooling with a padding of half the kernel."""
    if not kernel:
        return _triple(size)
    return _triple(
        [(length + 2 * (side // 2) - side) // step + 1 for length, side, step in zip(size, kernel, stride, strict=True)]
    )


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Attention of Tensor[N, L, heads, C] each."""
    return dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), scale=scale).transpose(1, 2)


def _position_logits(q: Tensor, time: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What a query adds to the logits for each frame, row and column that a key may be in: equation 4 of the second
    paper.

    Args:
        q: Tensor[N, T, H, W, heads, C].
        time, rows, columns: see :func:`_relative_positions`, for each dimension.

    Returns:
        Tensor[N, T * H * W, heads, K] for keys in K frames, rows and columns in all.
    """
    by_time = torch.einsum("nthwac,tck->nthwak", q, time)
    by_row = torch.einsum("nthwac,hck->nthwak", q, rows)
    by_column = torch.einsum("nthwac,wck->nthwak", q, columns)
    return torch.cat((by_time, by_row, by_column), dim=-1).flatten(1, 3)


@one_node
def _relative_positions(embedding: Tensor, queries: int, keys: int) -> Tensor:
    """The embeddings of the offsets between queries and keys along one dimension.

    Two queries spread over four keys stand at 0 and 2. The offsets -3 to 3 have the numbers 0 to 6:

    >>> _relative_positions(torch.arange(7.0)[:, None], queries=2, keys=4)[:, 0]
    tensor([[3., 2., 1., 0.],
            [5., 4., 3., 2.]])

    Args:
        embedding: Tensor[2 * max(queries, keys) - 1, C], one for each offset.
        queries: how many positions there are for queries; the coarser of the two maps is spread over the finer one.
        keys: how many there are for keys.

    Returns:
        Tensor[queries, C, keys]
    """
    q_step, k_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
    device = embedding.device
    offsets = (
        torch.arange(queries, device=device)[:, None] * q_step
        - torch.arange(keys, device=device) * k_step
        + (keys - 1) * k_step
    )
    return embedding[offsets.long()].transpose(1, 2)


@one_node
def _position_targets(size: Size, keys: Tensor) -> Tensor:
    """Marks the frame, row and column of each key by a one.

    Args:
        size: frames T, height H and width W of the map of keys.
        keys: Tensor[N, 1 + T * H * W, heads, C].

    Returns:
        Tensor[N, 1 + T * H * W, heads, T + H + W]; zeros for the class token.
    """
    time, rows, columns = [torch.eye(length, dtype=keys.dtype, device=keys.device) for length in size]
    marks = (time[:, None, None], rows[:, None], columns)
    targets = F.pad(torch.cat([mark.expand(*size, -1) for mark in marks], dim=-1).flatten(0, 2), (0, 0, 1, 0))
    return targets[:, None].expand(*keys.shape[:3], -1)


class PositionalEncoding(nn.Module):
    """Puts a class token before the others, and adds learnt positions in space and time.

    Args:
        embed_size: channels of a token.
        spatial_size: height and width of the map of tokens.
        temporal_size: frames of the map of tokens.
        rel_pos_embed: add nothing, as attention looks at relative positions.
    """

    def __init__(self, embed_size: int, spatial_size: tuple[int, int], temporal_size: int, rel_pos_embed: bool) -> None:
        super().__init__()
        self.spatial_size = spatial_size
        self.temporal_size = temporal_size
        self.class_token = nn.Parameter(torch.zeros(embed_size))
        self.spatial_pos: nn.Parameter | None = None
        self.temporal_pos: nn.Parameter | None = None
        self.class_pos: nn.Parameter | None = None
        if not rel_pos_embed:
            self.spatial_pos = nn.Parameter(torch.zeros(spatial_size[0] * spatial_size[1], embed_size))
            self.temporal_pos = nn.Parameter(torch.zeros(temporal_size, embed_size))
            self.class_pos = nn.Parameter(torch.zeros(embed_size))

    def resize(self, spatial_size: tuple[int, int]) -> None:
        """Fits the positions in space to a map of another height and width."""
        old = self.spatial_size
        self.spatial_size = spatial_size
        if self.spatial_pos is not None:
            replace_parameter(self, "spatial_pos", _resized_plane(self.spatial_pos.detach(), old, spatial_size))

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a state dict of such an encoding, for a square map, the positions for a map of this size."""
        if self.spatial_pos is None or state["spatial_pos"].shape[0] == self.spatial_pos.shape[0]:
            return {}
        side = math.isqrt(state["spatial_pos"].shape[0])
        return {"spatial_pos": _resized_plane(state["spatial_pos"], (side, side), self.spatial_size)}

    def forward(self, x: Tensor) -> Tensor:
        """Tensor[N, L, embed_size] -> Tensor[N, 1 + L, embed_size]"""
        token = self.class_token.expand(x.shape[0], 1, -1)
        if self.spatial_pos is not None and self.temporal_pos is not None and self.class_pos is not None:
            x = x + (self.temporal_pos[:, None] + self.spatial_pos).flatten(0, 1)
            token = token + self.class_pos
        return torch.cat((token, x), dim=1)


def _resized_plane(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Tensor[H * W, C] -> Tensor[H' * W', C], interpolated bicubically, with antialiasing."""
    if old == new:
        return positions
    plane = positions.float().t().unflatten(1, old)[None]
    plane = F.interpolate(plane, size=new, mode="bicubic", antialias=True, align_corners=False)
    return plane[0].flatten(1).t().contiguous().to(positions.dtype)


# Number of attention heads, channels of input and output, stride over height and width of queries, of keys and values.
_V1_B = (
    (1, 96, 192, 1, 8),
    (2, 192, 192, 2, 4),
    (2, 192, 384, 1, 4),
    (4, 384, 384, 2, 2),
    *[(4, 384, 384, 1, 2)] * 9,
    (4, 384, 768, 1, 2),
    (8, 768, 768, 2, 1),
    (8, 768, 768, 1, 1),
)


_V2_S = (
    (1, 96, 96, 1, 8),
    (2, 96, 192, 2, 4),
    (2, 192, 192, 1, 4),
    (4, 192, 384, 2, 2),
    *[(4, 384, 384, 1, 2)] * 10,
    (8, 384, 768, 2, 1),
    (8, 768, 768, 1, 1),
)


def _block_setting(rows: Sequence[tuple[int, ...]], always_pool_queries: bool) -> list[MSBlockConfig]:
    """The blocks of a table; queries are pooled at stride 2, or always, and keys and values always."""
    kernel = [3, 3, 3]
    return [
        MSBlockConfig(
            num_heads=heads,
            input_channels=channels,
            output_channels=out_channels,
            kernel_q=kernel if always_pool_queries or stride_q > 1 else [],
            kernel_kv=kernel,
            stride_q=[1, stride_q, stride_q] if always_pool_queries or stride_q > 1 else [],
            stride_kv=[1, stride_kv, stride_kv],
        )
        for heads, channels, out_channels, stride_q, stride_kv in rows
    ]


def _mvit(
    weights: WeightsEnum | None, progress: bool, *, img_size: int | Sequence[int] | None = None, **kwargs: Any
) -> MViT:
    if weights is None:
        if img_size is not None:
            kwargs.setdefault("spatial_size", checked_size(img_size, 32, of="MViT"))
    else:
        set_from_weights(kwargs, weights, "spatial_size", weights.meta["min_size"])
        set_from_weights(kwargs, weights, "temporal_size", weights.meta["min_temporal_size"])
    model = build(MViT, weights, progress, **{"spatial_size": (224, 224), "temporal_size": 16, **kwargs})
    return model if img_size is None or weights is None else resize_frames(model, img_size)


class MViT_V1_B_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


class MViT_V2_S_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


@register_model
def mvit_v1_b(*, weights: MViT_V1_B_Weights | None = None, progress: bool = True, **kwargs: Any) -> MViT:
    """MViT-B, 16x4, from `Multiscale Vision Transformers <https://arxiv.org/abs/2104.11227>`__.

    ``spatial_size`` and ``temporal_size`` are the checkpoint's with weights, else (224, 224) and 16 by default.
    ``img_size=`` makes a trained model one for frames of another size: see :func:`resize_frames`.
    """
    return _mvit(
        weights,
        progress,
        block_setting=_block_setting(_V1_B, always_pool_queries=False),
        residual_pool=False,
        residual_with_cls_embed=False,
        rel_pos_embed=False,
        proj_after_attn=False,
        **{"stochastic_depth_prob": 0.2, **kwargs},
    )


@register_model
def mvit_v2_s(*, weights: MViT_V2_S_Weights | None = None, progress: bool = True, **kwargs: Any) -> MViT:
    """MViTv2-S, 16x4, from `MViTv2: Improved Multiscale Vision Transformers for Classification and Detection
    <https://arxiv.org/abs/2112.01526>`__.

    ``spatial_size`` and ``temporal_size`` are the checkpoint's with weights, else (224, 224) and 16 by default.
    ``img_size=`` makes a trained model one for frames of another size: see :func:`resize_frames`.
    """
    return _mvit(
        weights,
        progress,
        block_setting=_block_setting(_V2_S, always_pool_queries=True),
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        **{"stochastic_depth_prob": 0.2, **kwargs},
    )
