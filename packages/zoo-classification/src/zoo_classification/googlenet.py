"""GoogLeNet, also known as Inception v1, with batch normalisation.

`Going Deeper with Convolutions <https://arxiv.org/abs/1409.4842>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. Inception 3b gives ``[N, 480, H/8, W/8]``, 4e ``[N, 832,
H/16, W/16]`` and 5b ``[N, 1024, H/32, W/32]``.
"""

import warnings
from collections.abc import Callable, Sequence
from enum import auto
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.input_channels import per_channel
from zoo_core.inputs import explains_failures
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "GoogLeNet_Weights", "googlenet"]


class GoogLeNet(nn.Module):
    """GoogLeNet, table 1 of the paper.

    A model without auxiliary heads ignores those of a state dict that it loads.

    Args:
        num_classes: number of classes.
        aux_logits: have the two auxiliary heads, whose outputs are returned in training.
        transform_input: take images normalised with ImageNet's mean and deviation, and scale them to the range that
            the checkpoint was trained with.
        init_weights: draw the weights from a normal distribution of standard deviation 0.01; ``False`` keeps the
            default initialisation of the layers. ``None`` means ``True``.
        blocks: what makes a convolution, an inception block and an auxiliary head; :class:`BasicConv2d`,
            :class:`Inception` and :class:`InceptionAux` by default.
        dropout: dropout probability before the last layer.
        dropout_aux: the same in the auxiliary heads.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes], or :class:`GoogLeNetOutputs` in training with auxiliary heads;
        H and W of at least 15.

    Raises:
        ValueError: ``blocks`` does not have three elements.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        blocks: Sequence[Callable[..., nn.Module]] | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        if blocks is None:
            blocks = (BasicConv2d, Inception, InceptionAux)
        if len(blocks) != 3:
            raise ValueError(
                f"blocks must be 3, for convolutions, inception blocks and auxiliary heads; there are {len(blocks)}"
            )
        conv_block, inception_block, inception_aux_block = blocks
        self.aux_logits = aux_logits
        self.transform_input = transform_input

        self.conv1 = conv_block(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = conv_block(64, 64, kernel_size=1)
        self.conv3 = conv_block(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = inception_block(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception_block(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = inception_block(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception_block(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception_block(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception_block(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception_block(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = inception_block(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception_block(832, 384, 192, 384, 48, 128, 128)
        self.aux1: nn.Module | None = None
        self.aux2: nn.Module | None = None
        if aux_logits:
            self.aux1 = inception_aux_block(512, num_classes, dropout=dropout_aux)
            self.aux2 = inception_aux_block(528, num_classes, dropout=dropout_aux)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights is None or init_weights:
            self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as torchvision does; the paper does not specify it."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.01)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # The published file has auxiliary heads.
        absent = tuple(f"{prefix}{name}." for name in ("aux1", "aux2") if getattr(self, name) is None)
        for key in [key for key in state_dict if key.startswith(absent)]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _transform_input(self, x: Tensor) -> Tensor:
        if not self.transform_input:
            return x
        return imagenet_to_inception_range(x, getattr(self.conv1.conv, "in_channels", 3))

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Logits, and in training those of the second and of the first auxiliary head if they are there."""
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x) if self.training and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.training and self.aux2 is not None else None
        x = self.maxpool4(self.inception4e(x))
        x = self.avgpool(self.inception5b(self.inception5a(x)))
        return self.fc(self.dropout(torch.flatten(x, 1))), aux2, aux1

    def eager_outputs(self, x: Tensor, aux2: Tensor | None, aux1: Tensor | None) -> "Tensor | GoogLeNetOutputs":
        """What is returned: the logits, or all outputs in training with auxiliary heads."""
        return GoogLeNetOutputs(x, aux2, aux1) if self.training and self.aux_logits else x

    def feature_layers(self) -> FeatureLayers:
        stages = ("conv3", "inception3b", "inception4e", "inception5b")
        return FeatureLayers(stages, head="fc", auxiliary=("aux1", "aux2"))

    @explains_failures
    def forward(self, x: Tensor) -> "Tensor | GoogLeNetOutputs":
        check_image(x, model=type(self).__name__, min_size=(15, 15))
        return self.eager_outputs(*self._forward(self._transform_input(x)))


class GoogLeNetOutputs(NamedTuple):
    """What :class:`GoogLeNet` returns in training with auxiliary heads; each is Tensor[N, num_classes].

    Attributes:
        logits: the network's output.
        aux_logits2: output of the second auxiliary head, after inception 4d.
        aux_logits1: output of the first one, after inception 4a.
    """

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        **kwargs: arguments of :class:`torch.nn.Conv2d`.
    """

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: figure 2(b) of the paper, with 3x3 where the paper has 5x5.

    Args:
        in_channels: channels of the input.
        ch1x1: channels of the 1x1 branch.
        ch3x3red: channels of the 1x1 convolution before the 3x3 one.
        ch3x3: channels of the 3x3 branch.
        ch5x5red: channels of the 1x1 convolution in the branch named 5x5, whose second convolution is 3x3 as in the
            network that the checkpoint came from.
        ch5x5: channels of that branch.
        pool_proj: channels of the 1x1 convolution after the pooling.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        conv_block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.branch1 = conv_block(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv_block(in_channels, ch3x3red, kernel_size=1), conv_block(ch3x3red, ch3x3, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(
            conv_block(in_channels, ch5x5red, kernel_size=1), conv_block(ch5x5red, ch5x5, kernel_size=3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            conv_block(in_channels, pool_proj, kernel_size=1),
        )

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The branches' outputs."""
        return [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._forward(x), 1)


class InceptionAux(nn.Module):
    """Auxiliary classifier, which helps gradients to reach the early layers.

    Args:
        in_channels: channels of the input.
        num_classes: number of classes.
        conv_block: builds the convolution; :class:`BasicConv2d` by default.
        dropout: dropout probability before the last layer.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        conv_block: Callable[..., nn.Module] | None = None,
        dropout: float = 0.7,
    ) -> None:
        super().__init__()
        self.conv = (conv_block or BasicConv2d)(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))
        x = F.relu(self.fc1(torch.flatten(x, 1)), inplace=True)
        return self.fc2(self.dropout(x))


def imagenet_to_inception_range(x: Tensor, channels: int = 3) -> Tensor:
    """Undoes the usual normalisation with ImageNet's mean and deviation, and scales [0, 1] to [-1, 1] instead.

    The checkpoints that came from TensorFlow were trained with the latter.

    Args:
        x: Tensor[N, channels, H, W].
        channels: of other channels than three, mean and deviation are as :mod:`zoo_core.input_channels` says.
    """
    means = per_channel((0.485, 0.456, 0.406), channels)
    deviations = per_channel((0.229, 0.224, 0.225), channels)
    scaled = [
        x[:, i] * (std / 0.5) + (mean - 0.5) / 0.5 for i, (mean, std) in enumerate(zip(means, deviations, strict=True))
    ]
    return torch.stack(scaled, 1)


def set_published_form(kwargs: dict[str, Any], weights: WeightsEnum) -> None:
    """Sets the defaults that published weights need."""
    kwargs.setdefault("transform_input", True)
    if kwargs.setdefault("aux_logits", False):
        warnings.warn(
            f"the auxiliary heads in {weights} were never trained; train them, or leave out aux_logits=True",
            UserWarning,
            stacklevel=4,
        )


class GoogLeNet_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def googlenet(*, weights: GoogLeNet_Weights | None = None, progress: bool = True, **kwargs: Any) -> GoogLeNet:
    """GoogLeNet (Inception v1), from `Going Deeper with Convolutions <https://arxiv.org/abs/1409.4842>`__.

    With weights, ``transform_input`` is ``True`` by default, and ``aux_logits`` is ``False``: the auxiliary heads of
    the checkpoint were never trained.
    """
    if weights is not None:
        set_published_form(kwargs, weights)
    return build(GoogLeNet, weights, progress, **kwargs)
