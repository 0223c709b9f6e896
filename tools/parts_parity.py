"""Compares models that are built with parts of a user's with torchvision's, as a black box.

    python -m tools.parts_parity [PATTERN ...]        # shell patterns of cases; all by default

Normalisations, activations, blocks, stems, convolutions, attention, backbones and heads: own classes, subclasses of
ours, and torch's in other forms than the default. What torchvision builds, ours builds with the same keys, shapes and,
from the same seed, parameters; outputs and the gradients of the images are equal.
"""

import argparse
import fnmatch
import gc
import importlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools import model_parity, oracle, reference_values

TOLERANCE = 1e-4

# The modules of one side by their names.
Family = Callable[[str], Any]
# A name, how a model is made of the modules of one side, and the shape of its input.
Case = tuple[str, Callable[[Family], nn.Module], tuple[int, ...]]


def ours(family: str) -> Any:
    """A module of ours: ``classification.resnet``."""
    return importlib.import_module("zoo_core.layers" if family == "ops.misc" else f"zoo_{family}")


def theirs(family: str) -> Any:
    """The module of torchvision of that name."""
    oracle.torchvision()
    family = family.removeprefix("classification.").replace("quantized.", "quantization.")
    return importlib.import_module(f"torchvision.{'' if family.startswith('ops.') else 'models.'}{family}")


# Parts of a user's ----------------------------------------------------------------------------------------------------


class Squash(nn.Module):
    """In the place of a normalisation: takes any arguments, and keeps what it returned for the gradient."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class Scale(nn.Module):
    """A normalisation by the channels' mean square, with a parameter of its own."""

    def __init__(self, channels: int, last: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), 0.9))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        dim = -1 if self.last else 1
        gain = self.gain if self.last else self.gain.view(-1, *(1,) * (x.dim() - 2))
        return x * torch.rsqrt(x.square().mean(dim, keepdim=True) + 1e-3) * gain


class QuietNorm(nn.BatchNorm2d):
    """A subclass that starts from other parameters."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.affine:
            nn.init.constant_(self.weight, 0.5)


class Bend(nn.Module):
    """An activation of a user's."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x) - 0.5


NORMS: dict[str, Callable[..., nn.Module]] = {
    "GroupNorm": partial(nn.GroupNorm, 1),
    "Identity": nn.Identity,
    "InstanceNorm": partial(nn.InstanceNorm2d, affine=True),
    "no affine": partial(nn.BatchNorm2d, affine=False),
    "no statistics": partial(nn.BatchNorm2d, track_running_stats=False),
    "Sync": nn.SyncBatchNorm,
    "subclass": QuietNorm,
    "own": Scale,
    "saved": Squash,
    "function": lambda channels: nn.GroupNorm(2 if channels % 2 == 0 else 1, channels),
}
NORMS_3D: dict[str, Callable[..., nn.Module]] = {
    "GroupNorm": partial(nn.GroupNorm, 1),
    "Identity": nn.Identity,
    "InstanceNorm": nn.InstanceNorm3d,
    "own": Scale,
    "saved": Squash,
}
NORMS_OF_LAST: dict[str, Callable[..., nn.Module]] = {
    "Identity": nn.Identity,
    "RMSNorm": nn.RMSNorm,
    "no affine": partial(nn.LayerNorm, elementwise_affine=False),
    "own": partial(Scale, last=True),
    "saved": Squash,
}
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "SiLU": nn.SiLU,
    "Hardswish": nn.Hardswish,
    "LeakyReLU": partial(nn.LeakyReLU, 0.2),
    "own": Bend,
}

IMAGE = (2, 3, 64, 64)
VIDEO = (2, 3, 4, 32, 32)


# Cases ----------------------------------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    yield from _normalisations()
    yield from _activations()
    yield from _blocks_of_images()
    yield from _attention()
    yield from _videos()
    yield from _segmentation()
    yield from _layers()


def _built(family: str, builder: str, **kwargs: Any) -> Callable[[Family], nn.Module]:
    return lambda side: getattr(side(family), builder)(**({"num_classes": 7} | kwargs))


def _normalisations() -> Iterator[Case]:
    for family, builder in (
        ("resnet", "resnet18"),
        ("resnet", "resnet50"),
        ("efficientnet", "efficientnet_b0"),
        ("efficientnet", "efficientnet_v2_s"),
        ("mobilenetv2", "mobilenet_v2"),
        ("mobilenetv3", "mobilenet_v3_small"),
        ("regnet", "regnet_x_400mf"),
        ("regnet", "regnet_y_400mf"),
        ("convnext", "convnext_tiny"),
    ):
        for name, norm in NORMS.items():
            yield f"{builder} norm_layer {name}", _built(f"classification.{family}", builder, norm_layer=norm), IMAGE
    for name in ("no affine", "own", "subclass", "GroupNorm"):
        for builder in ("resnet18", "resnet50"):
            if name == "own":
                continue
            make = _built("classification.resnet", builder, norm_layer=NORMS[name], zero_init_residual=True)
            yield f"{builder} zero_init_residual {name}", make, IMAGE
    for name, norm in NORMS.items():
        yield f"maxvit norm_layer {name}", partial(_maxvit, norm_layer=norm), IMAGE
    for name, norm in NORMS_OF_LAST.items():
        for version in ("", "V2"):
            yield f"swin{version} norm_layer {name}", partial(_swin, version=version, norm_layer=norm), (2, 3, 31, 36)
        yield f"vit norm_layer {name}", partial(_vit, norm_layer=norm), (2, 3, 32, 32)
        yield f"swin3d norm_layer {name}", partial(_swin3d, norm_layer=norm), VIDEO
        yield f"mvit norm_layer {name}", partial(_mvit, norm_layer=norm), VIDEO
    for name, norm in NORMS_3D.items():
        yield f"s3d norm_layer {name}", _built("video.s3d", "s3d", norm_layer=norm), (1, 3, 14, 224, 224)


def _activations() -> Iterator[Case]:
    for name, activation in ACTIVATIONS.items():
        yield f"regnet activation {name}", partial(_regnet, activation=activation), IMAGE
        yield f"maxvit activation_layer {name}", partial(_maxvit, activation_layer=activation), IMAGE
    yield "maxvit activation_layer GELU tanh", partial(_maxvit, activation_layer=partial(nn.GELU, "tanh")), IMAGE


def _maxvit(side: Family, **kwargs: Any) -> nn.Module:
    sizes = {"input_size": (64, 64), "stem_channels": 8, "partition_size": 4, "block_channels": [8, 16]}
    rest = {"block_layers": [1, 2], "head_dim": 4, "stochastic_depth_prob": 0.1, "num_classes": 7}
    return side("classification.maxvit").MaxVit(**sizes, **rest, **kwargs)


def _swin(side: Family, version: str = "", **kwargs: Any) -> nn.Module:
    family = side("classification.swin_transformer")
    parts = {
        "block": getattr(family, f"SwinTransformerBlock{version}"),
        "downsample_layer": getattr(family, f"PatchMerging{version}"),
    } | kwargs
    return family.SwinTransformer([4, 4], 8, [2, 1], [2, 4], [4, 4], num_classes=7, **parts)


def _vit(side: Family, **kwargs: Any) -> nn.Module:
    return side("classification.vision_transformer").VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=7, **kwargs)


def _regnet(side: Family, **kwargs: Any) -> nn.Module:
    family = side("classification.regnet")
    params = family.BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25)
    return family.RegNet(params, num_classes=7, stem_width=8, **kwargs)


def _swin3d(side: Family, **kwargs: Any) -> nn.Module:
    family = side("video.swin_transformer")
    return family.SwinTransformer3d([2, 4, 4], 8, [2, 1], [2, 4], [2, 4, 4], num_classes=7, **kwargs)


def _mvit(side: Family, **kwargs: Any) -> nn.Module:
    family = side("video.mvit")
    setting = [
        family.MSBlockConfig(1, 8, 8, [], [1, 4, 4], [], [1, 4, 4]),
        family.MSBlockConfig(2, 8, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
        family.MSBlockConfig(2, 16, 16, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
    ]
    form = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
    return family.MViT((32, 32), 4, setting, num_classes=7, **form, **kwargs)


def _halved(kind: Any) -> Any:
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


def _blocks_of_images() -> Iterator[Case]:
    def resnet(side: Family, kind: str, **kwargs: Any) -> nn.Module:
        family = side("classification.resnet")
        block = OwnResidual if kind == "own" else _halved(getattr(family, kind))
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
            return family.ConvNeXt(setting, block=_halved(family.CNBlock), layer_scale=0.3, num_classes=7)

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
        block = OwnChannels if own else _halved(family.InvertedResidual)
        return family.MobileNetV2(7, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2]], block=block)

    def mobilenetv3(side: Family, own: bool, layer: str = "") -> nn.Module:
        family = side("classification.mobilenetv3")
        row = partial(family.InvertedResidualConfig, width_mult=1.0)
        setting = [row(16, 3, 16, 16, True, "RE", 2, 1), row(16, 5, 40, 24, True, "HS", 1, 1)]
        block = _halved(family.InvertedResidual)
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
            "subclass": (_halved(family.MBConv), _halved(family.FusedMBConv)),
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
            return _regnet(side, stem_type=_halved(family.SimpleStemIN))
        if kind == "own stem":
            return _regnet(side, stem_type=lambda i, o, norm, act: nn.Sequential(OwnChannels(i, o, 4), norm(o), act()))
        if kind == "block":
            return _regnet(side, block_type=_halved(family.ResBottleneckBlock))
        return _regnet(side, block_type=OwnChannels)

    for kind in ("stem", "own stem", "block", "own block"):
        yield f"regnet {kind}", partial(regnet_parts, kind=kind), IMAGE

    def googlenet(side: Family, own: bool) -> nn.Module:
        family = side("classification.googlenet")
        convolution = _own_convolution if own else _halved(family.BasicConv2d)
        return family.GoogLeNet(
            7,
            init_weights=True,
            blocks=[
                convolution,
                partial(_halved(family.Inception), conv_block=convolution),
                partial(family.InceptionAux, conv_block=convolution),
            ],
        )

    def inception(side: Family, own: bool) -> nn.Module:
        family = side("classification.inception")
        convolution = _own_convolution if own else _halved(family.BasicConv2d)
        kinds = [getattr(family, f"Inception{kind}") for kind in ("A", "B", "C", "D", "E", "Aux")]
        blocks = [partial(kind if own else _halved(kind), conv_block=convolution) for kind in kinds]
        return family.Inception3(7, init_weights=True, inception_blocks=[convolution, *blocks])

    for own in (False, True):
        kind = "own" if own else "subclass"
        yield f"googlenet blocks {kind}", partial(googlenet, own=own), IMAGE
        yield f"inception blocks {kind}", partial(inception, own=own), (2, 3, 267, 267)

    def shufflenet(side: Family, own: bool) -> nn.Module:
        family = side("classification.shufflenetv2")
        block = OwnChannels if own else _halved(family.InvertedResidual)
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
                "block": {"block": _halved(block)},
                "attn_layer": {"block": partial(block, attn_layer=_halved(attention))},
                "attn_layer without bias": {"block": partial(block, attn_layer=partial(attention, qkv_bias=False))},
                "own attn_layer": {"block": partial(block, attn_layer=OwnMixing)},
                "downsample_layer": {"downsample_layer": _halved(merging)},
                "own downsample_layer": {"downsample_layer": OwnMerging},
            }
            return _swin(side, version, **parts[part])

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
                return _vit(side, conv_stem_configs=[layer(8, 3, 2, norm, activation), layer(12, 5, 4, norm)])

            yield f"vit conv_stem_configs {name} {activation.__name__}", vit, (2, 3, 32, 32)


class OwnMerging(nn.Module):
    """Halves height and width, and doubles the channels, of maps of images or videos."""

    def __init__(self, dim: int, norm_layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * dim)
        self.norm = norm_layer(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.expand(x[..., ::2, ::2, :]))


def _videos() -> Iterator[Case]:
    def resnet(side: Family, block: str, maker: str, stem: str) -> nn.Module:
        family = side("video.resnet")
        makers = {
            "own": _OwnMaker,
            **{name: getattr(family, name) for name in ("Conv3DSimple", "Conv3DNoTemporal", "Conv2Plus1D")},
            "subclass": _halved(family.Conv2Plus1D),
        }
        blocks = {"BasicBlock": family.BasicBlock, "Bottleneck": family.Bottleneck}
        blocks |= {f"{name} subclass": _halved(kind) for name, kind in blocks.items()}
        stems = {
            "BasicStem": family.BasicStem,
            "R2Plus1dStem": family.R2Plus1dStem,
            "subclass": _halved(family.BasicStem),
            "own": lambda: nn.Conv3d(3, 64, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
        }
        return family.VideoResNet(blocks[block], [makers[maker]] * 4, [1, 2, 1, 1], stems[stem], num_classes=7)

    for block in ("BasicBlock", "Bottleneck", "BasicBlock subclass", "Bottleneck subclass"):
        for maker in ("Conv3DSimple", "Conv3DNoTemporal", "Conv2Plus1D", "subclass", "own"):
            make = partial(resnet, block=block, maker=maker, stem="BasicStem")
            yield f"video resnet {block} {maker}", make, VIDEO
    for stem in ("R2Plus1dStem", "subclass", "own"):
        make = partial(resnet, block="BasicBlock", maker="Conv3DSimple", stem=stem)
        yield f"video resnet stem {stem}", make, VIDEO

    def swin(side: Family, part: str) -> nn.Module:
        family = side("video.swin_transformer")
        block = side("classification.swin_transformer").SwinTransformerBlock
        # torchvision puts its own attention in the place of one that a partial has.
        parts: dict[str, dict[str, Any]] = {
            "block of images": {"block": block},
            "block": {"block": _halved(block)},
            "block in a partial": {"block": partial(block, attn_layer=family.ShiftedWindowAttention3d)},
            "own downsample_layer": {"downsample_layer": OwnMerging},
            "patch_embed": {"patch_embed": _halved(family.PatchEmbed3d)},
            "own patch_embed": {"patch_embed": _OwnPatches},
        }
        return _swin3d(side, **parts[part])

    for part in ("block of images", "block", "block in a partial", "own downsample_layer", "patch_embed"):
        yield f"swin3d {part}", partial(swin, part=part), VIDEO
    yield "swin3d own patch_embed", partial(swin, part="own patch_embed"), VIDEO

    def mvit(side: Family) -> nn.Module:
        return _mvit(side, block=_halved_pair(side("video.mvit").MultiscaleBlock))

    yield "mvit block subclass", mvit, VIDEO


def _halved_pair(kind: Any) -> Any:
    class Halved(kind):
        def forward(self, x: Tensor, thw: Any) -> Any:
            tokens, size = super().forward(x, thw)
            return 0.5 * tokens, size

    return Halved


class _OwnMaker(nn.Conv3d):
    """A convolution in space with twice the padding in time, and another one after it."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int | None = None, stride: int = 1, **_: Any):
        super().__init__(in_planes, out_planes, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=True)

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        return 1, stride, stride


def _triple(values: list[int]) -> tuple[int, int, int]:
    frames, height, width = values
    return frames, height, width


class _OwnPatches(nn.Module):
    def __init__(self, patch_size: list[int], embed_dim: int, norm_layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, embed_dim, _triple(patch_size), _triple(patch_size))
        self.norm = norm_layer(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 4, 1))


class _OwnBackbone(nn.Module):
    def __init__(self, **channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: nn.Conv2d(3, n, 3, 2 + i, 1) for i, (name, n) in enumerate(channels.items())}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return OrderedDict((name, torch.tanh(layer(x))) for name, layer in self.layers.items())


def _segmentation() -> Iterator[Case]:
    def model(side: Family, name: str, head: str, own: bool, aux: bool) -> nn.Module:
        family = side(f"segmentation.{name.lower()}")
        kind = _OwnHead if own else getattr(family, head)
        helper = side("segmentation.fcn").FCNHead(6, 7) if aux else None
        return getattr(family, name)(_OwnBackbone(aux=6, out=8), kind(8, 7), helper)

    for name, head in (("FCN", "FCNHead"), ("DeepLabV3", "DeepLabHead")):
        for own in (False, True):
            for aux in (False, True):
                label = f"{name} {'own head' if own else head}{' aux' * aux}"
                yield label, partial(model, name=name, head=head, own=own, aux=aux), (2, 3, 45, 52)
    yield (
        "DeepLabHead atrous_rates",
        lambda side: nn.Sequential(side("segmentation.deeplabv3").DeepLabHead(3, 7, (2, 4))),
        (2, 3, 20, 24),
    )
    yield (
        "LRASPP own backbone",
        lambda side: side("segmentation.lraspp").LRASPP(_OwnBackbone(low=6, high=8), 6, 8, 7, 10),
        (2, 3, 45, 52),
    )


class _OwnHead(nn.Sequential):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(nn.GroupNorm(2, channels), nn.GELU(), nn.Conv2d(channels, num_classes, 1))


def _layers() -> Iterator[Case]:
    for name, norm in NORMS.items():
        for bias in (None, True):
            make = partial(_layer, kind="Conv2dNormActivation", sizes=(3, 6), norm_layer=norm, bias=bias)
            yield f"Conv2dNormActivation {name} bias {bias}", make, (2, 3, 9, 8)
    for name, activation in {**ACTIVATIONS, "GELU": nn.GELU, "PReLU": nn.PReLU}.items():
        # The last two take no argument inplace.
        for inplace in (None,) if name in ("GELU", "PReLU") else (None, True, False):
            for kind, sizes, shape in (
                ("Conv2dNormActivation", (3, 6), (2, 3, 9, 8)),
                ("Conv3dNormActivation", (3, 6), (2, 3, 4, 9, 8)),
                ("MLP", (5, [7, 4]), (2, 3, 5)),
            ):
                make = partial(_layer, kind=kind, sizes=sizes, activation_layer=activation, inplace=inplace)
                yield f"{kind} {name} inplace {inplace}", make, shape
        for argument in ("activation", "scale_activation"):
            make = partial(_layer, kind="SqueezeExcitation", sizes=(3, 2), **{argument: activation})
            yield f"SqueezeExcitation {argument} {name}", make, (2, 3, 6, 5)
    for name, norm in NORMS_OF_LAST.items():
        make = partial(_layer, kind="MLP", sizes=(5, [7, 4]), norm_layer=norm)
        yield f"MLP norm_layer {name}", make, (2, 3, 5)


def _layer(side: Family, kind: str, sizes: tuple[Any, ...], **kwargs: Any) -> nn.Module:
    return getattr(side("ops.misc"), kind)(*sizes, **kwargs)


# Comparison -----------------------------------------------------------------------------------------------------------


class RefusedError(Exception):
    """torchvision cannot do it either."""


def differences(make: Callable[[Family], nn.Module], shape: tuple[int, ...]) -> dict[str, float]:
    """What differs between the two sides, as a share of the largest value.

    Raises:
        RefusedError: torchvision raises an error.
        Exception: torchvision builds and runs it, and ours does not, or has other parameters.
    """
    try:
        torch.manual_seed(3)
        expected = make(theirs)
        initial = {key: value.clone() for key, value in expected.state_dict().items()}
        _unlike(expected.double())
        start = {key: value.clone() for key, value in expected.state_dict().items()}
        wanted = [_run(expected, shape, training) for training in (False, True)]
    except Exception as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
    torch.manual_seed(3)
    found = make(ours)
    state = found.state_dict()
    shapes = [[(key, value.shape) for key, value in each.items()] for each in (state, initial)]
    assert shapes[0] == shapes[1], f"the state dicts differ: {list(state.keys() ^ initial.keys())[:4]}"
    floats = [key for key, value in initial.items() if value.is_floating_point()]
    result = {
        "initial parameters": max((float((state[key] - initial[key]).abs().max()) for key in floats), default=0.0)
    }
    found.double().load_state_dict(start)
    for training, (outputs, gradients) in zip((False, True), wanted, strict=True):
        mode = "training" if training else "eval"
        our_outputs, our_gradients = _run(found, shape, training)
        pairs = zip(our_outputs, outputs, strict=True)
        result[f"outputs in {mode}"] = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
        assert our_gradients.keys() == gradients.keys(), our_gradients.keys() ^ gradients.keys()
        largest = max(float(value.abs().max()) for value in gradients.values())
        result[f"gradients in {mode}"] = max(
            float((our_gradients[key] - value).abs().max()) / largest for key, value in gradients.items()
        )
    return result


@torch.no_grad()
def _unlike(model: nn.Module) -> None:
    """Changes vectors of parameters: biases of zero and weights of one would hide what is left out."""
    for index, (key, value) in enumerate(model.state_dict().items()):
        if value.is_floating_point() and value.dim() == 1 and "var" not in key:
            value += (torch.rand(value.shape, generator=torch.Generator().manual_seed(index)) - 0.5) * 0.3


def _run(model: nn.Module, shape: tuple[int, ...], training: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs, and what an image and the parameters get as gradients of them, in double precision.

    No element is dropped: which one is differs with the order in memory.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    image = reference_values.image(1, *shape).double().mul(2).sub(1).requires_grad_()
    torch.manual_seed(4)
    outputs = model_parity.outputs(model.train(training)(image))
    total = sum((output * (index + 1)).square().mean() for index, output in enumerate(outputs))
    wanted = {"image": image} | {key: p for key, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)  # type: ignore[arg-type]
    found = {key: gradient for key, gradient in zip(wanted, gradients, strict=True) if gradient is not None}
    return [output.detach() for output in outputs], found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    patterns = parser.parse_args().patterns or ["*"]
    failed, count, refused = [], 0, 0
    for name, make, shape in cases():
        if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        count += 1
        try:
            found = differences(make, shape)
            worst = max(found.values())
            verdict = "equal" if worst <= TOLERANCE else f"DIFFERS: {found}"
            print(f"{name:60s} {worst:.1e}  {verdict}", flush=True)
        except RefusedError as refusal:
            refused += 1
            verdict = "equal"
            print(f"{name:60s} torchvision: {str(refusal)[:80]!r}", flush=True)
        except Exception as problem:
            verdict = f"DIFFERS: {type(problem).__name__}: {str(problem)[:300]}"
            print(f"{name:60s} {verdict}", flush=True)
        if verdict != "equal":
            failed.append(name)
        gc.collect()
    if failed:
        raise SystemExit(f"{len(failed)} of {count} cases differ: {', '.join(failed)}")
    print(f"{count - refused} cases are equal; torchvision raises an error in {refused} others")


if __name__ == "__main__":
    main()
