"""S3D: a video Inception network whose convolutions are separated into space and time.

`Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification
<https://arxiv.org/abs/1712.04851>`__

Shapes: ``N`` videos, ``C`` channels, ``T`` frames, ``H`` x ``W`` pixels. ``features`` gives ``[N, 1024, T/8, H/32,
W/32]``.
"""

from collections.abc import Callable
from enum import auto
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv3dNormActivation
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_video.inputs import check_video

__all__ = ["S3D", "S3D_Weights", "s3d"]


class S3D(nn.Module):
    """Separable 3D Inception network, figure 5 of the paper with the blocks of figure 8.

    Args:
        num_classes: number of classes.
        dropout: dropout probability before the classifier.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.

    Shape:
        Tensor[N, 3, T, H, W] -> Tensor[N, num_classes]; at least 13 frames of at least 209x209 pixels.
    """

    def __init__(
        self, num_classes: int = 400, dropout: float = 0.2, norm_layer: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        norm = norm_layer or partial(nn.BatchNorm3d, eps=0.001, momentum=0.001)
        self.features = nn.Sequential(
            TemporalSeparableConv(3, 64, 7, 2, 3, norm),
            _frame_pool(),
            Conv3dNormActivation(64, 64, kernel_size=1, norm_layer=norm),
            TemporalSeparableConv(64, 192, 3, 1, 1, norm),
            _frame_pool(),
            SepInceptionBlock3D(192, 64, 96, 128, 16, 32, 32, norm),
            SepInceptionBlock3D(256, 128, 128, 192, 32, 96, 64, norm),
            MaxPool3d(kernel_size=3, stride=2, padding=1),
            SepInceptionBlock3D(480, 192, 96, 208, 16, 48, 64, norm),
            SepInceptionBlock3D(512, 160, 112, 224, 24, 64, 64, norm),
            SepInceptionBlock3D(512, 128, 128, 256, 24, 64, 64, norm),
            SepInceptionBlock3D(512, 112, 144, 288, 32, 64, 64, norm),
            SepInceptionBlock3D(528, 256, 160, 320, 32, 128, 128, norm),
            MaxPool3d(kernel_size=2, stride=2),
            SepInceptionBlock3D(832, 256, 160, 320, 32, 128, 128, norm),
            SepInceptionBlock3D(832, 384, 192, 384, 48, 128, 128, norm),
        )
        self.avgpool = nn.AvgPool3d(kernel_size=(2, 7, 7), stride=1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv3d(1024, num_classes, kernel_size=1))

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.1", input_size=(16, 224, 224))

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        # Smaller ones end up smaller than the window of the average.
        check_video(x, model="S3D", min_frames=13, min_size=(209, 209))
        x = self.classifier(self.avgpool(self.features(channels_last(x))))
        return x.mean(dim=(2, 3, 4))


class TemporalSeparableConv(nn.Sequential):
    """A convolution over space and then one over time, each with normalisation and activation: figure 7 of the paper.

    Args:
        in_planes: channels of the input.
        out_planes: channels of the output.
        kernel_size: size of the kernels, in space and in time.
        stride: stride of the kernels, in space and in time.
        padding: zeros on each side, in space and in time.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(
        self,
        in_planes: int,
        out_planes: int,
        kernel_size: int,
        stride: int,
        padding: int,
        norm_layer: Callable[..., nn.Module],
    ) -> None:
        super().__init__(
            Conv3dNormActivation(
                in_planes,
                out_planes,
                kernel_size=(1, kernel_size, kernel_size),
                stride=(1, stride, stride),
                padding=(0, padding, padding),
                norm_layer=norm_layer,
                bias=False,
            ),
            Conv3dNormActivation(
                out_planes,
                out_planes,
                kernel_size=(kernel_size, 1, 1),
                stride=(stride, 1, 1),
                padding=(padding, 0, 0),
                norm_layer=norm_layer,
                bias=False,
            ),
        )


def _frame_pool() -> "MaxPool3d":
    """Halves the frames' size."""
    return MaxPool3d(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


class MaxPool3d(nn.MaxPool3d):
    """:class:`torch.nn.MaxPool3d` that on the CPU has channels last in memory, which is many times faster there."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(channels_last(input))


class SepInceptionBlock3D(nn.Module):
    """Four branches of different reach, whose channels are put together: figure 8 of the paper.

    Args:
        in_planes: channels of the input.
        b0_out: channels of the branch with one 1x1x1 convolution.
        b1_mid, b1_out: channels of the first branch with a 3x3x3 convolution: before it, and of the output.
        b2_mid, b2_out: the same for the second one.
        b3_out: channels of the branch with pooling.
        norm_layer: builds the normalisation for a number of channels.
    """

    def __init__(
        self,
        in_planes: int,
        b0_out: int,
        b1_mid: int,
        b1_out: int,
        b2_mid: int,
        b2_out: int,
        b3_out: int,
        norm_layer: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        pointwise = partial(Conv3dNormActivation, kernel_size=1, norm_layer=norm_layer)
        separable = partial(TemporalSeparableConv, kernel_size=3, stride=1, padding=1, norm_layer=norm_layer)
        self.branch0 = pointwise(in_planes, b0_out)
        self.branch1 = nn.Sequential(pointwise(in_planes, b1_mid), separable(b1_mid, b1_out))
        self.branch2 = nn.Sequential(pointwise(in_planes, b2_mid), separable(b2_mid, b2_out))
        self.branch3 = nn.Sequential(MaxPool3d(kernel_size=3, stride=1, padding=1), pointwise(in_planes, b3_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), dim=1)


class S3D_Weights(WeightsEnum):
    KINETICS400_V1 = auto()
    DEFAULT = KINETICS400_V1


@register_model
def s3d(*, weights: S3D_Weights | None = None, progress: bool = True, **kwargs: Any) -> S3D:
    """S3D, from `Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification
    <https://arxiv.org/abs/1712.04851>`__.
    """
    return build(S3D, weights, progress, **kwargs)
