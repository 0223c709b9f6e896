"""Feature pyramid network, from `Feature Pyramid Networks for Object Detection
<https://arxiv.org/abs/1612.03144>`__."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.layers import Conv2dNormActivation
from zoo_core.sizes import POOLING_FIXES_SIZES


class ExtraFPNBlock(nn.Module):
    """Base class of what adds levels to a pyramid."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Adds levels.

        Args:
            results: the levels of the pyramid, finest first.
            x: the feature maps that it was made from.
            names: the names of the levels.

        Returns:
            The levels and their names, with those that were added.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")


class LastLevelMaxPool(ExtraFPNBlock):
    """Adds one level: every second pixel of the coarsest one."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        return [*results, _every_second_pixel(results[-1])], [*names, "pool"]


def _every_second_pixel(level: Tensor) -> Tensor:
    if POOLING_FIXES_SIZES and torch.compiler.is_exporting():
        # Not by slices, whose strides would be compared: that fixes sizes as well.
        rows, columns = (torch.arange(0, size, 2, device=level.device) for size in level.shape[-2:])
        return level.index_select(-2, rows).index_select(-1, columns)
    return F.max_pool2d(level, kernel_size=1, stride=2)


class LastLevelP6P7(ExtraFPNBlock):
    """Adds RetinaNet's levels P6 and P7, from `Focal Loss for Dense Object Detection
    <https://arxiv.org/abs/1708.02002>`__.

    Args:
        in_channels: channels of the map that P6 is made from: of the coarsest input (C5), or, if equal to
            ``out_channels``, of the coarsest level (P5).
        out_channels: channels of the levels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        self.use_P5 = in_channels == out_channels
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        _initialize_uniform(module)

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6(results[-1] if self.use_P5 else x[-1])
        p7 = self.p7(F.relu(p6))
        return [*results, p6, p7], [*names, "p6", "p7"]


def _initialize_uniform(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_uniform_(module.weight, a=1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class FeaturePyramidNetwork(nn.Module):
    """Turns feature maps of several resolutions into a pyramid with equally many channels on each level.

    Each input passes a 1x1 convolution; from the coarsest to the finest, the level above is enlarged and added; a 3x3
    convolution makes each level's output.

    Args:
        in_channels_list: channels of each input, finest first.
        out_channels: channels of every level.
        extra_blocks: adds coarser levels.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        dict of Tensor[N, C_i, H_i, W_i] -> dict of Tensor[N, out_channels, H_i, W_i] by the same names

    Raises:
        ValueError: a number of channels is 0.
        TypeError: ``extra_blocks`` is no :class:`ExtraFPNBlock`.
    """

    def __init__(
        self,
        in_channels_list: list[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if 0 in in_channels_list:
            raise ValueError(f"in_channels_list must be positive, but it is {in_channels_list}")
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            raise TypeError(f"extra_blocks must be an ExtraFPNBlock, but it is a {type(extra_blocks).__name__}")
        self.inner_blocks = nn.ModuleList(
            Conv2dNormActivation(
                channels, out_channels, kernel_size=1, padding=0, norm_layer=norm_layer, activation_layer=None
            )
            for channels in in_channels_list
        )
        self.layer_blocks = nn.ModuleList(
            Conv2dNormActivation(
                out_channels, out_channels, kernel_size=3, norm_layer=norm_layer, activation_layer=None
            )
            for _ in in_channels_list
        )
        self.extra_blocks = extra_blocks
        for blocks in (self.inner_blocks, self.layer_blocks):
            blocks.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        _initialize_uniform(module)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints from before the convolutions had a normalisation spell inner_blocks.N.0.weight
        # inner_blocks.N.weight.
        old = re.compile(re.escape(prefix) + r"((?:inner|layer)_blocks\.\d+)\.(weight|bias)")
        for key in list(state_dict):
            if match := old.fullmatch(key):
                state_dict[f"{prefix}{match[1]}.0.{match[2]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Computes the pyramid.

        Args:
            x: feature maps by name, finest first, Tensor[N, C_i, H_i, W_i].

        Returns:
            The levels by the names of the inputs, each Tensor[N, out_channels, H_i, W_i], then those that
            ``extra_blocks`` adds.
        """
        names, inputs = list(x.keys()), list(x.values())
        if len(inputs) != len(self.inner_blocks):
            raise ValueError(
                f"the pyramid is made from {len(self.inner_blocks)} feature maps, but {len(inputs)} were given"
            )
        lateral = [block(feature) for block, feature in zip(self.inner_blocks, inputs, strict=True)]
        for i in range(len(lateral) - 1, 0, -1):
            lateral[i - 1] = lateral[i - 1] + F.interpolate(lateral[i], size=lateral[i - 1].shape[-2:], mode="nearest")
        results = [block(level) for block, level in zip(self.layer_blocks, lateral, strict=True)]
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, inputs, names)
        return OrderedDict(zip(names, results, strict=True))
