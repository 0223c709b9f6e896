"""Any classifier as the backbone of a detector, by its name: its feature maps with a pyramid on them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from zoo_core.features import FeatureLayers, Layer, freeze
from zoo_core.features.bodies import Body, body_of
from zoo_core.features.freezing import HEAD, NECK, parts_of
from zoo_core.input_channels import check_channels, per_channel
from zoo_core.memory_format import channels_last
from zoo_detection.anchors import AnchorGenerator
from zoo_detection.backbones import validate_trainable_layers
from zoo_detection.ops import ExtraFPNBlock, FeaturePyramidNetwork, FrozenBatchNorm2d, LastLevelMaxPool, LastLevelP6P7
from zoo_detection.transform import IMAGE_MEAN, IMAGE_STD

__all__ = ["ClassifierWithFPN"]


class ClassifierWithFPN(nn.Module):
    """A feature pyramid on the feature maps of a classifier.

    Args:
        body: gives the maps, finest first.
        extra_blocks: adds coarser levels.
        added: how many these are, each half as large as the one before.

    Shape:
        Tensor[N, 3, H, W] -> dict of Tensor[N, out_channels, H_i, W_i] by name, ``"0"`` being the finest

    Attributes:
        out_channels: channels of each level, 256.
        reductions: of each level, the added ones included.
    """

    def __init__(self, body: Body, extra_blocks: ExtraFPNBlock, added: int) -> None:
        super().__init__()
        self.body = body
        self.out_channels = 256
        self.fpn = FeaturePyramidNetwork(list(body.channels), self.out_channels, extra_blocks)
        self.reductions = [*body.reductions, *(body.reductions[-1] * 2**step for step in range(1, added + 1))]
        self.levels = [str(index) for index in range(len(body.channels))]
        self._added = ["pool"] if added == 1 else ["p6", "p7"]

    def feature_layers(self) -> FeatureLayers:
        body = self.body.feature_layers().below("body")
        levels = [Layer("", key=key) for key in (*self.levels, *self._added)]
        count = len(body.stages)
        names = {count + index: f"pyramid{index + 1}" for index in range(len(levels))}
        return FeatureLayers([*body.stages, *levels], names=names, forms=body.forms, pooled=f"stage{count}")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn(dict(zip(self.levels, self.body(channels_last(x)), strict=True)))


def two_stage_backbone(
    backbone: str | nn.Module, weights: Any, progress: bool, trainable_layers: int | None, **kwargs: Any
) -> ClassifierWithFPN:
    """The maps of 1/4 to 1/32, and every second pixel of the last one."""
    body = _body(backbone, weights, progress, trainable_layers, (4, 8, 16, 32), kwargs)
    return ClassifierWithFPN(body, LastLevelMaxPool(), 1)


def one_stage_backbone(
    backbone: str | nn.Module, weights: Any, progress: bool, trainable_layers: int | None, **kwargs: Any
) -> ClassifierWithFPN:
    """The maps of 1/8 to 1/32, and two levels that convolutions make of the last one."""
    body = _body(backbone, weights, progress, trainable_layers, (8, 16, 32), kwargs)
    return ClassifierWithFPN(body, LastLevelP6P7(256, 256), 2)


def _body(
    backbone: str | nn.Module,
    weights: Any,
    progress: bool,
    trainable_layers: int | None,
    reductions: tuple[int, ...],
    kwargs: dict[str, Any],
) -> Body:
    body = body_of(backbone, weights, progress, reductions, **kwargs)
    model = body.features.model
    stages = [part for part in parts_of(model) if part not in (NECK, HEAD)]
    is_trained = weights is not None or not isinstance(backbone, str)
    count = validate_trainable_layers(is_trained, trainable_layers, len(stages), min(3, len(stages)))
    if is_trained:  # a detector's batches are too small to estimate statistics
        freeze_batch_norm(body)
    if count < len(stages):
        freeze(model, until=stages[len(stages) - count - 1])
    return body


def freeze_batch_norm(module: nn.Module) -> None:
    """Puts :class:`~zoo_detection.ops.FrozenBatchNorm2d` of the same statistics in the place of batch norms."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d and child.running_mean is not None:
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            freeze_batch_norm(child)


def anchors_of(
    backbone: ClassifierWithFPN, scale: int, octaves: int = 1, ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
) -> AnchorGenerator:
    """Anchors for each level of a pyramid.

    Args:
        backbone: has the levels.
        scale: size of an anchor, in locations of its level.
        octaves: sizes between that of a level and that of the next.
        ratios: aspect ratios.
    """
    factors = [scale * 2 ** (step / octaves) for step in range(octaves)]
    sizes = tuple(tuple(int(reduction * factor) for factor in factors) for reduction in backbone.reductions)
    return AnchorGenerator(sizes, (ratios,) * len(sizes))


def for_channels(
    in_channels: int | None, backbone_arguments: Mapping[str, Any] | None, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the backbone's builder, and of the detector, for images of as many channels."""
    of_backbone = dict(backbone_arguments or {})
    if in_channels is None:
        return of_backbone, kwargs
    statistics = {
        "image_mean": per_channel(IMAGE_MEAN, check_channels(in_channels)),
        "image_std": per_channel(IMAGE_STD, in_channels),
    }
    given = {name: value for name, value in kwargs.items() if value is not None or name not in statistics}
    return of_backbone | {"in_channels": in_channels}, statistics | given


def image_sizes_of(backbone: ClassifierWithFPN, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The detector's arguments, with the size that images are resized to if the classifier takes one alone."""
    size = backbone.body.input_size
    if size is None:
        return kwargs
    return {"fixed_size": (size[1], size[0]), "size_divisible": 1} | kwargs
