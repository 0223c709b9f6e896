"""Blocks, stems, convolutions and attention of a user's in models of images."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tools.own_parts.layers import IMAGE, NORMS, NORMS_OF_LAST, Bend, small_regnet, small_swin, small_vit
from tools.own_parts.sides import Case, Family


def cases() -> Iterator[Case]:
    yield from _blocks()
    yield from _attention()


def halved(kind: Any) -> Any:
    """A user's subclass of a block, which does one thing more."""

    class Halved(kind):
        def forward(self, *inputs: Any) -> Any:
            return 0.5 * super().forward(*inputs)

    return Halved


class OwnResidual(nn.Module):
    """A block for ResNet that shares nothing with ours."""

    expansion = 2

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Any = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inplanes, 2 * planes, 3, stride, dilation, dilation, bias=False)
        self.norm = norm_layer(2 * planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.norm(self.conv(x)) + (x if self.downsample is None else self.downsample(x)))


class OwnChannels(nn.Module):
    """A convolution in the place of a block, from the first two sizes that it is given."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *_: Any, **__: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


def _blocks() -> Iterator[Case]:
    def resnet(side: Family, kind: str, **kwargs: Any) -> nn.Module:
        family = side("classification.resnet")
        block = OwnResidual if kind == "own" else halved(getattr(family, kind))
        return family.ResNet(block, [1, 2, 1, 1], num_classes=7, **kwargs)

    for kind in ("BasicBlock", "Bottleneck", "own"):
        for zero in (False, True):
            make = partial(resnet, kind=kind, zero_init_residual=zero)
            yield f"resnet block {kind}{' zero_init_residual' * zero}", make, IMAGE
    yield (
        "resnet dilated Bottleneck",
        partial(resnet, kind="Bottleneck", replace_stride_with_dilation=[False, True, True], groups=2),
        IMAGE,
    )

    def convnext(side: Family, own: bool) -> nn.Module:
        family = side("classification.convnext")
        setting = [family.CNBlockConfig(8, 16, 2), family.CNBlockConfig(16, None, 1)]
        if not own:
            return family.ConvNeXt(setting, block=halved(family.CNBlock), layer_scale=0.3, num_classes=7)

        class Own(nn.Module):
            def __init__(self, dim: int, layer_scale: float, stochastic_depth_prob: float) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.tensor(layer_scale))
                self.conv = nn.Conv2d(dim, dim, 3, padding=1)

            def forward(self, x: Tensor) -> Tensor:
                return x + self.scale * self.conv(x)

        return family.ConvNeXt(setting, block=Own, layer_scale=0.3, num_classes=7)

    yield "convnext block subclass", partial(convnext, own=False), IMAGE
    yield "convnext block own", partial(convnext, own=True), IMAGE
    for name, norm in NORMS_OF_LAST.items():

        def block_norm(side: Family, norm: Any = norm) -> nn.Module:
            family = side("classification.convnext")
            setting = [family.CNBlockConfig(8, 16, 2), family.CNBlockConfig(16, None, 1)]
            return family.ConvNeXt(setting, block=partial(family.CNBlock, norm_layer=norm), num_classes=7)

        yield f"convnext block norm_layer {name}", block_norm, IMAGE

    def mobilenetv2(side: Family, own: bool) -> nn.Module:
        family = side("classification.mobilenetv2")
        block = OwnChannels if own else halved(family.InvertedResidual)
        return family.MobileNetV2(7, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2]], block=block)

    def mobilenetv3(side: Family, own: bool, layer: str = "") -> nn.Module:
        family = side("classification.mobilenetv3")
        row = partial(family.InvertedResidualConfig, width_mult=1.0)
        setting = [row(16, 3, 16, 16, True, "RE", 2, 1), row(16, 5, 40, 24, True, "HS", 1, 1)]
        block = halved(family.InvertedResidual)
        if own:

            def block(cnf: Any, norm_layer: Any) -> nn.Module:
                return OwnChannels(cnf.input_channels, cnf.out_channels, cnf.stride)

        if layer:
            block = partial(family.InvertedResidual, se_layer=lambda channels, squeeze: OwnChannels(channels, channels))
        return family.MobileNetV3(setting, 32, num_classes=7, block=block)

    for own in (False, True):
        kind = "own" if own else "subclass"
        yield f"mobilenetv2 block {kind}", partial(mobilenetv2, own=own), IMAGE
        yield f"mobilenetv3 block {kind}", partial(mobilenetv3, own=own), IMAGE
    yield "mobilenetv3 se_layer own", partial(mobilenetv3, own=False, layer="own"), IMAGE

    def efficientnet(side: Family, kind: str) -> nn.Module:
        family = side("classification.efficientnet")
        blocks: dict[str, tuple[Any, Any]] = {
            "subclass": (halved(family.MBConv), halved(family.FusedMBConv)),
            "own": (
                lambda cnf, drop, norm: OwnChannels(cnf.input_channels, cnf.out_channels, cnf.stride),
                lambda cnf, drop, norm: nn.Sequential(
                    norm(cnf.input_channels), OwnChannels(cnf.input_channels, cnf.out_channels, cnf.stride)
                ),
            ),
            "se_layer": (
                partial(
                    family.MBConv,
                    se_layer=lambda channels, squeeze, activation: nn.Sequential(
                        OwnChannels(channels, channels), activation()
                    ),
                ),
                family.FusedMBConv,
            ),
        }
        block, fused = blocks[kind]
        setting = [
            family.FusedMBConvConfig(4, 3, 1, 8, 8, 2, block=fused),
            family.MBConvConfig(4, 3, 2, 8, 16, 2, block=block),
        ]
        return family.EfficientNet(setting, 0.2, num_classes=7)

    for kind in ("subclass", "own", "se_layer"):
        yield f"efficientnet block {kind}", partial(efficientnet, kind=kind), IMAGE

    def regnet_parts(side: Family, kind: str) -> nn.Module:
        family = side("classification.regnet")
        if kind == "stem":
            return small_regnet(side, stem_type=halved(family.SimpleStemIN))
        if kind == "own stem":
            return small_regnet(
                side, stem_type=lambda i, o, norm, act: nn.Sequential(OwnChannels(i, o, 4), norm(o), act())
            )
        if kind == "block":
            return small_regnet(side, block_type=halved(family.ResBottleneckBlock))
        return small_regnet(side, block_type=OwnChannels)

    for kind in ("stem", "own stem", "block", "own block"):
        yield f"regnet {kind}", partial(regnet_parts, kind=kind), IMAGE

    def googlenet(side: Family, own: bool) -> nn.Module:
        family = side("classification.googlenet")
        convolution = _own_convolution if own else halved(family.BasicConv2d)
        return family.GoogLeNet(
            7,
            init_weights=True,
            blocks=[
                convolution,
                partial(halved(family.Inception), conv_block=convolution),
                partial(family.InceptionAux, conv_block=convolution),
            ],
        )

    def inception(side: Family, own: bool) -> nn.Module:
        family = side("classification.inception")
        convolution = _own_convolution if own else halved(family.BasicConv2d)
        kinds = [getattr(family, f"Inception{kind}") for kind in ("A", "B", "C", "D", "E", "Aux")]
        blocks = [partial(kind if own else halved(kind), conv_block=convolution) for kind in kinds]
        return family.Inception3(7, init_weights=True, inception_blocks=[convolution, *blocks])

    for own in (False, True):
        kind = "own" if own else "subclass"
        yield f"googlenet blocks {kind}", partial(googlenet, own=own), IMAGE
        yield f"inception blocks {kind}", partial(inception, own=own), (2, 3, 267, 267)

    def shufflenet(side: Family, own: bool) -> nn.Module:
        family = side("classification.shufflenetv2")
        block = OwnChannels if own else halved(family.InvertedResidual)
        return family.ShuffleNetV2([2, 1, 1], [8, 16, 24, 32, 40], num_classes=7, inverted_residual=block)

    yield "shufflenet block subclass", partial(shufflenet, own=False), IMAGE
    yield "shufflenet block own", partial(shufflenet, own=True), IMAGE

    def vgg(side: Family) -> nn.Module:
        features = nn.Sequential(nn.Conv2d(3, 512, 3, 4, 1), nn.GroupNorm(4, 512), nn.GELU(), nn.BatchNorm2d(512))
        return side("classification.vgg").VGG(features, num_classes=7)

    yield "vgg features own", vgg, IMAGE


class _OwnConvolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


def _own_convolution(inputs: int, outputs: int, **kwargs: Any) -> nn.Module:
    """A function in the place of a class."""
    return _OwnConvolution(inputs, outputs, **kwargs)


class OwnMixing(nn.Module):
    """In the place of attention: mixes all tokens with their mean."""

    def __init__(self, dim: int, *_: Any, **__: Any) -> None:
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.mix(x) + x.mean((1, 2), keepdim=True))


def _attention() -> Iterator[Case]:
    for version in ("", "V2"):

        def swin(side: Family, part: str, version: str = version) -> nn.Module:
            family = side("classification.swin_transformer")
            block = getattr(family, f"SwinTransformerBlock{version}")
            merging = getattr(family, f"PatchMerging{version}")
            attention = getattr(family, f"ShiftedWindowAttention{version}")
            parts: dict[str, dict[str, Any]] = {
                "block": {"block": halved(block)},
                "attn_layer": {"block": partial(block, attn_layer=halved(attention))},
                "attn_layer without bias": {"block": partial(block, attn_layer=partial(attention, qkv_bias=False))},
                "own attn_layer": {"block": partial(block, attn_layer=OwnMixing)},
                "downsample_layer": {"downsample_layer": halved(merging)},
                "own downsample_layer": {"downsample_layer": OwnMerging},
            }
            return small_swin(side, version, **parts[part])

        for part in (
            "block",
            "attn_layer",
            "attn_layer without bias",
            "own attn_layer",
            "downsample_layer",
            "own downsample_layer",
        ):
            yield f"swin{version} {part}", partial(swin, part=part), (2, 3, 31, 36)

    for name, norm in NORMS.items():
        for activation in (nn.ReLU, Bend):

            def vit(side: Family, norm: Any = norm, activation: Any = activation) -> nn.Module:
                layer = side("classification.vision_transformer").ConvStemConfig
                return small_vit(side, conv_stem_configs=[layer(8, 3, 2, norm, activation), layer(12, 5, 4, norm)])

            yield f"vit conv_stem_configs {name} {activation.__name__}", vit, (2, 3, 32, 32)


class OwnMerging(nn.Module):
    """Halves height and width, and doubles the channels, of maps of images or videos."""

    def __init__(self, dim: int, norm_layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * dim)
        self.norm = norm_layer(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.expand(x[..., ::2, ::2, :]))
