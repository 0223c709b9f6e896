"""ConvNeXt.

`A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stages give ``[N, C, H/4, W/4]``, then with a greater
``C`` sizes of 1/8, 1/16 and 1/32 of the input's, rounded down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.fused import fuse_chain
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv2dNormActivation, LayerNorm2d, Permute, StochasticDepth
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "ConvNeXt", "ConvNeXt_Base_Weights", "ConvNeXt_Large_Weights", "ConvNeXt_Small_Weights", "ConvNeXt_Tiny_Weights",
    "convnext_base", "convnext_large", "convnext_small", "convnext_tiny",
]  # fmt: skip


class ConvNeXt(nn.Module):
    """ConvNeXt, table 9 of the paper.

    Args:
        block_setting: the stages.
        stochastic_depth_prob: probability of dropping the branch of the last block, for a sample in training; it grows
            linearly from 0 at the first block.
        layer_scale: initial value of the blocks' scales.
        num_classes: number of classes.
        block: builds a block; :class:`CNBlock` by default.
        norm_layer: builds the normalisation of stem, downsamplings and classifier for a number of channels; layer
            normalisation over the channels by default.
        **kwargs: none are accepted; torchvision's signature has them.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; H and W of at least 32 (with four stages).

    Raises:
        ValueError: ``block_setting`` is empty.
        TypeError: it holds something other than :class:`CNBlockConfig`, or an argument is unknown.
    """

    def __init__(
        self,
        block_setting: "Sequence[CNBlockConfig]",
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if kwargs:
            raise TypeError(f"ConvNeXt has no arguments {', '.join(kwargs)}")
        if not block_setting:
            raise ValueError("block_setting is empty; give one CNBlockConfig for each stage")
        if not all(isinstance(stage, CNBlockConfig) for stage in block_setting):
            raise TypeError(f"block_setting must be a list of CNBlockConfig, not {block_setting!r}")
        block = block or CNBlock
        norm_layer = norm_layer or partial(LayerNorm2d, eps=1e-6)

        stem = Conv2dNormActivation(
            3,
            block_setting[0].input_channels,
            kernel_size=4,
            stride=4,
            padding=0,
            norm_layer=norm_layer,
            activation_layer=None,
            bias=True,
        )
        layers: list[nn.Module] = [stem]
        total = sum(stage.num_layers for stage in block_setting)
        number = 0
        smallest = 4
        for stage in block_setting:
            blocks = []
            for _ in range(stage.num_layers):
                drop = stochastic_depth_prob * number / max(total - 1, 1)
                blocks.append(block(stage.input_channels, layer_scale, drop))
                number += 1
            layers.append(nn.Sequential(*blocks))
            if stage.out_channels is not None:
                downsampling = nn.Conv2d(stage.input_channels, stage.out_channels, kernel_size=2, stride=2)
                layers.append(nn.Sequential(norm_layer(stage.input_channels), downsampling))
                smallest *= 2
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        channels = block_setting[-1].out_channels or block_setting[-1].input_channels
        self.classifier = nn.Sequential(norm_layer(channels), nn.Flatten(1), nn.Linear(channels, num_classes))
        self.min_size = (smallest, smallest)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            # The paper's truncation at 2, a hundred deviations away, never comes to bear.
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.2")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=self.min_size)
        return self.classifier(self.avgpool(self.features(x)))


@dataclass
class CNBlockConfig:
    """One stage.

    Args:
        input_channels: channels of its blocks.
        out_channels: channels after the downsampling that follows; ``None`` for none, in the last stage.
        num_layers: number of blocks.
    """

    input_channels: int
    out_channels: int | None
    num_layers: int


class CNBlock(nn.Module):
    """7x7 depthwise convolution, two 1x1 convolutions and a shortcut: figure 4 (right) of the paper.

    The 1x1 convolutions are linear layers over the last dimension, which is faster.

    Args:
        dim: channels of input and output.
        layer_scale: initial value of the scale of each channel before the shortcut is added.
        stochastic_depth_prob: probability of dropping all but the shortcut, for each sample.
        norm_layer: builds the normalisation over the last dimension for a number of channels; layer normalisation by
            default.
    """

    def __init__(
        self,
        dim: int,
        layer_scale: float,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-6)
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim),
            Permute([0, 2, 3, 1]),
            norm_layer(dim),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(torch.full((dim, 1, 1), float(layer_scale)))
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.is_folded = False

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        if not self.is_folded:
            result = self.layer_scale * result
        result = self.stochastic_depth(result)
        result += input
        return result

    def fold_for_inference(self) -> None:
        """See :class:`zoo_core.inference.Foldable`: the last layer scales its output, too."""
        last = next((layer for layer in reversed(self.block) if not isinstance(layer, Permute)), None)
        if self.is_folded or type(last) is not nn.Linear:
            return
        fuse_chain(self.block)
        scale = self.layer_scale.flatten()
        last.weight = nn.Parameter(last.weight * scale[:, None], requires_grad=False)
        if last.bias is not None:
            last.bias = nn.Parameter(last.bias * scale, requires_grad=False)
        self.is_folded = True


def _convnext(channels: Sequence[int], depths: Sequence[int], num_classes: int = 1000, **kwargs: Any) -> ConvNeXt:
    following = [*channels[1:], None]
    stages = [CNBlockConfig(*stage) for stage in zip(channels, following, depths, strict=True)]
    return ConvNeXt(stages, num_classes=num_classes, **kwargs)


class ConvNeXt_Tiny_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Small_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Base_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Large_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def convnext_tiny(*, weights: ConvNeXt_Tiny_Weights | None = None, progress: bool = True, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-T, from `A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`__."""
    kwargs.setdefault("stochastic_depth_prob", 0.1)
    return build(_convnext, weights, progress, channels=(96, 192, 384, 768), depths=(3, 3, 9, 3), **kwargs)


@register_model
def convnext_small(*, weights: ConvNeXt_Small_Weights | None = None, progress: bool = True, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-S, from `A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`__."""
    kwargs.setdefault("stochastic_depth_prob", 0.4)
    return build(_convnext, weights, progress, channels=(96, 192, 384, 768), depths=(3, 3, 27, 3), **kwargs)


@register_model
def convnext_base(*, weights: ConvNeXt_Base_Weights | None = None, progress: bool = True, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-B, from `A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`__."""
    kwargs.setdefault("stochastic_depth_prob", 0.5)
    return build(_convnext, weights, progress, channels=(128, 256, 512, 1024), depths=(3, 3, 27, 3), **kwargs)


@register_model
def convnext_large(*, weights: ConvNeXt_Large_Weights | None = None, progress: bool = True, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-L, from `A ConvNet for the 2020s <https://arxiv.org/abs/2201.03545>`__."""
    kwargs.setdefault("stochastic_depth_prob", 0.5)
    return build(_convnext, weights, progress, channels=(192, 384, 768, 1536), depths=(3, 3, 27, 3), **kwargs)
