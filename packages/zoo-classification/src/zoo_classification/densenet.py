"""DenseNet.

`Densely Connected Convolutional Networks <https://arxiv.org/abs/1608.06993>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. The blocks work at 1/4, 1/8, 1/16 and 1/32 of the input's
size. Each of their layers turns the ``[N, C, H/s, W/s]`` of all before it into ``growth_rate`` more channels.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from enum import auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers, Layer
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = [
    "DenseNet", "DenseNet121_Weights", "DenseNet161_Weights", "DenseNet169_Weights", "DenseNet201_Weights",
    "densenet121", "densenet161", "densenet169", "densenet201",
]  # fmt: skip


class DenseNet(nn.Module):
    """Densely connected network, table 1 of the paper.

    Args:
        growth_rate: channels that each layer adds ("k" in the paper).
        block_config: number of layers in each of the blocks.
        num_init_features: channels of the first convolution.
        bn_size: channels between a layer's convolutions, as a multiple of ``growth_rate``.
        drop_rate: dropout probability of the new features.
        num_classes: number of classes.
        memory_efficient: keep less for the backward pass, and compute part of the forward pass again in it
            (`Memory-Efficient Implementation of DenseNets <https://arxiv.org/abs/1707.06990>`__).

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes]; H and W of at least 29 (with four blocks).
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: tuple[int, ...] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0,
        num_classes: int = 1000,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, num_init_features, kernel_size=7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(num_init_features),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        channels = num_init_features
        for i, num_layers in enumerate(block_config, start=1):
            layers[f"denseblock{i}"] = _DenseBlock(
                num_layers, channels, bn_size, growth_rate, drop_rate, memory_efficient
            )
            channels += num_layers * growth_rate
            if i < len(block_config):
                layers[f"transition{i}"] = _Transition(channels, channels // 2)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        # The stem gives ceil(H / 4), and each transition halves that: one pixel must be left.
        smallest = 4 * (2 ** (len(block_config) - 1) - 1) + 1
        self.min_size = (smallest, smallest)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the paper."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def feature_layers(self) -> FeatureLayers:
        # The classifier takes the rectified output of the last normalisation.
        blocks = [f"features.{name}" for name, _ in self.features.named_children() if name.startswith("denseblock")]
        return FeatureLayers([*blocks[:-1], Layer("features", form=F.relu)], head="classifier")

    @explains_failures
    def forward(self, x: Tensor) -> Tensor:
        check_image(x, model=type(self).__name__, min_size=self.min_size)
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class _DenseBlock(nn.ModuleDict):
    """Layers that each take the features of all layers before.

    Args:
        num_layers: number of layers.
        num_input_features: channels of the input.
        bn_size: channels between a layer's convolutions, as a multiple of ``growth_rate``.
        growth_rate: channels that each layer adds.
        drop_rate: dropout probability of the new features.
        memory_efficient: see :class:`_DenseLayer`.
    """

    def __init__(
        self,
        num_layers: int,
        num_input_features: int,
        bn_size: int,
        growth_rate: int,
        drop_rate: float,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        for i in range(num_layers):
            self[f"denselayer{i + 1}"] = _DenseLayer(
                num_input_features + i * growth_rate, growth_rate, bn_size, drop_rate, memory_efficient
            )

    def forward(self, init_features: Tensor) -> Tensor:
        features = [init_features]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class _DenseLayer(nn.Module):
    """Normalisation, ReLU and 1x1 convolution, and the same with 3x3: "DenseNet-B" in the paper.

    Args:
        num_input_features: channels of all input features.
        growth_rate: channels of the output.
        bn_size: channels between the convolutions, as a multiple of ``growth_rate``.
        drop_rate: dropout probability of the output.
        memory_efficient: keep less for the backward pass, and compute the first half again in it
            (`Memory-Efficient Implementation of DenseNets <https://arxiv.org/abs/1707.06990>`__).
    """

    def __init__(
        self,
        num_input_features: int,
        growth_rate: int,
        bn_size: int,
        drop_rate: float,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False)
        self.drop_rate = float(drop_rate)
        self.memory_efficient = memory_efficient

    def _bottleneck(self, *features: Tensor) -> Tensor:
        x = features[0] if len(features) == 1 else torch.cat(features, 1)
        return self.conv1(self.relu1(self.norm1(x)))

    def _checkpointed_bottleneck(self, features: list[Tensor]) -> Tensor:
        if torch.compiler.is_compiling():
            return checkpoint(self._bottleneck, *features, use_reentrant=False)
        # The second pass must not count the batch in the running statistics a second time.
        contexts = lambda: (contextlib.nullcontext(), _running_statistics_kept(self.norm1))  # noqa: E731
        return checkpoint(self._bottleneck, *features, use_reentrant=False, context_fn=contexts)

    def forward(self, input: Tensor | list[Tensor]) -> Tensor:
        """The new features, Tensor[N, growth_rate, H, W], from earlier ones: together or in a list."""
        features = list(input) if isinstance(input, list | tuple) else [input]
        if self.memory_efficient and torch.is_grad_enabled() and any(x.requires_grad for x in features):
            x = self._checkpointed_bottleneck(features)
        else:
            x = self._bottleneck(*features)
        x = self.conv2(self.relu2(self.norm2(x)))
        return F.dropout(x, self.drop_rate, self.training) if self.drop_rate > 0 else x

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # The published files are older than today's names: norm.1.weight is norm1.weight.
        for name in [key for key in state_dict if key.startswith((f"{prefix}norm.", f"{prefix}conv."))]:
            kind, number, rest = name.removeprefix(prefix).split(".", 2)
            state_dict[f"{prefix}{kind}{number}.{rest}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@contextlib.contextmanager
def _running_statistics_kept(norm: nn.Module) -> Iterator[None]:
    """Runs normalisation without updating its running statistics."""
    statistics = dict(norm.named_buffers(recurse=False))
    for name, buffer in statistics.items():
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for name, buffer in statistics.items():
            setattr(norm, name, buffer)


class _Transition(nn.Sequential):
    """1x1 convolution and pooling that halves the size, between two blocks."""

    def __init__(self, num_input_features: int, num_output_features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(num_input_features, num_output_features, kernel_size=1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)


class DenseNet121_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class DenseNet161_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class DenseNet169_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


class DenseNet201_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def densenet121(*, weights: DenseNet121_Weights | None = None, progress: bool = True, **kwargs: Any) -> DenseNet:
    """DenseNet-121, from `Densely Connected Convolutional Networks <https://arxiv.org/abs/1608.06993>`__."""
    return build(
        DenseNet, weights, progress, growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64, **kwargs
    )


@register_model
def densenet161(*, weights: DenseNet161_Weights | None = None, progress: bool = True, **kwargs: Any) -> DenseNet:
    """DenseNet-161, from `Densely Connected Convolutional Networks <https://arxiv.org/abs/1608.06993>`__."""
    return build(
        DenseNet, weights, progress, growth_rate=48, block_config=(6, 12, 36, 24), num_init_features=96, **kwargs
    )


@register_model
def densenet169(*, weights: DenseNet169_Weights | None = None, progress: bool = True, **kwargs: Any) -> DenseNet:
    """DenseNet-169, from `Densely Connected Convolutional Networks <https://arxiv.org/abs/1608.06993>`__."""
    return build(
        DenseNet, weights, progress, growth_rate=32, block_config=(6, 12, 32, 32), num_init_features=64, **kwargs
    )


@register_model
def densenet201(*, weights: DenseNet201_Weights | None = None, progress: bool = True, **kwargs: Any) -> DenseNet:
    """DenseNet-201, from `Densely Connected Convolutional Networks <https://arxiv.org/abs/1608.06993>`__."""
    return build(
        DenseNet, weights, progress, growth_rate=32, block_config=(6, 12, 48, 32), num_init_features=64, **kwargs
    )
