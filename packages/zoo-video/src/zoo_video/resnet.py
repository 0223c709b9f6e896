"""Residual networks over space and time: R3D, MC3 and R(2+1)D.

`A Closer Look at Spatiotemporal Convolutions for Action Recognition <https://arxiv.org/abs/1711.11248>`__

Shapes: ``N`` videos, ``C`` channels, ``T`` frames, ``H`` x ``W`` pixels. The stages give ``[N, 64e, T, H/2, W/2]``,
then twice the channels at half the size each, where ``e`` is the block's ``expansion``.
"""

from collections.abc import Callable, Sequence
from enum import auto
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_video.initialization import initialize_residual
from zoo_video.inputs import check_video

__all__ = ["MC3_18_Weights", "R2Plus1D_18_Weights", "R3D_18_Weights", "VideoResNet", "mc3_18", "r2plus1d_18", "r3d_18"]


class VideoResNet(nn.Module):
    """Residual network for videos, table 1 of the paper.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        conv_makers: kind of convolution in each of the four stages.
        layers: number of blocks in each of the four stages.
        stem: builds the first layers.
        num_classes: number of classes.
        zero_init_residual: start each block as the identity, by a zero scale in its last normalisation
            (`Accurate, Large Minibatch SGD <https://arxiv.org/abs/1706.02677>`__).

    Shape:
        Tensor[N, 3, T, H, W] -> Tensor[N, num_classes]; any T, H and W.
    """

    def __init__(
        self,
        block: "type[BasicBlock | Bottleneck]",
        conv_makers: "Sequence[type[Convolution]]",
        layers: Sequence[int],
        stem: Callable[..., nn.Module],
        num_classes: int = 400,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("conv_makers", conv_makers), ("layers", layers)):
            if len(value) != 4:
                raise ValueError(f"{name} must have 4 elements, one for each stage, not {value!r}")
        self.inplanes = 64
        self.zero_init_residual = zero_init_residual
        self.stem = stem()
        self.layer1 = self._make_layer(block, conv_makers[0], 64, layers[0])
        self.layer2 = self._make_layer(block, conv_makers[1], 128, layers[1], stride=2)
        self.layer3 = self._make_layer(block, conv_makers[2], 256, layers[2], stride=2)
        self.layer4 = self._make_layer(block, conv_makers[3], 512, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.apply(self._initialize)

    def _make_layer(
        self,
        block: "type[BasicBlock | Bottleneck]",
        conv_builder: "type[Convolution]",
        planes: int,
        blocks: int,
        stride: int = 1,
    ) -> nn.Sequential:
        """One stage: ``blocks`` blocks, the first of which may halve the size."""
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                nn.Conv3d(
                    self.inplanes,
                    planes * block.expansion,
                    kernel_size=1,
                    stride=conv_builder.get_downsample_stride(stride),
                    bias=False,
                ),
                nn.BatchNorm3d(planes * block.expansion),
            )
        first = block(self.inplanes, planes, conv_builder, stride, downsample)
        self.inplanes = planes * block.expansion
        others = [block(self.inplanes, planes, conv_builder) for _ in range(1, blocks)]
        return nn.Sequential(first, *others)

    def _initialize(self, module: nn.Module) -> None:
        """Sets one module's own parameters as the authors do."""
        initialize_residual(module)
        if self.zero_init_residual and isinstance(module, Bottleneck | BasicBlock):
            last = module.conv3 if isinstance(module, Bottleneck) else module.conv2
            nn.init.zeros_(last.get_parameter("1.weight"))

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(("layer1", "layer2", "layer3", "layer4"), head="fc", input_size=(16, 112, 112))

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_video(x, model="VideoResNet")
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(channels_last(x))))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut.

    Args:
        inplanes: channels of the input.
        planes: channels of the output.
        conv_builder: kind of the convolutions.
        stride: stride of the first convolution.
        downsample: what the shortcut applies where shapes differ.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        conv_builder: Callable[..., nn.Module],
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        midplanes = _midplanes(inplanes, planes)
        self.conv1 = nn.Sequential(
            conv_builder(inplanes, planes, midplanes, stride), nn.BatchNorm3d(planes), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(conv_builder(planes, planes, midplanes), nn.BatchNorm3d(planes))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.conv2(self.conv1(x))
        out += identity
        return self.relu(out)


def _midplanes(inplanes: int, planes: int) -> int:
    """Channels with which :class:`Conv2Plus1D` has as many parameters as :class:`Conv3DSimple`: section 3.5.

    Between 64 and 64 channels, 64 * 144 * 9 + 144 * 64 * 3 parameters are as many as 64 * 64 * 27:

    >>> _midplanes(64, 64)
    144
    """
    return (inplanes * planes * 3 * 3 * 3) // (inplanes * 3 * 3 + 3 * planes)


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 and 1x1x1 convolution and a shortcut.

    Args:
        inplanes: channels of the input.
        planes: channels before they are multiplied by ``expansion`` (4) for the output.
        conv_builder: kind of the second convolution.
        stride: of the second convolution.
        downsample: what the shortcut applies where shapes differ.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        conv_builder: Callable[..., nn.Module],
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv3d(inplanes, planes, kernel_size=1, bias=False), nn.BatchNorm3d(planes), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(
            conv_builder(planes, planes, _midplanes(inplanes, planes), stride),
            nn.BatchNorm3d(planes),
            nn.ReLU(inplace=True),
        )
        self.conv3 = nn.Sequential(
            nn.Conv3d(planes, planes * self.expansion, kernel_size=1, bias=False),
            nn.BatchNorm3d(planes * self.expansion),
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.conv3(self.conv2(self.conv1(x)))
        out += identity
        return self.relu(out)


class Conv2Plus1D(nn.Sequential):
    """1x3x3 convolution over space and then 3x1x1 over time: figure 2 (b) of the paper.

    Args:
        in_planes: channels of the input.
        out_planes: channels of the output.
        midplanes: channels between the two.
        stride: in time and space.
        padding: zeros on each side, in time and space.
    """

    def __init__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__(
            nn.Conv3d(
                in_planes,
                midplanes,
                kernel_size=(1, 3, 3),
                stride=(1, stride, stride),
                padding=(0, padding, padding),
                bias=False,
            ),
            nn.BatchNorm3d(midplanes),
            nn.ReLU(inplace=True),
            nn.Conv3d(
                midplanes,
                out_planes,
                kernel_size=(3, 1, 1),
                stride=(stride, 1, 1),
                padding=(padding, 0, 0),
                bias=False,
            ),
        )

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        """The steps in time, height and width that ``stride`` means for this kind of convolution."""
        return stride, stride, stride


class Conv3DSimple(nn.Conv3d):
    """3x3x3 convolution.

    Args:
        in_planes: channels of the input.
        out_planes: channels of the output.
        midplanes: not used; here for all kinds of convolution to be made alike.
        stride: in time and space.
        padding: zeros on each side, in time and space.
    """

    def __init__(
        self, in_planes: int, out_planes: int, midplanes: int | None = None, stride: int = 1, padding: int = 1
    ) -> None:
        super().__init__(in_planes, out_planes, kernel_size=3, stride=stride, padding=padding, bias=False)

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        """The steps in time, height and width that ``stride`` means for this kind of convolution."""
        return stride, stride, stride


class Conv3DNoTemporal(nn.Conv3d):
    """1x3x3 convolution: each frame by itself. Arguments as for :class:`Conv3DSimple`; the stride is in space only."""

    def __init__(
        self, in_planes: int, out_planes: int, midplanes: int | None = None, stride: int = 1, padding: int = 1
    ) -> None:
        super().__init__(
            in_planes,
            out_planes,
            kernel_size=(1, 3, 3),
            stride=(1, stride, stride),
            padding=(0, padding, padding),
            bias=False,
        )

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        """The steps in time, height and width that ``stride`` means for this kind of convolution."""
        return 1, stride, stride


Convolution = Conv3DSimple | Conv3DNoTemporal | Conv2Plus1D


class BasicStem(nn.Sequential):
    """3x7x7 convolution that halves the frames' size."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 64, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
        )


class R2Plus1dStem(nn.Sequential):
    """1x7x7 convolution over space, which halves the frames' size, and then 3x1x1 over time."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 45, kernel_size=(1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, kernel_size=(3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
        )


class R3D_18_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


class MC3_18_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


class R2Plus1D_18_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


@register_model
def r3d_18(*, weights: R3D_18_Weights | None = None, progress: bool = True, **kwargs: Any) -> VideoResNet:
    """R3D-18, 3x3x3 convolutions throughout, from `A Closer Look at Spatiotemporal Convolutions for Action Recognition
    <https://arxiv.org/abs/1711.11248>`__.
    """
    return build(
        VideoResNet,
        weights,
        progress,
        block=BasicBlock,
        conv_makers=(Conv3DSimple,) * 4,
        layers=(2, 2, 2, 2),
        stem=BasicStem,
        **kwargs,
    )


@register_model
def mc3_18(*, weights: MC3_18_Weights | None = None, progress: bool = True, **kwargs: Any) -> VideoResNet:
    """MC3-18, 3x3x3 convolutions in the first stage and 1x3x3 in the others, from `A Closer Look at Spatiotemporal
    Convolutions for Action Recognition <https://arxiv.org/abs/1711.11248>`__.
    """
    return build(
        VideoResNet,
        weights,
        progress,
        block=BasicBlock,
        conv_makers=(Conv3DSimple, Conv3DNoTemporal, Conv3DNoTemporal, Conv3DNoTemporal),
        layers=(2, 2, 2, 2),
        stem=BasicStem,
        **kwargs,
    )


@register_model
def r2plus1d_18(*, weights: R2Plus1D_18_Weights | None = None, progress: bool = True, **kwargs: Any) -> VideoResNet:
    """R(2+1)D-18, each 3x3x3 convolution cut into one over space and one over time, from `A Closer Look at
    Spatiotemporal Convolutions for Action Recognition <https://arxiv.org/abs/1711.11248>`__.
    """
    return build(
        VideoResNet,
        weights,
        progress,
        block=BasicBlock,
        conv_makers=(Conv2Plus1D,) * 4,
        layers=(2, 2, 2, 2),
        stem=R2Plus1dStem,
        **kwargs,
    )
