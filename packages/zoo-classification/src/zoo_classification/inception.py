"""Inception v3.

`Rethinking the Inception Architecture for Computer Vision <https://arxiv.org/abs/1512.00567>`__

Shapes: ``N`` images, ``C`` channels, ``H`` x ``W`` pixels. Of 299 x 299 pixels blocks A give ``[N, 288, 35, 35]``, B
and C ``[N, 768, 17, 17]``, D and E ``[N, 2048, 8, 8]``.
"""

from collections.abc import Callable, Sequence
from enum import auto
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.googlenet import BasicConv2d, imagenet_to_inception_range
from zoo_classification.inputs import check_image
from zoo_core.builders import build
from zoo_core.features.declared import FeatureLayers
from zoo_core.inputs import explains_failures
from zoo_core.layers import input_of_padded_pooling
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum

__all__ = ["Inception3", "InceptionOutputs", "Inception_V3_Weights", "inception_v3"]


class Inception3(nn.Module):
    """Inception v3, table 1 of the paper.

    A model without the auxiliary head ignores that of a state dict that it loads.

    Args:
        num_classes: number of classes.
        aux_logits: have the auxiliary head, whose output is returned in training.
        transform_input: take images normalised with ImageNet's mean and deviation, and scale them to the range that
            the checkpoint was trained with.
        inception_blocks: what makes a convolution, the inception blocks A to E and the auxiliary head;
            :class:`BasicConv2d`, :class:`InceptionA` to :class:`InceptionE` and :class:`InceptionAux` by default.
        init_weights: draw the weights from a normal distribution of standard deviation 0.1, or 0.001 in the auxiliary
            head's last layer; ``False`` keeps the default initialisation of the layers. ``None`` means ``True``.
        dropout: dropout probability before the last layer.

    Shape:
        Tensor[N, 3, H, W] -> Tensor[N, num_classes], or :class:`InceptionOutputs` in training with the auxiliary head;
        H and W of at least 75, or 299 in training with the auxiliary head. The network was made for 299.

    Raises:
        ValueError: ``inception_blocks`` does not have seven elements.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        inception_blocks: Sequence[Callable[..., nn.Module]] | None = None,
        init_weights: bool | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if inception_blocks is None:
            inception_blocks = (
                BasicConv2d,
                InceptionA,
                InceptionB,
                InceptionC,
                InceptionD,
                InceptionE,
                InceptionAux,
            )
        if len(inception_blocks) != 7:
            raise ValueError(
                "inception_blocks must be 7, for convolutions, blocks A to E and the auxiliary head; "
                f"there are {len(inception_blocks)}"
            )
        conv_block, block_a, block_b, block_c, block_d, block_e, block_aux = inception_blocks
        self.aux_logits = aux_logits
        self.transform_input = transform_input

        self.Conv2d_1a_3x3 = conv_block(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = conv_block(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = conv_block(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv2d_3b_1x1 = conv_block(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = conv_block(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Mixed_5b = block_a(192, pool_features=32)
        self.Mixed_5c = block_a(256, pool_features=64)
        self.Mixed_5d = block_a(288, pool_features=64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, channels_7x7=128)
        self.Mixed_6c = block_c(768, channels_7x7=160)
        self.Mixed_6d = block_c(768, channels_7x7=160)
        self.Mixed_6e = block_c(768, channels_7x7=192)
        self.AuxLogits: nn.Module | None = None
        if aux_logits:
            self.AuxLogits = block_aux(768, num_classes)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280)
        self.Mixed_7c = block_e(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights is None or init_weights:
            self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Initialises one module's own parameters as in the TensorFlow release."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            auxiliary = self.AuxLogits is not None and module is getattr(self.AuxLogits, "fc", None)
            # The release's truncation at 2, twenty deviations away, never comes to bear.
            nn.init.normal_(module.weight, std=0.001 if auxiliary else 0.1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # The published file has the auxiliary head.
        if self.AuxLogits is None:
            for key in [key for key in state_dict if key.startswith(f"{prefix}AuxLogits.")]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _transform_input(self, x: Tensor) -> Tensor:
        if not self.transform_input:
            return x
        return imagenet_to_inception_range(x, getattr(self.Conv2d_1a_3x3.conv, "in_channels", 3))

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and in training those of the auxiliary head if it is there."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        aux = self.AuxLogits(x) if self.training and self.AuxLogits is not None else None
        x = self.avgpool(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))))
        return self.fc(torch.flatten(self.dropout(x), 1)), aux

    def eager_outputs(self, x: Tensor, aux: Tensor | None) -> "Tensor | InceptionOutputs":
        """What is returned: the logits, or both outputs in training with the auxiliary head."""
        return InceptionOutputs(x, aux) if self.training and self.aux_logits else x

    def feature_layers(self) -> FeatureLayers:
        stages = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
        return FeatureLayers(stages, head="fc", auxiliary=("AuxLogits",), input_size=(299, 299))

    @explains_failures
    def forward(self, x: Tensor) -> "Tensor | InceptionOutputs":
        if self.training and self.AuxLogits is not None:
            check_image(x, model=f"{type(self).__name__} in training with its auxiliary head", min_size=(299, 299))
        else:
            check_image(x, model=type(self).__name__, min_size=(75, 75))
        return self.eager_outputs(*self._forward(self._transform_input(x)))


class InceptionOutputs(NamedTuple):
    """What :class:`Inception3` returns in training with the auxiliary head; each is Tensor[N, num_classes].

    Attributes:
        logits: the network's output.
        aux_logits: output of the auxiliary head.
    """

    logits: Tensor
    aux_logits: Tensor | None


class _Branches(nn.Module):
    """Branches side by side, whose outputs are concatenated."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The branches' outputs, Tensor[N, C, H, W] of equal H and W."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._forward(x), 1)


class InceptionA(_Branches):
    """1x1, 5x5, double 3x3 and pooling side by side: figure 5 of the paper, with 5x5 left in one branch.

    Args:
        in_channels: channels of the input.
        pool_features: channels of the pooling branch.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(
        self, in_channels: int, pool_features: int, conv_block: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.branch1x1 = conv_block(in_channels, 64, kernel_size=1)
        self.branch5x5_1 = conv_block(in_channels, 48, kernel_size=1)
        self.branch5x5_2 = conv_block(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = conv_block(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = conv_block(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = conv_block(96, 96, kernel_size=3, padding=1)
        self.branch_pool = conv_block(in_channels, pool_features, kernel_size=1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(F.avg_pool2d(input_of_padded_pooling(x), kernel_size=3, stride=1, padding=1)),
        ]


class InceptionB(_Branches):
    """3x3, double 3x3 and pooling side by side, which halve the size: figure 10 of the paper.

    Args:
        in_channels: channels of the input.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(self, in_channels: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.branch3x3 = conv_block(in_channels, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = conv_block(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = conv_block(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = conv_block(96, 96, kernel_size=3, stride=2)

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch3x3(x),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            F.max_pool2d(x, kernel_size=3, stride=2),
        ]


class InceptionC(_Branches):
    """1x1, 7x7 and double 7x7, cut into 1x7 and 7x1, and pooling side by side: figure 6 of the paper with n = 7.

    Args:
        in_channels: channels of the input.
        channels_7x7: channels between the 7x7 branches' convolutions.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(self, in_channels: int, channels_7x7: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        c7 = channels_7x7
        self.branch1x1 = conv_block(in_channels, 192, kernel_size=1)
        self.branch7x7_1 = conv_block(in_channels, c7, kernel_size=1)
        self.branch7x7_2 = conv_block(c7, c7, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7_3 = conv_block(c7, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = conv_block(in_channels, c7, kernel_size=1)
        self.branch7x7dbl_2 = conv_block(c7, c7, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = conv_block(c7, c7, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = conv_block(c7, c7, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = conv_block(c7, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch_pool = conv_block(in_channels, 192, kernel_size=1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl)),
            self.branch_pool(F.avg_pool2d(input_of_padded_pooling(x), kernel_size=3, stride=1, padding=1)),
        ]


class InceptionD(_Branches):
    """3x3, 7x7 with 3x3, and pooling side by side, which halve the size.

    Args:
        in_channels: channels of the input.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(self, in_channels: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.branch3x3_1 = conv_block(in_channels, 192, kernel_size=1)
        self.branch3x3_2 = conv_block(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = conv_block(in_channels, 192, kernel_size=1)
        self.branch7x7x3_2 = conv_block(192, 192, kernel_size=(1, 7), padding=(0, 3))
        self.branch7x7x3_3 = conv_block(192, 192, kernel_size=(7, 1), padding=(3, 0))
        self.branch7x7x3_4 = conv_block(192, 192, kernel_size=3, stride=2)

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch3x3_2(self.branch3x3_1(x)),
            self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))),
            F.max_pool2d(x, kernel_size=3, stride=2),
        ]


class InceptionE(_Branches):
    """1x1, two branches that fork into 1x3 and 3x1, and pooling side by side: figure 7 of the paper.

    Args:
        in_channels: channels of the input.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(self, in_channels: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.branch1x1 = conv_block(in_channels, 320, kernel_size=1)
        self.branch3x3_1 = conv_block(in_channels, 384, kernel_size=1)
        self.branch3x3_2a = conv_block(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3_2b = conv_block(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = conv_block(in_channels, 448, kernel_size=1)
        self.branch3x3dbl_2 = conv_block(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = conv_block(384, 384, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = conv_block(384, 384, kernel_size=(3, 1), padding=(1, 0))
        self.branch_pool = conv_block(in_channels, 192, kernel_size=1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The branches' outputs; those that fork give two."""
        branch3x3 = self.branch3x3_1(x)
        branch3x3dbl = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            self.branch3x3_2a(branch3x3),
            self.branch3x3_2b(branch3x3),
            self.branch3x3dbl_3a(branch3x3dbl),
            self.branch3x3dbl_3b(branch3x3dbl),
            self.branch_pool(F.avg_pool2d(input_of_padded_pooling(x), kernel_size=3, stride=1, padding=1)),
        ]


class InceptionAux(nn.Module):
    """Auxiliary classifier: figure 8 of the paper.

    Args:
        in_channels: channels of the input.
        num_classes: number of classes.
        conv_block: builds a convolution; :class:`BasicConv2d` by default.
    """

    def __init__(self, in_channels: int, num_classes: int, conv_block: Callable[..., nn.Module] | None = None) -> None:
        super().__init__()
        conv_block = conv_block or BasicConv2d
        self.conv0 = conv_block(in_channels, 128, kernel_size=1)
        self.conv1 = conv_block(128, 768, kernel_size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(F.avg_pool2d(x, kernel_size=5, stride=3)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class Inception_V3_Weights(WeightsEnum):
    IMAGENET1K_V1 = auto()
    DEFAULT = IMAGENET1K_V1


@register_model
def inception_v3(*, weights: Inception_V3_Weights | None = None, progress: bool = True, **kwargs: Any) -> Inception3:
    """Inception v3.

    From `Rethinking the Inception Architecture for Computer Vision <https://arxiv.org/abs/1512.00567>`__.
    Unlike the other classifiers it was made for images of 299x299 pixels. With weights, ``transform_input`` is ``True``
    by default.
    """
    if weights is not None:
        kwargs.setdefault("transform_input", True)
    return build(Inception3, weights, progress, **kwargs)
