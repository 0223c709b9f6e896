"""Classifiers as backbones of detectors: their feature maps, most with a feature pyramid, and which of them train."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import zoo_classification
from zoo_classification.mobilenetv3 import MobileNetV3
from zoo_classification.resnet import ResNet, resnet50
from zoo_core.features import IntermediateLayerGetter
from zoo_core.features.declared import FeatureLayers, Layer, layers_of
from zoo_core.inputs import explanation, is_of_single_values
from zoo_core.memory_format import channels_last
from zoo_core.registry import get_model_builder, takes_old_calls
from zoo_core.weights import WeightsEnum
from zoo_detection.ops import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    FrozenBatchNorm2d,
    LastLevelMaxPool,
    LastLevelP6P7,
)

__all__ = ["BackboneWithFPN", "mobilenet_backbone", "resnet_fpn_backbone"]

NormLayer = Callable[..., nn.Module]

# The names of the levels that extra blocks add to a pyramid.
_ADDED: dict[Any, tuple[str, ...]] = {LastLevelMaxPool: ("pool",), LastLevelP6P7: ("p6", "p7")}


@dataclass(frozen=True)
class BackboneSpec:
    """What a detector's builder says about its backbone."""

    weights: Any
    """The checkpoint to load into it, or ``None``."""
    progress: bool
    """Show a progress bar for a download."""
    is_trained: bool
    """Its parameters are trained ones: from this checkpoint, or from that of the whole detector."""
    trainable_layers: int
    """How many of its stages train, the last ones first."""
    in_channels: int | None = None
    """How many channels the images have; ``None`` for three."""

    @property
    def norm_layer(self) -> NormLayer:
        """Its normalisation: frozen if it is trained, as a detector's batches are too small to estimate statistics."""
        return FrozenBatchNorm2d if self.is_trained else nn.BatchNorm2d


class BackboneWithFPN(nn.Module):
    """A feature pyramid on the feature maps of a model.

    From `Feature Pyramid Networks for Object Detection <https://arxiv.org/abs/1612.03144>`__.

    Args:
        backbone: a model whose children run one after the other.
        return_layers: child of the backbone -> name of the feature map it gives, finest first.
        in_channels_list: channels of these feature maps.
        out_channels: channels of each level of the pyramid.
        extra_blocks: adds coarser levels; :class:`~zoo_detection.ops.LastLevelMaxPool` by default.
        norm_layer: builds the normalisation after each convolution of the pyramid; ``None`` for none.

    Shape:
        Tensor[N, 3, H, W] -> dict of Tensor[N, out_channels, H_i, W_i] by name.
    """

    def __init__(
        self,
        backbone: nn.Module,
        return_layers: dict[str, str],
        in_channels_list: list[int],
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None,
        norm_layer: NormLayer | None = None,
    ) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(backbone, return_layers)
        self.fpn = FeaturePyramidNetwork(
            in_channels_list, out_channels, extra_blocks or LastLevelMaxPool(), norm_layer=norm_layer
        )
        self.out_channels = out_channels

    def feature_layers(self) -> FeatureLayers:
        # The stages of the body, then the levels of the pyramid.
        body = self.body.feature_layers().below("body")
        extra = _ADDED.get(type(self.fpn.extra_blocks), ())
        levels = [Layer("", key=key) for key in (*self.body.return_layers.values(), *extra)]
        count = len(body.stages)
        names = {count + index: f"pyramid{index + 1}" for index in range(len(levels))}
        return FeatureLayers([*body.stages, *levels], names=names, forms=body.forms, pooled=f"stage{count}")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn(self.body(channels_last(x)))


@takes_old_calls
def resnet_fpn_backbone(
    *,
    backbone_name: str,
    weights: WeightsEnum | None,
    norm_layer: NormLayer = FrozenBatchNorm2d,
    trainable_layers: int = 3,
    returned_layers: list[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    **kwargs: Any,
) -> BackboneWithFPN:
    """A ResNet with a feature pyramid of 256 channels.

    Args:
        backbone_name: name of the builder, ``"resnet50"`` for instance.
        weights: weights of the ResNet; ``None`` for random ones.
        norm_layer: builds its normalisation.
        trainable_layers: how many of its five stages train, the last ones first: 0 to 5.
        returned_layers: the stages, of 1 to 4, that the pyramid stands on; all by default.
        extra_blocks: adds coarser levels; :class:`~zoo_detection.ops.LastLevelMaxPool` by default.
        **kwargs: further arguments of the builder.

    Raises:
        ValueError: the number of stages or a stage is none of those, or there is no ResNet of that name.
    """
    backbone = _backbone(backbone_name, ResNet, weights=weights, norm_layer=norm_layer, **kwargs)
    return resnet_fpn(backbone, trainable_layers, returned_layers, extra_blocks)


def resnet_fpn(
    backbone: ResNet,
    trainable_layers: int,
    returned_layers: list[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    norm_layer: NormLayer | None = None,
) -> BackboneWithFPN:
    """The pyramid of :func:`resnet_fpn_backbone` on a ResNet that there is.

    Args:
        norm_layer: builds the normalisation in the pyramid; ``None`` for none.
    """
    _check_trainable(trainable_layers, 5)
    trainable = ["layer4", "layer3", "layer2", "layer1", "conv1", "bn1"]
    trainable = trainable[: trainable_layers if trainable_layers < 5 else None]
    for name, parameter in backbone.named_parameters():
        if not name.startswith(tuple(trainable)):
            parameter.requires_grad_(False)
    returned = [1, 2, 3, 4] if returned_layers is None else returned_layers
    if not returned or min(returned) < 1 or max(returned) > 4:
        raise ValueError(f"returned_layers must be stages from 1 to 4, not {returned_layers}")
    first_channels = backbone.inplanes // 8
    return BackboneWithFPN(
        backbone,
        {f"layer{stage}": str(index) for index, stage in enumerate(returned)},
        [first_channels * 2 ** (stage - 1) for stage in returned],
        256,
        extra_blocks,
        norm_layer,
    )


@takes_old_calls
def mobilenet_backbone(
    *,
    backbone_name: str,
    weights: WeightsEnum | None,
    fpn: bool,
    norm_layer: NormLayer = FrozenBatchNorm2d,
    trainable_layers: int = 2,
    returned_layers: list[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    **kwargs: Any,
) -> nn.Module:
    """A MobileNetV2 or V3, with a feature pyramid of 256 channels or with its last feature map alone.

    Args:
        backbone_name: name of the builder, ``"mobilenet_v3_large"`` for instance.
        weights: weights of the MobileNet; ``None`` for random ones.
        fpn: give the pyramid, not only the last feature map with 256 channels.
        norm_layer: builds its normalisation.
        trainable_layers: how many of its stages train, the last ones first.
        returned_layers: the stages, from 0, that the pyramid stands on; the last two by default.
        extra_blocks: adds coarser levels; :class:`~zoo_detection.ops.LastLevelMaxPool` by default.
        **kwargs: further arguments of the builder.

    Raises:
        ValueError: the number of stages or a stage is none of those, or there is no MobileNet of that name.
    """
    backbone = _backbone(backbone_name, MobileNetV3, weights=weights, norm_layer=norm_layer, **kwargs)
    features: nn.Sequential = backbone.features
    stages = mobilenet_stages(features)
    freeze_before_stage(features, stages, trainable_layers)
    if not fpn:
        result: Any = nn.Sequential(features, nn.Conv2d(_channels(features[stages[-1]]), 256, 1))
        result.out_channels = 256
        return result
    returned = [len(stages) - 2, len(stages) - 1] if returned_layers is None else returned_layers
    if not returned or min(returned) < 0 or max(returned) >= len(stages):
        raise ValueError(f"returned_layers must be stages from 0 to {len(stages) - 1}, not {returned_layers}")
    return BackboneWithFPN(
        features,
        {str(stages[stage]): str(index) for index, stage in enumerate(returned)},
        [_channels(features[stages[stage]]) for stage in returned],
        256,
        extra_blocks,
    )


def mobilenet_stages(features: nn.Sequential) -> list[int]:
    """Where the stages of a MobileNet begin: at the first layer, at each block that strides, and at the last layer."""
    strides = [index for index, block in enumerate(features) if getattr(block, "_is_cn", False)]
    return [0, *strides, len(features) - 1]


def freeze_before_stage(features: nn.Sequential, stages: Sequence[int], trainable_layers: int) -> None:
    """Lets only the last stages of a sequence of layers train.

    Args:
        features: the layers.
        stages: where each stage begins.
        trainable_layers: how many stages train.
    """
    _check_trainable(trainable_layers, len(stages))
    begin = stages[len(stages) - trainable_layers] if trainable_layers else len(features)
    for layer in list(features)[:begin]:
        layer.requires_grad_(False)


def _channels(layer: nn.Module) -> int:
    channels = getattr(layer, "out_channels", None)
    if not isinstance(channels, int):
        raise ValueError(f"a backbone's layer must have an attribute out_channels, but {type(layer).__name__} has none")
    return channels


def _backbone(name: str, family: type[nn.Module], **kwargs: Any) -> Any:
    builder = getattr(zoo_classification, name, None) or get_model_builder(name)
    model = builder(**kwargs)
    if not isinstance(model, family) and not hasattr(model, "features"):
        raise ValueError(f"a backbone must be a {family.__name__}, but {name} is a {type(model).__name__}")
    return model


def _check_trainable(layers: int, stages: int) -> None:
    if not 0 <= layers <= stages:
        raise ValueError(f"the number of trainable layers must be from 0 to {stages}, not {layers}")


def resnet50_fpn(
    spec: BackboneSpec,
    *,
    body_norm: NormLayer | None = None,
    pyramid_norm: NormLayer | None = None,
) -> BackboneWithFPN:
    """ResNet-50 with the pyramid of two-stage detectors: the levels P2 to P5, and every second pixel of P5.

    Args:
        spec: what the builder says about it.
        body_norm: builds the ResNet's normalisation; that of ``spec`` by default.
        pyramid_norm: builds the normalisation in the pyramid; ``None`` for none.
    """
    return resnet_fpn(_resnet50(spec, body_norm), spec.trainable_layers, norm_layer=pyramid_norm)


def resnet50_p3_to_p7(spec: BackboneSpec, p6_channels: int, *, body_norm: NormLayer | None = None) -> BackboneWithFPN:
    """ResNet-50 with the pyramid of single-stage detectors: the levels P3 to P7.

    Args:
        spec: what the builder says about it.
        p6_channels: 256 to make the level P6 from P5, or 2048 to make it from the ResNet's last stage.
        body_norm: builds the ResNet's normalisation; that of ``spec`` by default.
    """
    body = _resnet50(spec, body_norm)
    return resnet_fpn(body, spec.trainable_layers, [2, 3, 4], LastLevelP6P7(p6_channels, 256))


def _resnet50(spec: BackboneSpec, norm_layer: NormLayer | None) -> ResNet:
    norm_layer = norm_layer or spec.norm_layer
    return resnet50(weights=spec.weights, progress=spec.progress, norm_layer=norm_layer, in_channels=spec.in_channels)


def detector_layers(backbone: nn.Module, transform: Any) -> FeatureLayers:
    """Where the features of a detector are: those of its backbone.

    Args:
        backbone: of the detector.
        transform: makes the batches that the backbone takes.
    """
    width, height = transform.fixed_size or (transform.min_size[-1], transform.min_size[-1])
    declared = layers_of(backbone) or FeatureLayers([Layer("", form=_last_map)], pooled="stage1")
    return declared.below("backbone", pooled=declared.pooled, input_size=(height, width))


def _last_map(features: Any) -> Tensor:
    return features if isinstance(features, Tensor) else list(features.values())[-1]


def channels_of(backbone: nn.Module) -> int:
    """The channels of a backbone's feature maps.

    Raises:
        ValueError: it has no attribute ``out_channels``.
    """
    channels: Any = getattr(backbone, "out_channels", None)
    if channels is None:
        raise ValueError(
            "the backbone must have an attribute out_channels, the number of channels of each of its feature maps"
        )
    return channels


def feature_maps_of(backbone: nn.Module, batch: Tensor) -> Mapping[str, Tensor]:
    """Runs a backbone.

    Args:
        backbone: gives a feature map, or a dict of them, each Tensor[N, C_i, H_i, W_i].
        batch: Tensor[N, C, H, W].

    Returns:
        The feature maps by name; one alone is called ``"0"``.

    Raises:
        TypeError: the backbone gives something else.
        ValueError: in training, batch normalisation finds a single value of each channel.
    """
    try:
        features = backbone(batch)
    except (RuntimeError, ValueError) as error:
        if not is_of_single_values(error):
            explained = explanation(error, backbone, batch)
            if explained is None:
                raise
            raise explained from error
        count, _, height, width = batch.shape
        raise ValueError(
            f"{count} image{'s' * (count > 1)} of {height}x{width} pixels (after resizing) cannot be trained on: the "
            "backbone's coarsest feature map has a single value of each channel, which batch normalisation cannot "
            "normalise; give at least two images, or put the normalisation into eval mode"
        ) from error
    if isinstance(features, Tensor):
        return OrderedDict([("0", features)])
    if not isinstance(features, Mapping):
        raise TypeError(
            f"a backbone must give a feature map, Tensor[N, C, H, W], or a dict of them by name, not "
            f"{type(features).__name__}"
        )
    return features


def validate_trainable_layers(
    is_trained: bool, trainable_backbone_layers: int | None, max_value: int, default_value: int
) -> int:
    """How many stages of a backbone train: what the user asks for or the default, and all where nothing is trained yet.

    Raises:
        ValueError: the user asks for more than there are.
    """
    if not is_trained:
        if trainable_backbone_layers is not None:
            warnings.warn(
                f"trainable_backbone_layers={trainable_backbone_layers} has no effect without pretrained weights: all "
                f"{max_value} layers of the backbone train",
                UserWarning,
                stacklevel=5,
            )
        return max_value
    layers = default_value if trainable_backbone_layers is None else trainable_backbone_layers
    if not 0 <= layers <= max_value:
        raise ValueError(f"trainable_backbone_layers must be from 0 to {max_value}, not {layers}")
    return layers
