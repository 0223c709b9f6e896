"""MobileNetV2.

`MobileNetV2: Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem halves the size, and so does each row of stride 2;
``features`` gives ``[N, 1280, H/32, W/32]``, rounded up.
"""

from collections.abc import Callable, Sequence
from enum import auto
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.initialization import initialize_mobile
from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import Conv2dNormActivation, make_divisible
from zoo_core.registry import register_model
from zoo_core.tracing import added
from zoo_core.weights import WeightsEnum

__all__ = ["MobileNetV2", "MobileNet_V2_Weights", "mobilenet_v2"]


class MobileNetV2(nn.Module):
    """MobileNetV2, table 2 of the paper.

    Args:
        num_classes: number of classes.
        width_mult: factor for the channels. The last convolution does not shrink below its 1280.
        inverted_residual_setting: rows ``(t, c, n, s)`` of the table: expansion, channels, blocks, stride of the first
            block. Those of the paper by default.
        round_nearest: channels are rounded to multiples of this.
        block: builds a block from input channels, output channels, stride, ``expand_ratio=`` and ``norm_layer=``;
            :class:`InvertedResidual` by default.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.
        dropout: dropout probability before the last layer.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.

    Raises:
        ValueError: ``inverted_residual_setting`` is empty, or a row of it does not have four elements.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        block = block or InvertedResidual
        norm_layer = norm_layer or nn.BatchNorm2d
        if inverted_residual_setting is None:
            inverted_residual_setting = (
                # t, c, n, s
                (1, 16, 1, 1),
                (6, 24, 2, 2),
                (6, 32, 3, 2),
                (6, 64, 4, 2),
                (6, 96, 3, 1),
                (6, 160, 3, 2),
                (6, 320, 1, 1),
            )
        if len(inverted_residual_setting) == 0 or any(len(row) != 4 for row in inverted_residual_setting):
            raise ValueError(
                f"inverted_residual_setting must have rows of 4 elements (expansion, channels, blocks, stride), "
                f"not {inverted_residual_setting!r}"
            )

        channels = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [
            Conv2dNormActivation(3, channels, stride=2, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        ]
        for expand_ratio, base_channels, blocks, first_stride in inverted_residual_setting:
            out_channels = make_divisible(base_channels * width_mult, round_nearest)
            for i in range(blocks):
                stride = first_stride if i == 0 else 1
                features.append(block(channels, out_channels, stride, expand_ratio=expand_ratio, norm_layer=norm_layer))
                channels = out_channels
        features.append(
            Conv2dNormActivation(
                channels, self.last_channel, kernel_size=1, norm_layer=norm_layer, activation_layer=nn.ReLU6
            )
        )
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the reference implementation."""
        initialize_mobile(module)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "features"), head="classifier.1")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="MobileNetV2", min_size=(1, 1))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection and shortcut: figure 4 (d) of the paper.

    Args:
        inp: channels of the input.
        oup: channels of the output.
        stride: stride of the depthwise convolution, 1 or 2.
        expand_ratio: channels inside the block, as a multiple of ``inp``; at 1 there is no expansion layer.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.
    """

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: int,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual takes a stride of 1 or 2, not {stride}")
        norm_layer = norm_layer or nn.BatchNorm2d
        conv_relu6 = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        hidden = round(inp * expand_ratio)
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(conv_relu6(inp, hidden, kernel_size=1))
        layers += [
            conv_relu6(hidden, hidden, kernel_size=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, kernel_size=1, bias=False),
            norm_layer(oup),
        ]
        self.conv = nn.Sequential(*layers)
        self.stride = stride
        self.use_res_connect = stride == 1 and inp == oup
        self.out_channels = oup
        # Backbones of other tasks take their feature maps before these blocks.
        self._is_cn = stride > 1

    def forward(self, x: Tensor) -> Tensor:
        result = self.conv(x)
        return added(result, x, self.conv) if self.use_res_connect else result


class MobileNet_V2_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


@register_model
def mobilenet_v2(*, weights: MobileNet_V2_Weights | None = None, progress: bool = True, **kwargs: Any) -> MobileNetV2:
    """MobileNetV2, from `Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`__."""
    return build(MobileNetV2, weights, progress, **kwargs)
