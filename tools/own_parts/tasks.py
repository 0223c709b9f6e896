"""Parts of a user's in models of videos and of segmentation."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tools.own_parts.blocks import OwnMerging, halved
from tools.own_parts.layers import VIDEO, small_mvit, small_swin3d
from tools.own_parts.sides import Case, Family


def cases() -> Iterator[Case]:
    yield from _videos()
    yield from _segmentation()


def _videos() -> Iterator[Case]:
    def resnet(side: Family, block: str, maker: str, stem: str) -> nn.Module:
        family = side("video.resnet")
        makers = {
            "own": _OwnMaker,
            **{name: getattr(family, name) for name in ("Conv3DSimple", "Conv3DNoTemporal", "Conv2Plus1D")},
            "subclass": halved(family.Conv2Plus1D),
        }
        blocks = {"BasicBlock": family.BasicBlock, "Bottleneck": family.Bottleneck}
        blocks |= {f"{name} subclass": halved(kind) for name, kind in blocks.items()}
        stems = {
            "BasicStem": family.BasicStem,
            "R2Plus1dStem": family.R2Plus1dStem,
            "subclass": halved(family.BasicStem),
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
            "block": {"block": halved(block)},
            "block in a partial": {"block": partial(block, attn_layer=family.ShiftedWindowAttention3d)},
            "own downsample_layer": {"downsample_layer": OwnMerging},
            "patch_embed": {"patch_embed": halved(family.PatchEmbed3d)},
            "own patch_embed": {"patch_embed": _OwnPatches},
        }
        return small_swin3d(side, **parts[part])

    for part in ("block of images", "block", "block in a partial", "own downsample_layer", "patch_embed"):
        yield f"swin3d {part}", partial(swin, part=part), VIDEO
    yield "swin3d own patch_embed", partial(swin, part="own patch_embed"), VIDEO

    def mvit(side: Family) -> nn.Module:
        return small_mvit(side, block=_halved_pair(side("video.mvit").MultiscaleBlock))

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
