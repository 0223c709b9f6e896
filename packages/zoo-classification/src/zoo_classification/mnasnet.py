"""MNASNet.

`MnasNet: Platform-Aware Neural Architecture Search for Mobile <https://arxiv.org/abs/1807.11626>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The last stack of blocks gives ``[N, C, H/32, W/32]``,
rounded up, and the layers before the classifier ``[N, 1280, H/32, W/32]``.
"""

import warnings
from collections.abc import Mapping
from enum import auto
from typing import Any

import torch
from torch import Tensor, nn

from zoo_classification.initialization import initialize_convolution
from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, strided_stages
from zoo_core.inputs import explains_failures
from zoo_core.layers import make_divisible
from zoo_core.registry import register_model
from zoo_core.tracing import added
from zoo_core.weights import WeightsEnum

__all__ = [
    "MNASNet", "MNASNet0_5_Weights", "MNASNet0_75_Weights", "MNASNet1_0_Weights", "MNASNet1_3_Weights", "mnasnet0_5",
    "mnasnet0_75", "mnasnet1_0", "mnasnet1_3",
]  # fmt: skip


# TensorFlow's decay of 0.9997, as the paper trained with, in PyTorch's convention.
BN_MOMENTUM = 1 - 0.9997


class MNASNet(nn.Module):
    """MNASNet-B1, figure 7 of the paper (without squeeze-and-excitation).

    State dicts of version 1 of this module, whose stem had 32 and 16 channels whatever ``alpha``, load as well: the
    stem is then remade as it was, with a warning.

    Args:
        alpha: factor for the channels, which are rounded to multiples of 8; more than 0.
        num_classes: number of classes.
        dropout: dropout probability before the last layer.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; any H and W.

    Raises:
        ValueError: ``alpha`` is not positive.
    """

    _version = 2

    def __init__(self, alpha: float, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        if alpha <= 0.0:
            raise ValueError(f"alpha must be more than 0, not {alpha}")
        self.alpha = alpha
        self.num_classes = num_classes
        ch3, ch4, ch5, ch6, ch7 = (make_divisible(channels * alpha, 8) for channels in (40, 80, 96, 192, 320))
        self._third_stage_channels = ch3
        self.layers = nn.Sequential(
            *self._stem(self._version),
            stack(self._stem_channels(self._version)[2], ch3, 5, 2, 3, 3),
            stack(ch3, ch4, 5, 2, 6, 3),
            stack(ch4, ch5, 3, 1, 6, 2),
            stack(ch5, ch6, 5, 2, 6, 4),
            stack(ch6, ch7, 3, 1, 6, 1),
            nn.Conv2d(ch7, 1280, 1, bias=False),
            nn.BatchNorm2d(1280, momentum=BN_MOMENTUM),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(1280, num_classes))
        self.apply(self._initialize)

    def _stem_channels(self, version: int) -> tuple[int, int, int]:
        """Channels of the first convolution, after the depthwise separable one, and after the first stack."""
        first, second, third = (make_divisible(channels * self.alpha, 8) for channels in (32, 16, 24))
        return (32, 16, third) if version == 1 else (first, second, third)

    def _stem(self, version: int) -> list[nn.Module]:
        """The layers up to the first stack of blocks, which the two versions of the module differ in."""
        first, second, third = self._stem_channels(version)
        return [
            nn.Conv2d(3, first, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(first, momentum=BN_MOMENTUM),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, first, 3, padding=1, stride=1, groups=first, bias=False),
            nn.BatchNorm2d(first, momentum=BN_MOMENTUM),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 1, bias=False),
            nn.BatchNorm2d(second, momentum=BN_MOMENTUM),
            stack(second, third, 3, 2, 3, 3),
        ]

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the reference implementation."""
        if isinstance(module, nn.Conv2d):
            initialize_convolution(module)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="sigmoid")
            nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(strided_stages(self, "layers"), head="classifier.1")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model="MNASNet", min_size=(1, 1))
        return self.classifier(self.layers(x).mean((2, 3)))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *args: Any
    ) -> None:
        version = local_metadata.get("version") or self._version_by_shape(state_dict, prefix)
        if version not in (1, 2):
            raise ValueError(f"MNASNet reads state dicts of its versions 1 and 2, not of version {version}")
        if self._stem_channels(version) != self._stem_channels(self._version):
            present = self.get_parameter("layers.0.weight")
            with torch.device(present.device):
                stem = self._stem(version)
            for i, layer in enumerate(stem):
                self.layers[i] = layer.apply(self._initialize).to(present.dtype).train(self.training)
            self._version = version
            warnings.warn(
                f"This state dict is of version {version} of MNASNet, whose stem has "
                f"{' and '.join(map(str, self._stem_channels(version)[:2]))} channels; the model's stem was remade so. "
                f"It works as it did; an optimizer that holds parameters of the old stem needs the new ones",
                UserWarning,
                stacklevel=2,
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _version_by_shape(self, state_dict: Mapping[str, Any], prefix: str) -> int:
        """The version of a state dict that lost its metadata, as one that was made into a plain dictionary has."""
        found = [state_dict.get(f"{prefix}layers.{layer}.weight") for layer in ("0", "6", "9.0.layers.6")]
        widths = tuple(None if weight is None else weight.shape[0] for weight in found)
        is_first = widths == (*self._stem_channels(1)[:2], self._third_stage_channels)
        return 1 if is_first else 2


def stack(in_ch: int, out_ch: int, kernel_size: int, stride: int, expansion_factor: int, repeats: int) -> nn.Sequential:
    """Blocks of one kind, the first of which has the stride and changes the channels."""
    return nn.Sequential(
        InvertedResidual(in_ch, out_ch, kernel_size, stride, expansion_factor, BN_MOMENTUM),
        *(InvertedResidual(out_ch, out_ch, kernel_size, 1, expansion_factor, BN_MOMENTUM) for _ in range(1, repeats)),
    )


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection and shortcut: MBConv of the paper's figure 7.

    Args:
        in_ch: channels of the input.
        out_ch: channels of the output.
        kernel_size: size of the depthwise kernel, 3 or 5.
        stride: stride of the depthwise convolution, 1 or 2.
        expansion_factor: channels inside the block, as a multiple of ``in_ch``.
        bn_momentum: momentum of the batch normalisations.
    """

    def __init__(
        self, in_ch: int, out_ch: int, kernel_size: int, stride: int, expansion_factor: int, bn_momentum: float = 0.1
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"InvertedResidual takes a stride of 1 or 2, not {stride}")
        if kernel_size not in (3, 5):
            raise ValueError(f"InvertedResidual takes a kernel_size of 3 or 5, not {kernel_size}")
        mid_ch = in_ch * expansion_factor
        self.apply_residual = in_ch == out_ch and stride == 1
        self.layers = nn.Sequential(
            nn.Conv2d(in_ch, mid_ch, 1, bias=False),
            nn.BatchNorm2d(mid_ch, momentum=bn_momentum),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_ch, mid_ch, kernel_size, padding=kernel_size // 2, stride=stride, groups=mid_ch, bias=False),
            nn.BatchNorm2d(mid_ch, momentum=bn_momentum),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_ch, out_ch, 1, bias=False),
            nn.BatchNorm2d(out_ch, momentum=bn_momentum),
        )

    def forward(self, x: Tensor) -> Tensor:
        result = self.layers(x)
        return added(result, x, self.layers) if self.apply_residual else result


class MNASNet0_5_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class MNASNet0_75_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class MNASNet1_0_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class MNASNet1_3_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def mnasnet0_5(*, weights: MNASNet0_5_Weights | None = None, progress: bool = True, **kwargs: Any) -> MNASNet:
    """MNASNet of 0.5 times the base width, from `MnasNet: Platform-Aware Neural Architecture Search for Mobile
    <https://arxiv.org/abs/1807.11626>`__.
    """
    return build(MNASNet, weights, progress, alpha=0.5, **kwargs)


@register_model
def mnasnet0_75(*, weights: MNASNet0_75_Weights | None = None, progress: bool = True, **kwargs: Any) -> MNASNet:
    """MNASNet of 0.75 times the base width, from `MnasNet: Platform-Aware Neural Architecture Search for Mobile
    <https://arxiv.org/abs/1807.11626>`__.
    """
    return build(MNASNet, weights, progress, alpha=0.75, **kwargs)


@register_model
def mnasnet1_0(*, weights: MNASNet1_0_Weights | None = None, progress: bool = True, **kwargs: Any) -> MNASNet:
    """MNASNet of 1.0 times the base width, from `MnasNet: Platform-Aware Neural Architecture Search for Mobile
    <https://arxiv.org/abs/1807.11626>`__.
    """
    return build(MNASNet, weights, progress, alpha=1.0, **kwargs)


@register_model
def mnasnet1_3(*, weights: MNASNet1_3_Weights | None = None, progress: bool = True, **kwargs: Any) -> MNASNet:
    """MNASNet of 1.3 times the base width, from `MnasNet: Platform-Aware Neural Architecture Search for Mobile
    <https://arxiv.org/abs/1807.11626>`__.
    """
    return build(MNASNet, weights, progress, alpha=1.3, **kwargs)
