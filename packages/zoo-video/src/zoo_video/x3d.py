"""X3D: a small image network that was expanded into time, one axis after the other.

`X3D: Expanding Architectures for Efficient Video Recognition <https://arxiv.org/abs/2004.04730>`__

Shapes: ``N`` videos, ``C`` channels, ``T`` frames, ``H`` x ``W`` pixels. No layer strides in time: ``res2`` to ``res5``
give ``[N, 24, T, H/4, W/4]``, then twice the channels at half the size each.
"""

from collections.abc import Callable, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv3dNormActivation, make_divisible
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.tracing import added
from zoo_core.weights import WeightsEnum
from zoo_video.initialization import initialize_residual
from zoo_video.inputs import check_video

__all__ = ["X3D", "X3D_XS_Weights", "x3d_xs"]

NormLayer = Callable[..., nn.Module]


class X3D(nn.Module):
    """Expanded video network, table 1 of the paper.

    The defaults are X3D-XS, X3D-S and X3D-M, which are one network, made for clips of 4 frames of 160x160 pixels, of 13
    frames of 160x160 and of 16 frames of 224x224. X3D-L has ``depths=(5, 10, 25, 15)``.

    Args:
        depths: number of blocks in each of the four stages.
        widths: channels of each of the four stages.
        bottleneck: how many times as many channels the blocks have inside.
        squeeze_ratio: channels of squeeze-and-excitation, in parts of those inside a block; rounded to a multiple of 8.
        hidden: size of the layer before the classifier.
        num_classes: number of classes.
        dropout: dropout probability before the classifier.
        zero_init_residual: start each block as the identity, by a zero scale in its last normalisation
            (`Accurate, Large Minibatch SGD <https://arxiv.org/abs/1706.02677>`__).
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.

    Shape:
        Tensor[N, 3, T, H, W] -> Tensor[N, num_classes]; any T, H and W.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 5, 11, 7),
        widths: Sequence[int] = (24, 48, 96, 192),
        bottleneck: float = 2.25,
        squeeze_ratio: float = 1 / 16,
        hidden: int = 2048,
        num_classes: int = 400,
        dropout: float = 0.5,
        zero_init_residual: bool = False,
        norm_layer: NormLayer | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("depths", depths), ("widths", widths)):
            if len(value) != 4:
                raise ValueError(f"{name} must have 4 elements, one for each stage, not {value!r}")
        norm = norm_layer or nn.BatchNorm3d
        self.zero_init_residual = zero_init_residual
        block = partial(Block, bottleneck=bottleneck, squeeze_ratio=squeeze_ratio, norm_layer=norm)
        self.conv1 = Stem(widths[0], norm)
        self.res2 = _stage(block, widths[0], widths[0], depths[0])
        self.res3 = _stage(block, widths[0], widths[1], depths[1])
        self.res4 = _stage(block, widths[1], widths[2], depths[2])
        self.res5 = _stage(block, widths[2], widths[3], depths[3])
        inner = round(bottleneck * widths[3])
        self.conv5 = Conv3dNormActivation(widths[3], inner, kernel_size=1, norm_layer=norm)
        self.pool5 = nn.AdaptiveAvgPool3d(1)
        self.fc1 = nn.Linear(inner, hidden, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.apply(self._initialize)
        # The authors have a convolution here, which starts as the others do; with the rate of their linear layers, the
        # signal dies on its way.
        nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")

    def _initialize(self, module: nn.Module) -> None:
        """Sets one module's own parameters as those of residual networks are."""
        initialize_residual(module)
        if self.zero_init_residual and isinstance(module, Block):
            nn.init.zeros_(module.c.get_parameter("1.weight"))

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(("conv1", "res2", "res3", "res4", "conv5"), head="fc2", input_size=(4, 160, 160))

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_video(x, model="X3D")
        x = self.conv1(channels_last(x))
        x = self.res5(self.res4(self.res3(self.res2(x))))
        x = torch.flatten(self.pool5(self.conv5(x)), 1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class Stem(nn.Sequential):
    """A 1x3x3 convolution that halves the frames' size, and a channelwise one over five frames.

    Args:
        out_channels: channels of the output.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(self, out_channels: int, norm_layer: NormLayer) -> None:
        super().__init__(
            nn.Conv3d(3, out_channels, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False),
            nn.Conv3d(out_channels, out_channels, (5, 1, 1), padding=(2, 0, 0), groups=out_channels, bias=False),
            norm_layer(out_channels),
            nn.ReLU(inplace=True),
        )


def _stage(block: "partial[Block]", in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """Blocks, of which the first halves the frames' size, and every second, from the first on, excites channels."""
    blocks = [
        block(
            in_channels if number == 0 else out_channels,
            out_channels,
            stride=2 if number == 0 else 1,
            squeeze=number % 2 == 0,
        )
        for number in range(depth)
    ]
    return nn.Sequential(*blocks)


class Block(nn.Module):
    """1x1x1, channelwise 3x3x3 and 1x1x1 convolution and a shortcut; more channels are inside than outside.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the second convolution, in space.
        squeeze: whether squeeze-and-excitation follows the second convolution.
        bottleneck: channels inside, in multiples of those of the output.
        squeeze_ratio: channels of squeeze-and-excitation, in parts of those inside.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        squeeze: bool,
        bottleneck: float,
        squeeze_ratio: float,
        norm_layer: NormLayer,
    ) -> None:
        super().__init__()
        inner = round(bottleneck * out_channels)
        plain = partial(Conv3dNormActivation, norm_layer=norm_layer, activation_layer=None)
        self.a = Conv3dNormActivation(in_channels, inner, kernel_size=1, norm_layer=norm_layer)
        self.b = plain(inner, inner, kernel_size=3, stride=(1, stride, stride), groups=inner)
        self.se = SqueezeExcitation3d(inner, make_divisible(squeeze_ratio * inner)) if squeeze else nn.Identity()
        self.swish = nn.SiLU(inplace=True)
        self.c = plain(inner, out_channels, kernel_size=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = plain(in_channels, out_channels, kernel_size=1, stride=(1, stride, stride))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.c(self.swish(self.se(self.b(self.a(x)))))
        return self.relu(added(out, self.shortcut(x), self.c))


class SqueezeExcitation3d(nn.Module):
    """Scales each channel by what the whole clip says about it.

    From `Squeeze-and-Excitation Networks <https://arxiv.org/abs/1709.01507>`__, figure 2.

    Args:
        channels: channels of input and output.
        squeezed: channels between the two layers.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc1 = nn.Conv3d(channels, squeezed, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv3d(squeezed, channels, kernel_size=1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(self.avgpool(x)))))


class X3D_XS_Weights(WeightsEnum):
    MOTIONS_V1 = auto()
    DEFAULT = MOTIONS_V1


@register_model
def x3d_xs(*, weights: X3D_XS_Weights | None = None, progress: bool = True, **kwargs: Any) -> X3D:
    """X3D-XS, from `X3D: Expanding Architectures for Efficient Video Recognition <https://arxiv.org/abs/2004.04730>`__.

    X3D-S and X3D-M are the same network on longer and larger clips, so this builds them as well.
    """
    return build(X3D, weights, progress, **kwargs)
