"""MobileNetV3.

`Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem halves the size, and so does each row of stride 2;
``features`` gives ``[N, C, H/32, W/32]``, rounded up, or a dilated ``[N, C, H/16, W/16]``.
"""

from collections.abc import Callable, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.initialization import initialize_mobile
from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv2dNormActivation, SqueezeExcitation, make_divisible
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "MobileNetV3", "MobileNet_V3_Large_Weights", "MobileNet_V3_Small_Weights", "mobilenet_v3_large",
    "mobilenet_v3_small",
]  # fmt: skip


class MobileNetV3(nn.Module):
    """MobileNetV3, tables 1 and 2 of the paper.

    Args:
        inverted_residual_setting: the blocks, in their order.
        last_channel: channels of the classifier's hidden layer.
        num_classes: number of classes.
        block: builds a block from its configuration and ``norm_layer``; :class:`InvertedResidual` by default.
        norm_layer: builds the normalisation for a number of channels; batch normalisation (eps 0.001, momentum 0.01)
            by default.
        dropout: dropout probability before the last layer.
        **kwargs: ``width_mult``, ``reduced_tail`` and ``dilated`` may be handed on by functions that made
            ``inverted_residual_setting`` from them. They have no effect here.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.

    Raises:
        ValueError: there are no blocks.
        TypeError: ``inverted_residual_setting`` is no sequence of :class:`InvertedResidualConfig`, or an argument is
            unknown.
    """

    def __init__(
        self,
        inverted_residual_setting: "Sequence[InvertedResidualConfig]",
        last_channel: int,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        unknown = sorted(kwargs.keys() - {"width_mult", "reduced_tail", "dilated"})
        if unknown:
            raise TypeError(f"MobileNetV3 has no argument {', '.join(unknown)}")
        if not isinstance(inverted_residual_setting, Sequence) or not all(
            isinstance(cnf, InvertedResidualConfig) for cnf in inverted_residual_setting
        ):
            raise TypeError(
                f"inverted_residual_setting must be a list of InvertedResidualConfig, not {inverted_residual_setting!r}"
            )
        if not inverted_residual_setting:
            raise ValueError("inverted_residual_setting is empty; give at least one InvertedResidualConfig")
        block = block or InvertedResidual
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        conv_hswish = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.Hardswish)

        first_channels = inverted_residual_setting[0].input_channels
        last_block_channels = inverted_residual_setting[-1].out_channels
        last_conv_channels = 6 * last_block_channels
        self.features = nn.Sequential(
            conv_hswish(3, first_channels, kernel_size=3, stride=2),
            *(block(cnf, norm_layer) for cnf in inverted_residual_setting),
            conv_hswish(last_block_channels, last_conv_channels, kernel_size=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last_conv_channels, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the reference implementation."""
        initialize_mobile(module)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.3")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="MobileNetV3", min_size=(1, 1))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class InvertedResidualConfig:
    """A row of the paper's tables 1 and 2.

    Args:
        input_channels: channels of the input, at width 1.
        kernel: size of the depthwise kernel.
        expanded_channels: channels inside the block, at width 1.
        out_channels: channels of the output, at width 1.
        use_se: have a squeeze-and-excitation.
        activation: ``"RE"`` for ReLU, ``"HS"`` for h-swish.
        stride: stride of the depthwise convolution.
        dilation: dilation of that convolution. Where it is above 1, it takes the place of the stride.
        width_mult: factor for all channels, which are rounded to multiples of 8.
    """

    def __init__(
        self,
        input_channels: int,
        kernel: int,
        expanded_channels: int,
        out_channels: int,
        use_se: bool,
        activation: str,
        stride: int,
        dilation: int,
        width_mult: float,
    ) -> None:
        if activation not in ("RE", "HS"):
            raise ValueError(f"activation must be 'RE' (ReLU) or 'HS' (h-swish), not {activation!r}")
        self.input_channels = self.adjust_channels(input_channels, width_mult)
        self.kernel = kernel
        self.expanded_channels = self.adjust_channels(expanded_channels, width_mult)
        self.out_channels = self.adjust_channels(out_channels, width_mult)
        self.use_se = use_se
        self.use_hs = activation == "HS"
        self.stride = stride
        self.dilation = dilation

    @staticmethod
    def adjust_channels(channels: int, width_mult: float) -> int:
        return make_divisible(channels * width_mult, 8)


hardsigmoid_squeeze_excitation = partial(SqueezeExcitation, scale_activation=nn.Hardsigmoid)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, projection and shortcut: figure 4 of the paper.

    Args:
        cnf: sizes of the block.
        norm_layer: builds the normalisation for a number of channels.
        se_layer: builds the squeeze-and-excitation from its channels and those between its layers.
    """

    def __init__(
        self,
        cnf: InvertedResidualConfig,
        norm_layer: Callable[..., nn.Module],
        se_layer: Callable[..., nn.Module] = hardsigmoid_squeeze_excitation,
    ) -> None:
        super().__init__()
        if cnf.stride not in (1, 2):
            raise ValueError(f"InvertedResidual takes a stride of 1 or 2, not {cnf.stride}")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        activation: type[nn.Module] = nn.Hardswish if cnf.use_hs else nn.ReLU
        expanded = cnf.expanded_channels
        layers: list[nn.Module] = []
        if expanded != cnf.input_channels:
            layers.append(
                Conv2dNormActivation(
                    cnf.input_channels, expanded, kernel_size=1, norm_layer=norm_layer, activation_layer=activation
                )
            )
        layers.append(
            Conv2dNormActivation(
                expanded,
                expanded,
                kernel_size=cnf.kernel,
                stride=1 if cnf.dilation > 1 else cnf.stride,
                dilation=cnf.dilation,
                groups=expanded,
                norm_layer=norm_layer,
                activation_layer=activation,
            )
        )
        if cnf.use_se:
            layers.append(se_layer(expanded, make_divisible(expanded // 4, 8)))
        layers.append(
            Conv2dNormActivation(
                expanded, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None
            )
        )
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels
        # Backbones of other tasks take their feature maps before these blocks, dilated ones included.
        self._is_cn = cnf.stride > 1

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        if self.use_res_connect:
            result += input
        return result


def large_setting(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False
) -> tuple[list[InvertedResidualConfig], int]:
    """Blocks and ``last_channel`` of MobileNetV3-Large: table 1 of the paper.

    Args:
        width_mult: factor for all channels.
        reduced_tail: halve the channels of the last stage, as section 6.3 does for detection.
        dilated: let the last stage dilate instead of halving the size, as section 6.4 does for segmentation.
    """
    row = partial(InvertedResidualConfig, width_mult=width_mult)
    divider = 2 if reduced_tail else 1
    dilation = 2 if dilated else 1
    tail = 160 // divider
    blocks = [
        row(16, 3, 16, 16, False, "RE", 1, 1),
        row(16, 3, 64, 24, False, "RE", 2, 1),
        row(24, 3, 72, 24, False, "RE", 1, 1),
        row(24, 5, 72, 40, True, "RE", 2, 1),
        row(40, 5, 120, 40, True, "RE", 1, 1),
        row(40, 5, 120, 40, True, "RE", 1, 1),
        row(40, 3, 240, 80, False, "HS", 2, 1),
        row(80, 3, 200, 80, False, "HS", 1, 1),
        row(80, 3, 184, 80, False, "HS", 1, 1),
        row(80, 3, 184, 80, False, "HS", 1, 1),
        row(80, 3, 480, 112, True, "HS", 1, 1),
        row(112, 3, 672, 112, True, "HS", 1, 1),
        row(112, 5, 672, tail, True, "HS", 2, dilation),
        row(tail, 5, 960 // divider, tail, True, "HS", 1, dilation),
        row(tail, 5, 960 // divider, tail, True, "HS", 1, dilation),
    ]
    return blocks, InvertedResidualConfig.adjust_channels(1280 // divider, width_mult)


def small_setting(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False
) -> tuple[list[InvertedResidualConfig], int]:
    """Blocks and ``last_channel`` of MobileNetV3-Small: table 2 of the paper. See :func:`large_setting`."""
    row = partial(InvertedResidualConfig, width_mult=width_mult)
    divider = 2 if reduced_tail else 1
    dilation = 2 if dilated else 1
    tail = 96 // divider
    blocks = [
        row(16, 3, 16, 16, True, "RE", 2, 1),
        row(16, 3, 72, 24, False, "RE", 2, 1),
        row(24, 3, 88, 24, False, "RE", 1, 1),
        row(24, 5, 96, 40, True, "HS", 2, 1),
        row(40, 5, 240, 40, True, "HS", 1, 1),
        row(40, 5, 240, 40, True, "HS", 1, 1),
        row(40, 5, 120, 48, True, "HS", 1, 1),
        row(48, 5, 144, 48, True, "HS", 1, 1),
        row(48, 5, 288, tail, True, "HS", 2, dilation),
        row(tail, 5, 576 // divider, tail, True, "HS", 1, dilation),
        row(tail, 5, 576 // divider, tail, True, "HS", 1, dilation),
    ]
    return blocks, InvertedResidualConfig.adjust_channels(1024 // divider, width_mult)


def _large(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, num_classes: int = 1000, **kwargs: Any
) -> MobileNetV3:
    return MobileNetV3(*large_setting(width_mult, reduced_tail, dilated), num_classes=num_classes, **kwargs)


def _small(
    width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, num_classes: int = 1000, **kwargs: Any
) -> MobileNetV3:
    return MobileNetV3(*small_setting(width_mult, reduced_tail, dilated), num_classes=num_classes, **kwargs)


class MobileNet_V3_Large_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class MobileNet_V3_Small_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def mobilenet_v3_large(
    *, weights: MobileNet_V3_Large_Weights | None = None, progress: bool = True, **kwargs: Any
) -> MobileNetV3:
    """MobileNetV3-Large, from `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__.

    Args:
        **kwargs: arguments of :func:`large_setting` (``width_mult``, ``reduced_tail``, ``dilated``), of
            :class:`MobileNetV3`, and of :func:`zoo_core.builders.build`.
    """
    return build(_large, weights, progress, **kwargs)


@register_model
def mobilenet_v3_small(
    *, weights: MobileNet_V3_Small_Weights | None = None, progress: bool = True, **kwargs: Any
) -> MobileNetV3:
    """MobileNetV3-Small, from `Searching for MobileNetV3 <https://arxiv.org/abs/1905.02244>`__.

    Args:
        **kwargs: arguments of :func:`small_setting` (``width_mult``, ``reduced_tail``, ``dilated``), of
            :class:`MobileNetV3`, and of :func:`zoo_core.builders.build`.
    """
    return build(_small, weights, progress, **kwargs)
