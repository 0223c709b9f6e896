"""ShuffleNet V2.

`ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design <https://arxiv.org/abs/1807.11164>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem gives ``[N, 24, H/4, W/4]``, the stages 2 to 4 give
1/8, 1/16 and 1/32 of the input's size, rounded up.
"""

from collections.abc import Callable, Sequence
from enum import auto
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "ShuffleNetV2", "ShuffleNet_V2_X0_5_Weights", "ShuffleNet_V2_X1_0_Weights", "ShuffleNet_V2_X1_5_Weights",
    "ShuffleNet_V2_X2_0_Weights", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]  # fmt: skip


class InvertedResidual(nn.Module):
    """The unit of figure 3 (c), or for stride 2 of figure 3 (d), of the paper.

    Args:
        inp: channels of the input.
        oup: channels of the output; an even number.
        stride: 1, where half of the channels pass unchanged and ``inp`` must equal ``oup``, or 2 or 3.
    """

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        if stride not in (1, 2, 3):
            raise ValueError(f"InvertedResidual takes a stride of 1, 2 or 3, not {stride}")
        if oup % 2:
            raise ValueError(f"InvertedResidual splits its output into two halves; oup must be even, not {oup}")
        if stride == 1 and inp != oup:
            raise ValueError(f"InvertedResidual of stride 1 keeps the channels: oup must be {inp} as inp, not {oup}")
        self.stride = stride
        half = oup // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *conv_norm(inp, inp, kernel_size=3, stride=stride), *conv_norm(inp, half), nn.ReLU(inplace=True)
            )
        self.branch2 = nn.Sequential(
            *conv_norm(inp if stride > 1 else half, half),
            nn.ReLU(inplace=True),
            *conv_norm(half, half, kernel_size=3, stride=stride),
            *conv_norm(half, half),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            unchanged, x = x.chunk(2, dim=1)
            return self.interleave(unchanged, self.branch2(x))
        return self.interleave(self.branch1(x), self.branch2(x))

    def interleave(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``channel_shuffle(torch.cat((x1, x2), dim=1), 2)``, with one copy of the tensors instead of two."""
        return torch.stack((x1, x2), dim=2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2, table 5 of the paper.

    Args:
        stages_repeats: number of units in each of the stages 2 to 4.
        stages_out_channels: channels that come out of the first convolution, of each of the three stages, and of the
            last convolution.
        num_classes: number of classes.
        inverted_residual: builds a unit from input channels, output channels and stride.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
        inverted_residual: Callable[..., nn.Module] = InvertedResidual,
    ) -> None:
        super().__init__()
        if len(stages_repeats) != 3:
            raise ValueError(f"stages_repeats must have 3 elements, one for each stage, not {stages_repeats!r}")
        if len(stages_out_channels) != 5:
            raise ValueError(
                f"stages_out_channels must have 5 elements, for the first convolution, the 3 stages and the last "
                f"convolution, not {stages_out_channels!r}"
            )
        first, *stages, last = stages_out_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, first, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(
                inverted_residual(in_channels, out_channels, 2),
                *(inverted_residual(out_channels, out_channels, 1) for _ in range(1, repeats)),
            )
            for in_channels, out_channels, repeats in zip([first, *stages], stages, stages_repeats, strict=False)
        )
        self.conv5 = nn.Sequential(*conv_norm(stages[-1], last), nn.ReLU(inplace=True))
        self.fc = nn.Linear(last, num_classes)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(("conv1", "maxpool", "stage2", "stage3", "conv5"), head="fc")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="ShuffleNetV2", min_size=(1, 1))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        x = self.conv5(x)
        return self.fc(x.mean((2, 3), keepdim=True).flatten(1))  # int8 of 1x1 has no mean without keepdim


def conv_norm(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> list[nn.Module]:
    """1x1 convolution, or depthwise one of a larger kernel, and batch normalisation."""
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=1 if kernel_size == 1 else in_channels,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deals the channels of each group out in turn: 0 1 2 3 in two groups become 0 2 1 3.

    Args:
        x: Tensor[N, C, H, W].
        groups: number of groups; divides C.
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def _shufflenet(channels: Sequence[int], num_classes: int = 1000, **kwargs: Any) -> ShuffleNetV2:
    """A column of table 5 of the paper: all widths have 4, 8 and 4 units."""
    return ShuffleNetV2((4, 8, 4), channels, num_classes, **kwargs)


class ShuffleNet_V2_X0_5_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    FASHIONMNIST_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X1_0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X1_5_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X2_0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def shufflenet_v2_x0_5(
    *, weights: ShuffleNet_V2_X0_5_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet V2 of 0.5 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    return build(_shufflenet, weights, progress, channels=(24, 48, 96, 192, 1024), **kwargs)


@register_model
def shufflenet_v2_x1_0(
    *, weights: ShuffleNet_V2_X1_0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet V2 of 1.0 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    return build(_shufflenet, weights, progress, channels=(24, 116, 232, 464, 1024), **kwargs)


@register_model
def shufflenet_v2_x1_5(
    *, weights: ShuffleNet_V2_X1_5_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet V2 of 1.5 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    return build(_shufflenet, weights, progress, channels=(24, 176, 352, 704, 1024), **kwargs)


@register_model
def shufflenet_v2_x2_0(
    *, weights: ShuffleNet_V2_X2_0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet V2 of 2.0 times the base width, from `ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design <https://arxiv.org/abs/1807.11164>`__.
    """
    return build(_shufflenet, weights, progress, channels=(24, 244, 488, 976, 2048), **kwargs)
