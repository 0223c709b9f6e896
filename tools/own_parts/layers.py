"""Normalisations and activations of a user's, and of torch's in other forms than the default."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.own_parts.sides import Case, Family


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


def cases() -> Iterator[Case]:
    yield from _normalisations()
    yield from _activations()
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
        yield f"maxvit norm_layer {name}", partial(small_maxvit, norm_layer=norm), IMAGE
    for name, norm in NORMS_OF_LAST.items():
        for version in ("", "V2"):
            yield (
                f"swin{version} norm_layer {name}",
                partial(small_swin, version=version, norm_layer=norm),
                (2, 3, 31, 36),
            )
        yield f"vit norm_layer {name}", partial(small_vit, norm_layer=norm), (2, 3, 32, 32)
        yield f"swin3d norm_layer {name}", partial(small_swin3d, norm_layer=norm), VIDEO
        yield f"mvit norm_layer {name}", partial(small_mvit, norm_layer=norm), VIDEO
    for name, norm in NORMS_3D.items():
        yield f"s3d norm_layer {name}", _built("video.s3d", "s3d", norm_layer=norm), (1, 3, 14, 224, 224)


def _activations() -> Iterator[Case]:
    for name, activation in ACTIVATIONS.items():
        yield f"regnet activation {name}", partial(small_regnet, activation=activation), IMAGE
        yield f"maxvit activation_layer {name}", partial(small_maxvit, activation_layer=activation), IMAGE
    yield "maxvit activation_layer GELU tanh", partial(small_maxvit, activation_layer=partial(nn.GELU, "tanh")), IMAGE


def small_maxvit(side: Family, **kwargs: Any) -> nn.Module:
    sizes = {"input_size": (64, 64), "stem_channels": 8, "partition_size": 4, "block_channels": [8, 16]}
    rest = {"block_layers": [1, 2], "head_dim": 4, "stochastic_depth_prob": 0.1, "num_classes": 7}
    return side("classification.maxvit").MaxVit(**sizes, **rest, **kwargs)


def small_swin(side: Family, version: str = "", **kwargs: Any) -> nn.Module:
    family = side("classification.swin_transformer")
    parts = {
        "block": getattr(family, f"SwinTransformerBlock{version}"),
        "downsample_layer": getattr(family, f"PatchMerging{version}"),
    } | kwargs
    return family.SwinTransformer([4, 4], 8, [2, 1], [2, 4], [4, 4], num_classes=7, **parts)


def small_vit(side: Family, **kwargs: Any) -> nn.Module:
    return side("classification.vision_transformer").VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=7, **kwargs)


def small_regnet(side: Family, **kwargs: Any) -> nn.Module:
    family = side("classification.regnet")
    params = family.BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25)
    return family.RegNet(params, num_classes=7, stem_width=8, **kwargs)


def small_swin3d(side: Family, **kwargs: Any) -> nn.Module:
    family = side("video.swin_transformer")
    return family.SwinTransformer3d([2, 4, 4], 8, [2, 1], [2, 4], [2, 4, 4], num_classes=7, **kwargs)


def small_mvit(side: Family, **kwargs: Any) -> nn.Module:
    family = side("video.mvit")
    setting = [
        family.MSBlockConfig(1, 8, 8, [], [1, 4, 4], [], [1, 4, 4]),
        family.MSBlockConfig(2, 8, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
        family.MSBlockConfig(2, 16, 16, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
    ]
    form = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
    return family.MViT((32, 32), 4, setting, num_classes=7, **form, **kwargs)


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
