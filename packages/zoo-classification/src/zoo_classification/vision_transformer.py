"""Vision Transformer (ViT).

- `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale <https://arxiv.org/abs/2010.11929>`__
- `Early Convolutions Help Transformers See Better <https://arxiv.org/abs/2106.14881>`__ (the convolutional stem)
- `Revisiting Weakly Supervised Pre-Training of Visual Perception Models <https://arxiv.org/abs/2201.08371>`__ (the SWAG
  weights)

Shapes: ``N`` images, ``L`` tokens (one for the class and one for each patch), ``D`` channels of a token
(``hidden_dim``), ``H`` and ``W`` height and width in pixels.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core import user_warnings
from zoo_core.attention import dot_product_attention, join_heads
from zoo_core.builders import build, set_from_weights
from zoo_core.features.declared import FeatureLayers, token_form
from zoo_core.fused import PackedWeight, linear
from zoo_core.image_size import replace_parameter
from zoo_core.inputs import explains_failures
from zoo_core.layers import MLP, Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.tracing import is_recorded, is_stand_in, module_node
from zoo_core.weights import WeightsEnum

__all__ = [
    "ViT_B_16_Weights", "ViT_B_32_Weights", "ViT_H_14_Weights", "ViT_L_16_Weights", "ViT_L_32_Weights",
    "VisionTransformer", "interpolate_embeddings", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32",
]  # fmt: skip


_LAYER_NORM = partial(nn.LayerNorm, eps=1e-6)


class VisionTransformer(nn.Module):
    """Vision Transformer, table 1 of the paper.

    Args:
        image_size: height and width of the images, one number for both or two, multiples of ``patch_size``.
        patch_size: height and width of a patch.
        num_layers: number of encoder blocks.
        num_heads: number of attention heads.
        hidden_dim: size of a token.
        mlp_dim: size between the two layers of an MLP.
        dropout: dropout probability after the position embedding, after attention and after each
            layer of the MLPs.
        attention_dropout: dropout probability of the attention weights.
        num_classes: number of classes.
        representation_size: size of a layer with tanh before the classifier; ``None`` for no such layer.
        norm_layer: builds the normalisation from the size of a token.
        conv_stem_configs: layers of a convolutional stem in the place of the projection of patches. Together they
            must reduce an image to a row and column for each patch.

    Shape:
        Tensor[N, 3, H, W], of the size ``image_size`` -> Tensor[N, num_classes]

    Raises:
        ValueError: ``image_size`` is no multiple of ``patch_size``, or an image of another size is given.
    """

    def __init__(
        self,
        image_size: int | Sequence[int],
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
        representation_size: int | None = None,
        norm_layer: Callable[..., nn.Module] = _LAYER_NORM,
        conv_stem_configs: "Sequence[ConvStemConfig] | None" = None,
    ) -> None:
        super().__init__()
        height, width = _sides("image_size", image_size, patch_size)
        self.image_size = height if height == width else (height, width)
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.num_classes = num_classes
        self.representation_size = representation_size
        self.norm_layer = norm_layer
        self.conv_proj = (
            _patch_projection(patch_size, hidden_dim)
            if conv_stem_configs is None
            else _conv_stem(conv_stem_configs, hidden_dim)
        )
        self.seq_length = math.prod(self.grid) + 1  # one for the class token
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.encoder = Encoder(
            self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer
        )
        self.encoder.grid = self.grid
        heads: OrderedDict[str, nn.Module] = OrderedDict()
        if representation_size is None:
            heads["head"] = nn.Linear(hidden_dim, num_classes)
        else:
            heads["pre_logits"] = nn.Linear(hidden_dim, representation_size)
            heads["act"] = nn.Tanh()
            heads["head"] = nn.Linear(representation_size, num_classes)
        self.heads = nn.Sequential(heads)
        stem = self.conv_proj
        for module in (stem if isinstance(stem, nn.Conv2d) else stem.get_submodule("conv_last"), *self.heads):
            self._initialize(module)

    def _initialize(self, module: nn.Module) -> None:
        """Sets the parameters of a part of the stem or of the heads; the encoder sets its own."""
        if isinstance(module, nn.Conv2d):
            if module is self.conv_proj:
                nn.init.trunc_normal_(module.weight, std=math.sqrt(1 / module.weight[0].numel()))
            else:
                nn.init.normal_(module.weight, std=math.sqrt(2 / self.hidden_dim))
        elif isinstance(module, nn.Linear):
            if module is self.heads.get_submodule("head"):
                nn.init.zeros_(module.weight)
            else:
                nn.init.trunc_normal_(module.weight, std=math.sqrt(1 / module.in_features))
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def grid(self) -> tuple[int, int]:
        """How many patches there are in a column and in a row."""
        height, width = self.input_size
        return height // self.patch_size, width // self.patch_size

    def feature_layers(self) -> FeatureLayers:
        # Four stages as what builds on plain transformers has them, the last one normalised.
        blocks = [f"encoder.layers.{name}" for name, _ in self.encoder.layers.named_children()]
        quarters = [blocks[len(blocks) * quarter // 4 - 1] for quarter in (1, 2, 3) if len(blocks) >= 4]
        forms = dict.fromkeys((EncoderBlock, Encoder), token_form(*self.grid))
        return FeatureLayers(
            [*quarters, "encoder"], head="heads.head", forms=forms, input_size=self.input_size, fixed_size=True
        )

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=f"this {type(self).__name__}", size=self.input_size)
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        if not is_recorded(patches) and patches.shape[1] != self.seq_length - 1:
            raise ValueError(
                f"the convolutional stem makes {patches.shape[1]} patches of an image of size {self.image_size}, not "
                f"{self.seq_length - 1}; the strides of conv_stem_configs must multiply to patch_size={self.patch_size}"
            )
        tokens = torch.cat((self.class_token.expand(x.shape[0], -1, -1), patches), dim=1)
        return self.heads(self.encoder(tokens)[:, 0])


class ConvStemConfig(NamedTuple):
    """One layer of a convolutional stem: convolution, normalisation, activation.

    Args:
        out_channels: channels of the output.
        kernel_size: size of the kernel.
        stride: stride of the kernel.
        norm_layer: builds the normalisation for a number of channels.
        activation_layer: builds the activation.
    """

    out_channels: int
    kernel_size: int
    stride: int
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d
    activation_layer: Callable[..., nn.Module] = nn.ReLU


def _patch_projection(patch_size: int, hidden_dim: int) -> nn.Conv2d:
    """A linear layer over each patch of the image, written as a convolution."""
    return nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)


def _conv_stem(configs: Sequence[ConvStemConfig], hidden_dim: int) -> nn.Sequential:
    """The convolutions that take the place of the projection of patches."""
    stem: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for i, layer in enumerate(configs):
        stem[f"conv_bn_relu_{i}"] = Conv2dNormActivation(
            channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            norm_layer=layer.norm_layer,
            activation_layer=layer.activation_layer,
        )
        channels = layer.out_channels
    return nn.Sequential(OrderedDict(**stem, conv_last=nn.Conv2d(channels, hidden_dim, kernel_size=1)))


class Encoder(nn.Module):
    """Adds the position embedding and applies the blocks and a last normalisation.

    Args:
        seq_length: number of tokens, the class token included.
        num_layers: number of blocks.
        num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer: see :class:`EncoderBlock`.

    Shape:
        Tensor[N, seq_length, hidden_dim] -> Tensor[N, seq_length, hidden_dim]
    """

    grid: tuple[int, int] | None = None  # of the patches; a square if nobody says it

    def __init__(
        self,
        seq_length: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Callable[..., nn.Module] = _LAYER_NORM,
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, seq_length, hidden_dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict(
                (
                    f"encoder_layer_{i}",
                    EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer),
                )
                for i in range(num_layers)
            )
        )
        self.ln = norm_layer(hidden_dim)

    def fit_positions(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of a state dict of such an encoder, the positions for as many tokens as this one has."""
        embedding, patches = state["pos_embedding"], self.pos_embedding.shape[1] - 1
        new = self.grid or (math.isqrt(patches),) * 2
        old_patches = embedding.shape[1] - 1
        old = (math.isqrt(old_patches),) * 2
        if old_patches == patches:
            if new != old and math.prod(old) == patches:
                user_warnings.warn(
                    f"the positions in the file are taken as those of {new[0]} x {new[1]} patches; if they are of "
                    f"{old[0]} x {old[1]}, build the model for images of that size, and then resize_positions"
                )
            return {}
        if math.prod(old) != old_patches:
            raise ValueError(
                f"the {old_patches} positions in the file are of patches that form no square, and cannot be "
                f"interpolated to {new[0]} x {new[1]}; build the model for images of its own size, and then "
                "resize_positions"
            )
        return {"pos_embedding": _resized_positions(embedding, old, new)}

    def forward(self, input: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class EncoderBlock(nn.Module):
    """Self-attention and MLP, each after a normalisation and with a shortcut: figure 1 (right) of the paper.

    Args:
        num_heads: number of attention heads.
        hidden_dim: size of a token.
        mlp_dim: size between the two layers of the MLP.
        dropout: dropout probability after attention and after each layer of the MLP.
        attention_dropout: dropout probability of the attention weights.
        norm_layer: builds the normalisation from the size of a token.

    Shape:
        Tensor[N, L, hidden_dim] -> Tensor[N, L, hidden_dim]
    """

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: Callable[..., nn.Module] = _LAYER_NORM,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = MultiheadAttention(hidden_dim, num_heads, dropout=attention_dropout)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class MultiheadAttention(nn.MultiheadAttention):
    """:class:`torch.nn.MultiheadAttention` over Tensor[N, L, D], where self-attention is one call of
    :func:`~zoo_core.attention.dot_product_attention` in training as in evaluation.

    Args:
        embed_dim: size D of a token.
        num_heads: number of heads, a divisor of ``embed_dim``.
        dropout: dropout probability of the attention weights.
    """

    is_folded = False
    packed: PackedWeight | None = None

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, num_heads, dropout=dropout, batch_first=True)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As :meth:`torch.nn.MultiheadAttention.forward`, which serves all but plain self-attention without weights."""
        arguments = (query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
        if is_stand_in(query) and (node := module_node(self, *arguments)) is not None:
            return node  # of a graph, as torch's own class is
        is_masked = key_padding_mask is not None or attn_mask is not None or is_causal
        if need_weights or is_masked or not (query is key is value):
            return super().forward(*arguments)
        batch, length, _ = query.shape
        projected = None
        if self.is_folded and not torch.compiler.is_compiling():
            projected = linear(query, self.in_proj_weight, self.in_proj_bias, self.packed)
        if projected is None:
            projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind()
        dropout = self.dropout if self.training else 0.0
        attended = dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out_proj(join_heads(attended)), None

    def fold_for_inference(self) -> None:
        """See :class:`zoo_core.inference.Foldable`."""
        self.is_folded, self.packed = True, PackedWeight()


class MLPBlock(MLP):
    """The two layers that a token goes through alone.

    Args:
        in_dim: size of a token.
        mlp_dim: size between the layers.
        dropout: dropout probability after each layer.
    """

    _version = 2  # in version 1 the layers were named linear_1 and linear_2

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for old, new in (("linear_1", "0"), ("linear_2", "3")):
            for name in ("weight", "bias"):
                if f"{prefix}{old}.{name}" in state_dict:
                    state_dict[f"{prefix}{new}.{name}"] = state_dict.pop(f"{prefix}{old}.{name}")
        super()._load_from_state_dict(state_dict, prefix, *args)


def interpolate_embeddings(
    image_size: int,
    patch_size: int,
    model_state: Mapping[str, Tensor],
    interpolation_mode: str = "bicubic",
    reset_heads: bool = False,
) -> OrderedDict[str, Tensor]:
    """Fits the checkpoint of a :class:`VisionTransformer` to images of another size.

    The position embeddings are interpolated as an image with a pixel for each patch; that of the class token stays.

    Args:
        image_size: height and width of the new model's images, a multiple of ``patch_size``.
        patch_size: height and width of a patch.
        model_state: the state dict of the trained model. It is not changed.
        interpolation_mode: a mode of :func:`torch.nn.functional.interpolate`: ``"bicubic"``, ``"bilinear"``,
            ``"nearest"``, ...
        reset_heads: leave out the head's tensors, whose names begin with ``heads``.

    Returns:
        A state dict that the new model can load: as ``model_state``, but for the position embedding and, with
        ``reset_heads``, the head.

    Raises:
        ValueError: the position embedding is missing or not of shape [1, tokens, D] for the class token and a square of
            patches, or ``image_size`` is no multiple of ``patch_size``.
    """
    key = "encoder.pos_embedding"
    if key not in model_state:
        raise ValueError(f"model_state has no entry {key!r}; it must be the state dict of a VisionTransformer")
    embedding = model_state[key]
    if embedding.ndim != 3 or embedding.shape[0] != 1:
        raise ValueError(
            f"Unexpected position embedding shape: {key!r} is of shape {list(embedding.shape)}, not [1, tokens, D]"
        )
    if image_size < patch_size or image_size % patch_size != 0:
        raise ValueError(f"image_size must be a multiple of patch_size={patch_size}, not {image_size}")
    class_token, patches = embedding[:, :1], embedding[:, 1:]
    old_side = math.isqrt(patches.shape[1])
    if old_side**2 != patches.shape[1]:
        raise ValueError(
            f"seq_length is not a perfect square: {key!r} has {patches.shape[1]} tokens beside the class token, and "
            f"{old_side} * {old_side} = {old_side**2}"
        )
    new_side = image_size // patch_size

    state = OrderedDict(model_state)
    if hasattr(model_state, "_metadata"):
        state._metadata = model_state._metadata  # type: ignore[attr-defined]
    if new_side != old_side:
        grid = patches.transpose(1, 2).unflatten(2, (old_side, old_side))
        interpolates = interpolation_mode in ("linear", "bilinear", "bicubic", "trilinear")
        grid = F.interpolate(
            grid, size=(new_side, new_side), mode=interpolation_mode, align_corners=True if interpolates else None
        )
        state[key] = torch.cat((class_token, grid.flatten(2).transpose(1, 2)), dim=1)
    if reset_heads:
        for name in [name for name in state if name.startswith("heads")]:
            del state[name]
    return state


def resize_positions(model: VisionTransformer, img_size: int | Sequence[int]) -> VisionTransformer:
    """Makes a trained model one for images of another size, as timm's ``img_size=`` does.

    The position embeddings are interpolated as an image with a pixel for each patch, bicubically and with antialiasing;
    that of the class token stays.

    Args:
        model: is changed.
        img_size: height and width of the images, one number for both or two, multiples of the patch size.

    Returns:
        The model.

    Raises:
        ValueError: ``img_size`` is of no such multiples.
    """
    height, width = _sides("img_size", img_size, model.patch_size)
    old = model.grid
    model.image_size = height if height == width else (height, width)
    if model.grid != old:
        resized = _resized_positions(model.encoder.pos_embedding.detach(), old, model.grid)
        replace_parameter(model.encoder, "pos_embedding", resized)
        model.encoder.grid, model.seq_length = model.grid, math.prod(model.grid) + 1
    return model


def _sides(argument: str, size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Height and width, if whole patches fill them.

    Raises:
        ValueError: they do not, or there are not two.
    """
    sides: Any = (size, size) if isinstance(size, int | float | str) else tuple(size)
    if len(sides) == 2 and all(type(side) is int and side >= patch_size and not side % patch_size for side in sides):
        return sides
    raise ValueError(
        f"{argument} must be a multiple of patch_size={patch_size}, not {size!r}: one number, or height and width"
    )


def _resized_positions(embedding: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Of the class token and a grid of patches: Tensor[1, 1 + old, D] -> Tensor[1, 1 + new, D]."""
    class_token, patches = embedding[:, :1], embedding[:, 1:]
    grid = patches.float().transpose(1, 2).unflatten(2, old)
    grid = F.interpolate(grid, size=new, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat((class_token, grid.flatten(2).transpose(1, 2).to(embedding.dtype)), dim=1)


def _vision_transformer(
    weights: WeightsEnum | None, progress: bool, *, img_size: int | Sequence[int] | None = None, **kwargs: Any
) -> VisionTransformer:
    if weights is None:
        if img_size is not None:
            kwargs["image_size"] = _sides("img_size", img_size, kwargs["patch_size"])
        kwargs.setdefault("image_size", 224)
        return build(VisionTransformer, weights, progress, **kwargs)
    set_from_weights(kwargs, weights, "image_size", weights.meta["min_size"][0])
    model = build(VisionTransformer, weights, progress, **kwargs)
    return model if img_size is None else resize_positions(model, img_size)


class ViT_B_16_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ViT_B_32_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ViT_L_16_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ViT_L_32_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ViT_H_14_Weights(WeightsEnum):
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_SWAG_E2E_V1


@register_model
def vit_b_16(*, weights: ViT_B_16_Weights | None = None, progress: bool = True, **kwargs: Any) -> VisionTransformer:
    """ViT-B/16, from `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
    <https://arxiv.org/abs/2010.11929>`__.

    ``image_size`` is the checkpoint's with weights, else 224 by default. ``img_size=`` makes a trained model one for
    images of another size: see :func:`resize_positions`.
    """
    return _vision_transformer(
        weights, progress, patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, **kwargs
    )


@register_model
def vit_b_32(*, weights: ViT_B_32_Weights | None = None, progress: bool = True, **kwargs: Any) -> VisionTransformer:
    """ViT-B/32, from `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
    <https://arxiv.org/abs/2010.11929>`__.

    ``image_size`` is the checkpoint's with weights, else 224 by default. ``img_size=`` makes a trained model one for
    images of another size: see :func:`resize_positions`.
    """
    return _vision_transformer(
        weights, progress, patch_size=32, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, **kwargs
    )


@register_model
def vit_l_16(*, weights: ViT_L_16_Weights | None = None, progress: bool = True, **kwargs: Any) -> VisionTransformer:
    """ViT-L/16, from `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
    <https://arxiv.org/abs/2010.11929>`__.

    ``image_size`` is the checkpoint's with weights, else 224 by default. ``img_size=`` makes a trained model one for
    images of another size: see :func:`resize_positions`.
    """
    return _vision_transformer(
        weights, progress, patch_size=16, num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096, **kwargs
    )


@register_model
def vit_l_32(*, weights: ViT_L_32_Weights | None = None, progress: bool = True, **kwargs: Any) -> VisionTransformer:
    """ViT-L/32, from `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
    <https://arxiv.org/abs/2010.11929>`__.

    ``image_size`` is the checkpoint's with weights, else 224 by default. ``img_size=`` makes a trained model one for
    images of another size: see :func:`resize_positions`.
    """
    return _vision_transformer(
        weights, progress, patch_size=32, num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096, **kwargs
    )


@register_model
def vit_h_14(*, weights: ViT_H_14_Weights | None = None, progress: bool = True, **kwargs: Any) -> VisionTransformer:
    """ViT-H/14, from `An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale
    <https://arxiv.org/abs/2010.11929>`__.

    ``image_size`` is the checkpoint's with weights, else 224 by default. ``img_size=`` makes a trained model one for
    images of another size: see :func:`resize_positions`.
    """
    return _vision_transformer(
        weights, progress, patch_size=14, num_layers=32, num_heads=16, hidden_dim=1280, mlp_dim=5120, **kwargs
    )
