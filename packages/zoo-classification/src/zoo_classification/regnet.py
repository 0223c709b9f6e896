"""RegNet.

- `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__
- RegNetY-128GF: `Vision Models Are More Robust And Fair When Pretrained On Uncurated Images Without Supervision
  <https://arxiv.org/abs/2202.08360>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem gives ``[N, 32, H/2, W/2]``; the four stages, of
greater and greater ``C``, give 1/4, 1/8, 1/16 and 1/32 of the input's size, rounded up.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import auto
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv2dNormActivation, SqueezeExcitation, initialize_normalization, make_divisible
from zoo_core.registry import register_model
from zoo_core.tracing import added
from zoo_core.weights import WeightsEnum

__all__ = [
    "RegNet", "RegNet_X_1_6GF_Weights", "RegNet_X_3_2GF_Weights", "RegNet_X_8GF_Weights", "RegNet_X_16GF_Weights",
    "RegNet_X_32GF_Weights", "RegNet_X_400MF_Weights", "RegNet_X_800MF_Weights", "RegNet_Y_1_6GF_Weights",
    "RegNet_Y_3_2GF_Weights", "RegNet_Y_8GF_Weights", "RegNet_Y_16GF_Weights", "RegNet_Y_32GF_Weights",
    "RegNet_Y_128GF_Weights", "RegNet_Y_400MF_Weights", "RegNet_Y_800MF_Weights", "regnet_x_1_6gf", "regnet_x_3_2gf",
    "regnet_x_8gf", "regnet_x_16gf", "regnet_x_32gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_y_1_6gf",
    "regnet_y_3_2gf", "regnet_y_8gf", "regnet_y_16gf", "regnet_y_32gf", "regnet_y_128gf", "regnet_y_400mf",
    "regnet_y_800mf",
]  # fmt: skip


class RegNet(nn.Module):
    """RegNetX or, where ``block_params`` has a ``se_ratio``, RegNetY: figure 3 of the paper.

    Args:
        block_params: the stages.
        num_classes: number of classes.
        stem_width: channels of the stem.
        stem_type: builds the stem; :class:`SimpleStemIN` by default.
        block_type: builds a block; :class:`ResBottleneckBlock` by default.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.
        activation: builds the activation; ReLU by default.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.
    """

    def __init__(
        self,
        block_params: "BlockParams",
        num_classes: int = 1000,
        stem_width: int = 32,
        stem_type: Callable[..., nn.Module] | None = None,
        block_type: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        activation: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        activation = activation or nn.ReLU
        self.stem = (stem_type or SimpleStemIN)(3, stem_width, norm_layer, activation)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        width = stem_width
        for i, (width_out, stride, depth, group_width, multiplier) in enumerate(block_params.stages(), start=1):
            stages[f"block{i}"] = AnyStage(
                width,
                width_out,
                stride,
                depth,
                block_type or ResBottleneckBlock,
                norm_layer,
                activation,
                group_width,
                multiplier,
                block_params.se_ratio,
                stage_index=i,
            )
            width = width_out
        self.trunk_output = nn.Sequential(stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width, num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            initialize_normalization(module)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        stages = [f"trunk_output.{name}" for name, _ in self.trunk_output.named_children()]
        return FeatureLayers(stages, head="fc")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=(1, 1))
        x = self.avgpool(self.trunk_output(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


@dataclass
class BlockParams:
    """What the stages of a RegNet are like; one element of each list for a stage.

    Args:
        depths: numbers of blocks.
        widths: channels.
        group_widths: channels of a group.
        bottleneck_multipliers: channels of the 3x3 convolutions, as multiples of the widths.
        strides: strides of the first blocks.
        se_ratio: channels in the squeeze-and-excitation, as a multiple of a block's input; ``None`` to leave it out.
    """

    depths: list[int]
    widths: list[int]
    group_widths: list[int]
    bottleneck_multipliers: list[float]
    strides: list[int]
    se_ratio: float | None = None

    @classmethod
    def from_init_params(
        cls,
        depth: int,
        w_0: int,
        w_a: float,
        w_m: float,
        group_width: int,
        bottleneck_multiplier: float = 1.0,
        se_ratio: float | None = None,
    ) -> Self:
        """Stages from the few parameters of the design space: equations 2 to 4 of the paper.

        The width of block ``j`` is ``w_0 + w_a * j``, rounded to ``w_0`` times a whole power of ``w_m`` and to a
        multiple of 8. Blocks of equal width are a stage. RegNetX-400MF:

        >>> stages = BlockParams.from_init_params(depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16)
        >>> stages.widths, stages.depths
        ([32, 64, 160, 400], [1, 2, 7, 12])

        Args:
            depth: number of blocks.
            w_0: width of the first block, a positive multiple of 8.
            w_a: growth of the width from block to block, at least 0.
            w_m: factor between the widths of stages, more than 1.
            group_width: channels of a group.
            bottleneck_multiplier: channels of the 3x3 convolutions, as a multiple of the widths.
            se_ratio: channels in the squeeze-and-excitation, as a multiple of a block's input; ``None`` to leave it
                out.

        Raises:
            ValueError: a parameter is outside its range.
        """
        if depth < 1 or w_0 <= 0 or w_0 % 8 != 0 or w_a < 0 or w_m <= 1:
            raise ValueError(
                "a RegNet has depth >= 1, w_0 a positive multiple of 8, w_a >= 0 and w_m > 1, "
                f"not depth={depth}, w_0={w_0}, w_a={w_a}, w_m={w_m}"
            )
        powers = [round(math.log((w_0 + w_a * j) / w_0) / math.log(w_m)) for j in range(depth)]
        block_widths = [round(w_0 * w_m**power / 8) * 8 for power in powers]
        stages = [(width, len(list(blocks))) for width, blocks in itertools.groupby(block_widths)]

        widths, group_widths = [], []
        for width, _ in stages:
            bottleneck = int(width * bottleneck_multiplier)
            group_widths.append(min(group_width, bottleneck))
            widths.append(int(make_divisible(bottleneck, group_widths[-1]) / bottleneck_multiplier))
        return cls(
            depths=[blocks for _, blocks in stages],
            widths=widths,
            group_widths=group_widths,
            bottleneck_multipliers=[bottleneck_multiplier] * len(stages),
            strides=[2] * len(stages),
            se_ratio=se_ratio,
        )

    def stages(self) -> Iterator[tuple[int, int, int, int, float]]:
        """Width, stride, depth, group width and bottleneck multiplier of each stage."""
        return zip(self.widths, self.strides, self.depths, self.group_widths, self.bottleneck_multipliers, strict=True)


class SimpleStemIN(Conv2dNormActivation):
    """The stem for ImageNet: a 3x3 convolution that halves the size.

    Args:
        width_in: channels of the input.
        width_out: channels of the output.
        norm_layer: builds the normalisation for a number of channels.
        activation_layer: builds the activation.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
    ) -> None:
        super().__init__(
            width_in, width_out, kernel_size=3, stride=2, norm_layer=norm_layer, activation_layer=activation_layer
        )


class AnyStage(nn.Sequential):
    """Blocks of one width, the first of which changes the size.

    Args:
        width_in: channels of the input.
        width_out: channels of the output.
        stride: stride of the first block.
        depth: number of blocks.
        block_constructor: builds a block; takes the arguments of :class:`ResBottleneckBlock`.
        norm_layer: builds the normalisation for a number of channels.
        activation_layer: builds the activation.
        group_width: channels of a group.
        bottleneck_multiplier: channels of the 3x3 convolutions, as a multiple of ``width_out``.
        se_ratio: channels in the squeeze-and-excitation, as a multiple of the block's input; ``None`` to leave it out.
        stage_index: number of the stage, for the blocks' names.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        stride: int,
        depth: int,
        block_constructor: Callable[..., nn.Module],
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
        group_width: int,
        bottleneck_multiplier: float,
        se_ratio: float | None = None,
        stage_index: int = 0,
    ) -> None:
        super().__init__()
        for i in range(depth):
            block = block_constructor(
                width_in if i == 0 else width_out,
                width_out,
                stride if i == 0 else 1,
                norm_layer,
                activation_layer,
                group_width,
                bottleneck_multiplier,
                se_ratio,
            )
            self.add_module(f"block{stage_index}-{i}", block)


class ResBottleneckBlock(nn.Module):
    """:class:`BottleneckTransform` and a shortcut: the "X block" or "Y block" of the paper.

    Args:
        width_in: channels of the input.
        width_out: channels of the output.
        stride: stride of the 3x3 convolution, and of the shortcut.
        norm_layer: builds the normalisation for a number of channels.
        activation_layer: builds the activation.
        group_width: channels of a group of the 3x3 convolution.
        bottleneck_multiplier: channels of the 3x3 convolution, as a multiple of ``width_out``.
        se_ratio: channels in the squeeze-and-excitation, as a multiple of ``width_in``; ``None`` to leave it out.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        stride: int,
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
        group_width: int = 1,
        bottleneck_multiplier: float = 1.0,
        se_ratio: float | None = None,
    ) -> None:
        super().__init__()
        self.proj = None
        if width_in != width_out or stride != 1:
            self.proj = Conv2dNormActivation(
                width_in, width_out, kernel_size=1, stride=stride, norm_layer=norm_layer, activation_layer=None
            )
        self.f = BottleneckTransform(
            width_in, width_out, stride, norm_layer, activation_layer, group_width, bottleneck_multiplier, se_ratio
        )
        self.activation = activation_layer(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.proj is None else self.proj(x)
        return self.activation(added(self.f(x), shortcut, self.f))


class BottleneckTransform(nn.Sequential):
    """1x1, grouped 3x3 (with squeeze-and-excitation in RegNetY) and 1x1 convolution.

    Args:
        width_in: channels of the input.
        width_out: channels of the output.
        stride: stride of the 3x3 convolution.
        norm_layer: builds the normalisation for a number of channels.
        activation_layer: builds the activation.
        group_width: channels of a group.
        bottleneck_multiplier: channels of the 3x3 convolution, as a multiple of ``width_out``.
        se_ratio: channels in the squeeze-and-excitation, as a multiple of ``width_in``; ``None`` to leave it out.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        stride: int,
        norm_layer: Callable[..., nn.Module],
        activation_layer: Callable[..., nn.Module],
        group_width: int,
        bottleneck_multiplier: float,
        se_ratio: float | None,
    ) -> None:
        width = round(width_out * bottleneck_multiplier)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["a"] = Conv2dNormActivation(
            width_in, width, kernel_size=1, norm_layer=norm_layer, activation_layer=activation_layer
        )
        layers["b"] = Conv2dNormActivation(
            width,
            width,
            kernel_size=3,
            stride=stride,
            groups=width // group_width,
            norm_layer=norm_layer,
            activation_layer=activation_layer,
        )
        if se_ratio:
            layers["se"] = SqueezeExcitation(width, round(se_ratio * width_in), activation=activation_layer)
        layers["c"] = Conv2dNormActivation(
            width, width_out, kernel_size=1, norm_layer=norm_layer, activation_layer=None
        )
        super().__init__(layers)


def _regnet_x(
    depth: int, w_0: int, w_a: float, w_m: float, group_width: int, num_classes: int = 1000, **kwargs: Any
) -> RegNet:
    return RegNet(BlockParams.from_init_params(depth, w_0, w_a, w_m, group_width), num_classes, **kwargs)


def _regnet_y(
    depth: int, w_0: int, w_a: float, w_m: float, group_width: int, num_classes: int = 1000, **kwargs: Any
) -> RegNet:
    stages = BlockParams.from_init_params(depth, w_0, w_a, w_m, group_width, se_ratio=0.25)
    return RegNet(stages, num_classes, **kwargs)


class RegNet_Y_400MF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_800MF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_1_6GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_3_2GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_8GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_16GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_32GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_Y_128GF_Weights(WeightsEnum):
    IMAGENET1K_SWAG_E2E_V1 = auto()
    IMAGENET1K_SWAG_LINEAR_V1 = auto()
    DEFAULT = IMAGENET1K_SWAG_E2E_V1


class RegNet_X_400MF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_800MF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_1_6GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_3_2GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_8GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_16GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class RegNet_X_32GF_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


@register_model
def regnet_y_400mf(*, weights: RegNet_Y_400MF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-400MF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=16, w_0=48, w_a=27.89, w_m=2.09, group_width=8, **kwargs)


@register_model
def regnet_y_800mf(*, weights: RegNet_Y_800MF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-800MF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=14, w_0=56, w_a=38.84, w_m=2.4, group_width=16, **kwargs)


@register_model
def regnet_y_1_6gf(*, weights: RegNet_Y_1_6GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-1.6GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=27, w_0=48, w_a=20.71, w_m=2.65, group_width=24, **kwargs)


@register_model
def regnet_y_3_2gf(*, weights: RegNet_Y_3_2GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-3.2GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=21, w_0=80, w_a=42.63, w_m=2.66, group_width=24, **kwargs)


@register_model
def regnet_y_8gf(*, weights: RegNet_Y_8GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-8GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=17, w_0=192, w_a=76.82, w_m=2.19, group_width=56, **kwargs)


@register_model
def regnet_y_16gf(*, weights: RegNet_Y_16GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-16GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=18, w_0=200, w_a=106.23, w_m=2.48, group_width=112, **kwargs)


@register_model
def regnet_y_32gf(*, weights: RegNet_Y_32GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-32GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=20, w_0=232, w_a=115.89, w_m=2.53, group_width=232, **kwargs)


@register_model
def regnet_y_128gf(*, weights: RegNet_Y_128GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetY-128GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_y, weights, progress, depth=27, w_0=456, w_a=160.83, w_m=2.52, group_width=264, **kwargs)


@register_model
def regnet_x_400mf(*, weights: RegNet_X_400MF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-400MF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16, **kwargs)


@register_model
def regnet_x_800mf(*, weights: RegNet_X_800MF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-800MF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=16, w_0=56, w_a=35.73, w_m=2.28, group_width=16, **kwargs)


@register_model
def regnet_x_1_6gf(*, weights: RegNet_X_1_6GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-1.6GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=18, w_0=80, w_a=34.01, w_m=2.25, group_width=24, **kwargs)


@register_model
def regnet_x_3_2gf(*, weights: RegNet_X_3_2GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-3.2GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=25, w_0=88, w_a=26.31, w_m=2.25, group_width=48, **kwargs)


@register_model
def regnet_x_8gf(*, weights: RegNet_X_8GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-8GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=23, w_0=80, w_a=49.56, w_m=2.88, group_width=120, **kwargs)


@register_model
def regnet_x_16gf(*, weights: RegNet_X_16GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-16GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=22, w_0=216, w_a=55.59, w_m=2.1, group_width=128, **kwargs)


@register_model
def regnet_x_32gf(*, weights: RegNet_X_32GF_Weights | None = None, progress: bool = True, **kwargs: Any) -> RegNet:
    """RegNetX-32GF, from `Designing Network Design Spaces <https://arxiv.org/abs/2003.13678>`__."""
    return build(_regnet_x, weights, progress, depth=23, w_0=320, w_a=69.86, w_m=2.0, group_width=168, **kwargs)
