"""ResNet, ResNeXt and Wide ResNet.

- `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__
- `Aggregated Residual Transformations for Deep Neural Networks <https://arxiv.org/abs/1611.05431>`__
- `Wide Residual Networks <https://arxiv.org/abs/1605.07146>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The stem gives ``[N, 64, H/4, W/4]``, the four stages give
``[N, 64e, H/4, W/4]``, ``[N, 128e, H/8, W/8]``, ``[N, 256e, H/16, W/16]`` and ``[N, 512e, H/32, W/32]``, rounded up,
where ``e`` is the block's ``expansion``.
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
from zoo_core.layers import initialize_normalization
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "ResNeXt50_32X4D_Weights", "ResNeXt101_32X8D_Weights", "ResNeXt101_64X4D_Weights", "ResNet", "ResNet18_Weights",
    "ResNet34_Weights", "ResNet50_Weights", "ResNet101_Weights", "ResNet152_Weights", "Wide_ResNet50_2_Weights",
    "Wide_ResNet101_2_Weights", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
    "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip


class ResNet(nn.Module):
    """Residual network, table 1 of the paper.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        layers: number of blocks in each of the four stages.
        num_classes: number of classes.
        zero_init_residual: start each block as the identity, by a zero scale in its last normalisation
            (`Accurate, Large Minibatch SGD <https://arxiv.org/abs/1706.02677>`__).
        groups: groups of the 3x3 convolutions (ResNeXt's cardinality).
        width_per_group: width of a group for 64 planes.
        replace_stride_with_dilation: for stages 2 to 4, whether dilation takes the place of the stride.
        norm_layer: builds the normalisation for a number of channels; batch normalisation by default.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.
    """

    def __init__(
        self,
        block: "type[BasicBlock | Bottleneck]",
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        dilate = (False, False, False) if replace_stride_with_dilation is None else replace_stride_with_dilation
        if len(dilate) != 3:
            raise ValueError(
                f"replace_stride_with_dilation must be None or have 3 elements, one for each of stages 2 to 4, "
                f"not {replace_stride_with_dilation!r}"
            )
        self._norm_layer = norm_layer or nn.BatchNorm2d
        self.inplanes = 64
        self.dilation = 1
        self.groups = groups
        self.base_width = width_per_group
        self.zero_init_residual = zero_init_residual
        self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], stride=2, dilate=dilate[0])
        self.layer3 = self._make_layer(block, 256, layers[2], stride=2, dilate=dilate[1])
        self.layer4 = self._make_layer(block, 512, layers[3], stride=2, dilate=dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.apply(self._initialize)

    def _make_layer(
        self, block: "type[BasicBlock | Bottleneck]", planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        """One stage: ``blocks`` blocks, the first of which may halve the size (or dilate the later ones instead)."""
        norm_layer = self._norm_layer
        first_dilation = self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                conv1x1(self.inplanes, planes * block.expansion, stride), norm_layer(planes * block.expansion)
            )
        first = block(
            self.inplanes, planes, stride, downsample, self.groups, self.base_width, first_dilation, norm_layer
        )
        self.inplanes = planes * block.expansion
        others = [
            block(self.inplanes, planes, 1, None, self.groups, self.base_width, self.dilation, norm_layer)
            for _ in range(1, blocks)
        ]
        return nn.Sequential(first, *others)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            initialize_normalization(module)
        elif self.zero_init_residual and isinstance(module, Bottleneck | BasicBlock):
            last_norm: Any = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            scale = getattr(last_norm, "weight", None)
            if scale is None:
                raise ValueError(
                    "zero_init_residual=True sets the scale of each block's last normalisation to zero, and "
                    f"{type(last_norm).__name__} has none; leave it out, or give a norm_layer with a parameter weight"
                )
            nn.init.zeros_(scale)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(("layer1", "layer2", "layer3", "layer4"), head="fc")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="ResNet", min_size=(1, 1))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: figure 5 (left) of the ResNet paper.

    Args:
        inplanes: channels of the input.
        planes: channels of the output.
        stride: stride of the first convolution.
        downsample: what the shortcut applies where shapes differ.
        groups, base_width, dilation: only their defaults 1, 64 and 1 are defined for this block.
        norm_layer: builds the normalisation for a number of channels.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError(
                f"BasicBlock has one group of width 64, not groups={groups}, base_width={base_width}; use Bottleneck"
            )
        if dilation > 1:
            raise NotImplementedError(f"BasicBlock has no dilated form (dilation={dilation}); use Bottleneck")
        norm_layer = norm_layer or nn.BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut: figure 5 (right) of the ResNet paper.

    The stride is in the 3x3 convolution, which is more accurate than in the paper's first 1x1 (known as ResNet v1.5).

    Args:
        inplanes: channels of the input.
        planes: channels before they are multiplied by ``expansion`` (4) for the output.
        stride: stride of the 3x3 convolution.
        downsample: what the shortcut applies where shapes differ.
        groups: groups of the 3x3 convolution (ResNeXt's cardinality).
        base_width: width of a group for 64 planes.
        dilation: dilation of the 3x3 convolution.
        norm_layer: builds the normalisation for a number of channels.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size at stride 1."""
    return nn.Conv2d(in_planes, out_planes, 3, stride, padding=dilation, groups=groups, bias=False, dilation=dilation)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution."""
    return nn.Conv2d(in_planes, out_planes, 1, stride, bias=False)


class ResNet18_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ResNet34_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class ResNet50_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class ResNet101_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class ResNet152_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class ResNeXt50_32X4D_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class ResNeXt101_32X8D_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class ResNeXt101_64X4D_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class Wide_ResNet50_2_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


class Wide_ResNet101_2_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    IMAGENET1K_V2 = auto()
    DEFAULT = IMAGENET1K_V2


@register_model
def resnet18(*, weights: ResNet18_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-18, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    return build(ResNet, weights, progress, block=BasicBlock, layers=(2, 2, 2, 2), **kwargs)


@register_model
def resnet34(*, weights: ResNet34_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-34, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    return build(ResNet, weights, progress, block=BasicBlock, layers=(3, 4, 6, 3), **kwargs)


@register_model
def resnet50(*, weights: ResNet50_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    return build(ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 6, 3), **kwargs)


@register_model
def resnet101(*, weights: ResNet101_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-101, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    return build(ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 23, 3), **kwargs)


@register_model
def resnet152(*, weights: ResNet152_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-152, from `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`__."""
    return build(ResNet, weights, progress, block=Bottleneck, layers=(3, 8, 36, 3), **kwargs)


@register_model
def resnext50_32x4d(*, weights: ResNeXt50_32X4D_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNeXt-50 32x4d, from `Aggregated Residual Transformations for Deep Neural Networks
    <https://arxiv.org/abs/1611.05431>`__.
    """
    return build(
        ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 6, 3), groups=32, width_per_group=4, **kwargs
    )


@register_model
def resnext101_32x8d(
    *, weights: ResNeXt101_32X8D_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ResNet:
    """ResNeXt-101 32x8d, from `Aggregated Residual Transformations for Deep Neural Networks
    <https://arxiv.org/abs/1611.05431>`__.
    """
    return build(
        ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 23, 3), groups=32, width_per_group=8, **kwargs
    )


@register_model
def resnext101_64x4d(
    *, weights: ResNeXt101_64X4D_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ResNet:
    """ResNeXt-101 64x4d, from `Aggregated Residual Transformations for Deep Neural Networks
    <https://arxiv.org/abs/1611.05431>`__.
    """
    return build(
        ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 23, 3), groups=64, width_per_group=4, **kwargs
    )


@register_model
def wide_resnet50_2(*, weights: Wide_ResNet50_2_Weights | None = None, progress: bool = True, **kwargs: Any) -> ResNet:
    """ResNet-50 with 3x3 convolutions twice as wide, from `Wide Residual Networks <https://arxiv.org/abs/1605.07146>`__."""
    return build(ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 6, 3), width_per_group=128, **kwargs)


@register_model
def wide_resnet101_2(
    *, weights: Wide_ResNet101_2_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ResNet:
    """ResNet-101 with 3x3 convolutions twice as wide, from `Wide Residual Networks <https://arxiv.org/abs/1605.07146>`__."""
    return build(ResNet, weights, progress, block=Bottleneck, layers=(3, 4, 23, 3), width_per_group=128, **kwargs)
