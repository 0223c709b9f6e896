"""MaxViT.

- `MaxViT: Multi-Axis Vision Transformer <https://arxiv.org/abs/2204.01697>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels; in attention ``G`` groups of ``P`` tokens of ``D`` channels.
The stem and each block halve ``H`` and ``W``.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.attention import (
    dot_product_attention,
    join_heads,
    relative_position_bias,
    relative_position_index,
    resized_bias_table,
)
from zoo_core.builders import build, set_from_weights
from zoo_core.features.declared import FeatureLayers
from zoo_core.image_size import checked_size, replace_parameter
from zoo_core.inputs import explains_failures
from zoo_core.layers import (
    Conv2dNormActivation,
    SqueezeExcitation,
    StochasticDepth,
    initialize_normalization,
    input_of_padded_pooling,
)
from zoo_core.registry import register_model
from zoo_core.tracing import is_transformed
from zoo_core.value_cache import ValueCache
from zoo_core.weights import WeightsEnum

__all__ = ["MaxVit", "MaxVit_T_Weights", "maxvit_t"]


class MaxVit(nn.Module):
    """Multi-axis vision transformer, table 1 of the paper.

    Args:
        input_size: height and width of the images. The stem and then each block halve them (and round up); after each
            block they must be multiples of ``partition_size``.
        stem_channels: channels of the two convolutions at the start.
        partition_size: height and width of a window or grid, in tokens.
        block_channels: channels of each block.
        block_layers: number of layers in each block.
        head_dim: channels of an attention head.
        stochastic_depth_prob: probability of dropping a branch of the last layer, for a sample in training; it grows
            linearly from 0 at the first layer.
        norm_layer: builds the normalisation of the convolutions for a number of channels; by default batch
            normalisation.
        activation_layer: builds the activation.
        squeeze_ratio: channels between the layers of a squeeze-and-excitation, in units of the block's channels.
        expansion_ratio: channels of the depthwise convolutions, in units of the block's channels.
        mlp_ratio: channels between the layers of an MLP, in units of the block's channels.
        mlp_dropout: dropout probability after each MLP.
        attention_dropout: dropout probability after attention.
        num_classes: number of classes.

    Shape:
        ``Tensor[N, 3, *input_size]`` -> Tensor[N, num_classes]

    Raises:
        ValueError: ``input_size`` does not fit ``partition_size``, or an image of another size is given.
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        stem_channels: int,
        partition_size: int,
        block_channels: list[int],
        block_layers: list[int],
        head_dim: int,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module] | None = None,
        activation_layer: Callable[..., nn.Module] = nn.GELU,
        squeeze_ratio: float = 0.25,
        expansion_ratio: float = 4,
        mlp_ratio: int = 4,
        mlp_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if len(block_channels) != len(block_layers):
            raise ValueError(
                f"block_channels and block_layers must have an element for each block, not {block_channels} and "
                f"{block_layers}"
            )
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
        self.input_size = (input_size[0], input_size[1])
        self.partition_size = partition_size
        stem_size = _halve(self.input_size)
        self._check_partition(stem_size, len(block_channels))
        self.stem = nn.Sequential(
            Conv2dNormActivation(
                3,
                stem_channels,
                kernel_size=3,
                stride=2,
                norm_layer=norm_layer,
                activation_layer=activation_layer,
                bias=False,
                inplace=None,
            ),
            Conv2dNormActivation(
                stem_channels, stem_channels, kernel_size=3, norm_layer=None, activation_layer=None, bias=True
            ),
        )
        last_layer = max(sum(block_layers) - 1, 1)
        probabilities = [stochastic_depth_prob * i / last_layer for i in range(sum(block_layers))]
        self.blocks = nn.ModuleList()
        channels, size = stem_channels, stem_size
        for out_channels, layers in zip(block_channels, block_layers, strict=True):
            block = MaxVitBlock(
                channels,
                out_channels,
                squeeze_ratio,
                expansion_ratio,
                norm_layer,
                activation_layer,
                head_dim,
                mlp_ratio,
                mlp_dropout,
                attention_dropout,
                partition_size,
                size,
                layers,
                probabilities[:layers],
            )
            self.blocks.append(block)
            probabilities = probabilities[layers:]
            channels, size = out_channels, block.grid_size
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.LayerNorm(channels),
            nn.Linear(channels, channels),
            nn.Tanh(),
            nn.Linear(channels, num_classes, bias=False),
        )
        self.apply(self._initialize)

    def _check_partition(self, stem_size: tuple[int, int], blocks: int) -> None:
        sizes = [_halve(stem_size)]
        while len(sizes) < blocks:
            sizes.append(_halve(sizes[-1]))
        for block, size in enumerate(sizes):
            if size[0] % self.partition_size or size[1] % self.partition_size:
                step = self.partition_size * 2 ** (blocks + 1)
                raise ValueError(
                    f"Input size {size} of block {block} is not divisible by partition size {self.partition_size}. "
                    f"input_size {self.input_size} yields the sizes {sizes}; consider another partition_size, or an "
                    f"input_size whose height and width are multiples of {step}."
                )

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            initialize_normalization(module)

    def feature_layers(self) -> FeatureLayers:
        stages = [f"blocks.{index}" for index in range(len(self.blocks))]
        return FeatureLayers(stages, head="classifier.5", input_size=self.input_size, fixed_size=True)

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=f"this {type(self).__name__}", size=self.input_size)
        # The layout that attention takes and gives; convolutions are as fast in it.
        if not (torch.onnx.is_in_onnx_export() or is_transformed()):
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x)


def resize_partitions(model: MaxVit, img_size: int | Sequence[int]) -> MaxVit:
    """Makes a trained model one for images of another size; see :mod:`zoo_core.image_size`.

    Windows and grids have as many tokens in a row as the last block's map, as at the published size.

    Args:
        model: is changed.
        img_size: height and width of the images, which are equal, as one number or two: a multiple of what the model
            reduces them by, 32 in the published one.

    Returns:
        The model.

    Raises:
        ValueError: ``img_size`` is no such multiple.
    """
    size = _partition_for(img_size, len(model.blocks))
    side = size * 2 ** (len(model.blocks) + 1)
    if size != model.partition_size or side != model.input_size[0]:
        model.input_size, model.partition_size = (side, side), size
        grid = _halve(model.input_size)
        for block in model.blocks:
            assert isinstance(block, MaxVitBlock)
            block.grid_size = grid = _halve(grid)
            for module in block.modules():
                if isinstance(module, PartitionAttentionLayer):
                    module.partition_size, module.grid_size = size, grid
                elif isinstance(module, RelativePositionalMultiHeadAttention):
                    module.resize(size)
    return model


def _partition_for(img_size: int | Sequence[int], blocks: int) -> int:
    step = 2 ** (blocks + 1)
    return checked_size(img_size, step, of="MaxViT", pair=False)[0] // step


def _halve(size: tuple[int, int]) -> tuple[int, int]:
    """What a 3x3 convolution of stride 2 makes of a height and width."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class MaxVitBlock(nn.Module):
    """One stage: layers of which the first halves height and width.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        squeeze_ratio, expansion_ratio, norm_layer, activation_layer: see :class:`MaxVitLayer`.
        head_dim, mlp_ratio, mlp_dropout, attention_dropout, partition_size: likewise.
        input_grid_size: height and width of the input.
        n_layers: number of layers.
        p_stochastic: for each layer the probability of dropping a branch for a sample in training.

    Attributes:
        grid_size: height and width of the output.

    Shape:
        ``Tensor[N, in_channels, *input_grid_size]`` -> ``Tensor[N, out_channels, *grid_size]``
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        squeeze_ratio: float,
        expansion_ratio: float,
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
        head_dim: int,
        mlp_ratio: int,
        mlp_dropout: float,
        attention_dropout: float,
        partition_size: int,
        input_grid_size: tuple[int, int],
        n_layers: int,
        p_stochastic: list[float],
    ) -> None:
        super().__init__()
        if len(p_stochastic) != n_layers:
            raise ValueError(f"p_stochastic must have length n_layers={n_layers}, got p_stochastic={p_stochastic}.")
        self.grid_size = _halve(input_grid_size)
        self.layers = nn.ModuleList(
            MaxVitLayer(
                in_channels if i == 0 else out_channels,
                out_channels,
                squeeze_ratio,
                expansion_ratio,
                2 if i == 0 else 1,
                norm_layer,
                activation_layer,
                head_dim,
                mlp_ratio,
                mlp_dropout,
                attention_dropout,
                probability,
                partition_size,
                self.grid_size,
            )
            for i, probability in enumerate(p_stochastic)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MaxVitLayer(nn.Module):
    """Convolution, attention in windows, attention on a grid: figure 2 of the paper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        squeeze_ratio, expansion_ratio, stride: see :class:`MBConv`.
        norm_layer: builds the normalisation of the convolutions for a number of channels.
        activation_layer: builds the activation.
        head_dim, mlp_ratio, mlp_dropout, attention_dropout: see :class:`PartitionAttentionLayer`.
        p_stochastic_dropout: probability of dropping each branch for a sample in training.
        partition_size: height and width of a window or grid, in tokens.
        grid_size: height and width of the output.

    Shape:
        Tensor[N, in_channels, H, W] -> ``Tensor[N, out_channels, *grid_size]``
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        squeeze_ratio: float,
        expansion_ratio: float,
        stride: int,
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
        head_dim: int,
        mlp_ratio: int,
        mlp_dropout: float,
        attention_dropout: float,
        p_stochastic_dropout: float,
        partition_size: int,
        grid_size: tuple[int, int],
    ) -> None:
        super().__init__()
        attention = partial(
            PartitionAttentionLayer,
            out_channels,
            head_dim,
            partition_size,
            grid_size=grid_size,
            mlp_ratio=mlp_ratio,
            activation_layer=activation_layer,
            norm_layer=nn.LayerNorm,
            attention_dropout=attention_dropout,
            mlp_dropout=mlp_dropout,
            p_stochastic_dropout=p_stochastic_dropout,
        )
        self.layers = nn.Sequential(
            OrderedDict[str, nn.Module](
                MBconv=MBConv(
                    in_channels,
                    out_channels,
                    expansion_ratio,
                    squeeze_ratio,
                    stride,
                    activation_layer,
                    norm_layer,
                    p_stochastic_dropout,
                ),
                window_attention=attention(partition_type="window"),
                grid_attention=attention(partition_type="grid"),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class PartitionAttentionLayer(nn.Module):
    """Attention and MLP in windows or on a grid, each after a normalisation and with a shortcut: figure 3 of the paper.

    A map of 4 x 4 tokens with a ``partition_size`` of 2; those of one letter attend to each other::

        window    a a b b        grid    a b a b
                  a a b b                c d c d
                  c c d d                a b a b
                  c c d d                c d c d

    Args:
        in_channels: channels of input and output.
        head_dim: channels of an attention head.
        partition_size: height and width P of a window or grid, in tokens.
        partition_type: ``"window"`` for attention among P x P neighbours, ``"grid"`` among P x P tokens spread evenly.
        grid_size: height and width of the map, multiples of ``partition_size``.
        mlp_ratio: the MLP has ``mlp_ratio`` times as many channels between its layers.
        activation_layer: builds the activation of the MLP.
        norm_layer: builds the normalisation for a number of channels.
        attention_dropout: dropout probability after attention.
        mlp_dropout: dropout probability after the MLP.
        p_stochastic_dropout: probability of dropping attention, and the MLP, for a sample in training.

    Shape:
        ``Tensor[N, in_channels, *grid_size]`` -> ``Tensor[N, in_channels, *grid_size]``
    """

    def __init__(
        self,
        in_channels: int,
        head_dim: int,
        partition_size: int,
        partition_type: str,
        grid_size: tuple[int, int],
        mlp_ratio: int,
        activation_layer: Callable[..., nn.Module],
        norm_layer: Callable[..., nn.Module],
        attention_dropout: float,
        mlp_dropout: float,
        p_stochastic_dropout: float,
    ) -> None:
        super().__init__()
        if partition_type not in ("grid", "window"):
            raise ValueError(f"partition_type must be either 'grid' or 'window', not {partition_type!r}")
        if grid_size[0] % partition_size or grid_size[1] % partition_size:
            raise ValueError(f"grid_size {tuple(grid_size)} is not divisible by partition_size {partition_size}")
        self.partition_size = partition_size
        self.partition_type = partition_type
        self.grid_size = grid_size
        self.attn_layer = nn.Sequential(
            norm_layer(in_channels),
            RelativePositionalMultiHeadAttention(in_channels, head_dim, partition_size**2),
            nn.Dropout(attention_dropout),
        )
        self.mlp_layer = nn.Sequential(
            nn.LayerNorm(in_channels),
            nn.Linear(in_channels, in_channels * mlp_ratio),
            activation_layer(),
            nn.Linear(in_channels * mlp_ratio, in_channels),
            nn.Dropout(mlp_dropout),
        )
        self.stochastic_dropout = StochasticDepth(p_stochastic_dropout, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        size = self.partition_size
        rows, columns = self.grid_size[0] // size, self.grid_size[1] // size
        x = x.permute(0, 2, 3, 1)
        if self.partition_type == "window":
            x = x.unflatten(2, (columns, size)).unflatten(1, (rows, size)).transpose(2, 3)
        else:
            x = x.unflatten(2, (size, columns)).unflatten(1, (size, rows)).permute(0, 2, 4, 1, 3, 5)
        x = x.flatten(3, 4).flatten(1, 2)  # groups of tokens
        x = x + self.stochastic_dropout(self.attn_layer(x))
        x = x + self.stochastic_dropout(self.mlp_layer(x))
        x = x.unflatten(2, (size, size)).unflatten(1, (rows, columns))
        x = x.transpose(2, 3) if self.partition_type == "window" else x.permute(0, 3, 1, 4, 2, 5)
        return x.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


class RelativePositionalMultiHeadAttention(nn.Module):
    """Multi-head attention inside squares of tokens, with a learnt bias for each relative position.

    In eval mode without gradients, the bias is computed once and kept. Logits are scaled by ``feat_dim ** -0.5``, not
    by the root of a head's size.

    Args:
        feat_dim: channels D.
        head_dim: channels of a head, a divisor of ``feat_dim``.
        max_seq_len: number P of tokens in a square.

    Shape:
        Tensor[N, G, P, D] -> Tensor[N, G, P, D]: each of the G groups of P tokens attends to itself.
    """

    relative_position_index: Tensor

    def __init__(self, feat_dim: int, head_dim: int, max_seq_len: int) -> None:
        super().__init__()
        if feat_dim % head_dim != 0:
            raise ValueError(f"feat_dim: {feat_dim} must be divisible by head_dim: {head_dim}")
        self.size = math.isqrt(max_seq_len)
        if self.size**2 != max_seq_len:
            raise ValueError(f"max_seq_len must be the square of an integer, not {max_seq_len}")
        self.n_heads = feat_dim // head_dim
        self.head_dim = head_dim
        self.max_seq_len = max_seq_len
        self.scale_factor = feat_dim**-0.5
        self.to_qkv = nn.Linear(feat_dim, 3 * feat_dim)
        self.merge = nn.Linear(feat_dim, feat_dim)
        table = torch.empty((2 * self.size - 1) ** 2, self.n_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index((self.size, self.size)))
        self._bias_cache = ValueCache()

    def resize(self, size: int) -> None:
        """Makes the squares of tokens others, with the biases that :meth:`fit_positions` gives."""
        state = {
            "relative_position_bias_table": self.relative_position_bias_table.detach(),
            "relative_position_index": self.relative_position_index,
        }
        self.size, self.max_seq_len = size, size**2
        fitted = self.fit_positions(state)
        if fitted:
            replace_parameter(self, "relative_position_bias_table", fitted["relative_position_bias_table"])
            self.relative_position_index = fitted["relative_position_index"]
            self._bias_cache = ValueCache()

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a state dict of such attention, the tensors that are others in squares of this size."""
        table, index = state["relative_position_bias_table"], state["relative_position_index"]
        fitted = resized_bias_table(table, (self.size, self.size))
        if fitted is table:
            return {}
        with torch.device("cpu"):  # also where the module itself is without storage
            new_index = relative_position_index((self.size, self.size)).to(index.device)
        return {"relative_position_bias_table": fitted, "relative_position_index": new_index}

    def get_relative_positional_bias(self) -> Tensor:
        """What is added to the logits of each query (row) and key (column): Tensor[1, heads, P, P]."""
        table, index = self.relative_position_bias_table, self.relative_position_index
        return self._bias_cache.get(
            lambda: relative_position_bias(table, index), (table, index), training=self.training
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, groups, length, channels = x.shape
        qkv = self.to_qkv(x).view(batch * groups, length, 3, self.n_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        bias = self.get_relative_positional_bias().to(v.dtype)
        x = dot_product_attention(q, k, v, bias, scale=self.scale_factor)
        return self.merge(join_heads(x).view(batch, groups, length, channels))


class MBConv(nn.Module):
    """Inverted residual with squeeze-and-excitation, normalised first: section 3.3 of the paper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        expansion_ratio: the depthwise convolution has ``expansion_ratio * out_channels`` channels.
        squeeze_ratio: the squeeze-and-excitation has ``squeeze_ratio * out_channels`` channels between its layers.
        stride: stride of the depthwise convolution.
        activation_layer: builds the activation.
        norm_layer: builds the normalisation for a number of channels.
        p_stochastic_dropout: probability of dropping the branch for a sample in training.

    Shape:
        Tensor[N, in_channels, H, W] -> Tensor[N, out_channels, ceil(H / stride), ceil(W / stride)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion_ratio: float,
        squeeze_ratio: float,
        stride: int,
        activation_layer: Callable[..., nn.Module],
        norm_layer: Callable[..., nn.Module],
        p_stochastic_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._pools = stride != 1
        self.proj: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            pool = [] if stride == 1 else [nn.AvgPool2d(kernel_size=3, stride=stride, padding=1)]
            self.proj = nn.Sequential(*pool, nn.Conv2d(in_channels, out_channels, kernel_size=1))
        self.stochastic_depth = StochasticDepth(p_stochastic_dropout, "row") if p_stochastic_dropout else nn.Identity()
        mid_channels = int(out_channels * expansion_ratio)
        squeeze_channels = int(out_channels * squeeze_ratio)
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=activation_layer, inplace=None)
        self.layers = nn.Sequential(
            OrderedDict[str, nn.Module](
                pre_norm=norm_layer(in_channels),
                conv_a=conv(in_channels, mid_channels, kernel_size=1),
                conv_b=conv(mid_channels, mid_channels, kernel_size=3, stride=stride, groups=mid_channels),
                squeeze_excitation=SqueezeExcitation(mid_channels, squeeze_channels, activation=nn.SiLU),
                conv_c=nn.Conv2d(mid_channels, out_channels, kernel_size=1),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.proj(input_of_padded_pooling(x) if self._pools else x)
        return shortcut + self.stochastic_depth(self.layers(x))


class MaxVit_T_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def maxvit_t(*, weights: MaxVit_T_Weights | None = None, progress: bool = True, **kwargs: Any) -> MaxVit:
    """MaxViT-T, from `MaxViT: Multi-Axis Vision Transformer <https://arxiv.org/abs/2204.01697>`__.

    ``input_size`` is the checkpoint's with weights, else (224, 224) by default. ``img_size=`` makes a trained model one
    for images of another size: see :func:`resize_partitions`.
    """
    img_size: int | Sequence[int] | None = kwargs.pop("img_size", None)
    if kwargs.get("input_size") is not None:
        kwargs["input_size"] = tuple(kwargs["input_size"])
    partition_size = 7
    if weights is None:
        if img_size is not None:
            partition_size = _partition_for(img_size, 4)
            img_size = partition_size * 32
        kwargs.setdefault("input_size", (224, 224) if img_size is None else (img_size, img_size))
    else:
        set_from_weights(kwargs, weights, "input_size", weights.meta["min_size"])
    kwargs.setdefault("stochastic_depth_prob", 0.2)
    model = build(
        MaxVit,
        weights,
        progress,
        stem_channels=64,
        partition_size=partition_size,
        block_channels=[64, 128, 256, 512],
        block_layers=[2, 2, 5, 2],
        head_dim=32,
        **kwargs,
    )
    return model if img_size is None or weights is None else resize_partitions(model, img_size)
