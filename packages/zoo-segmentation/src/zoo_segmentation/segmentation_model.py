"""What FCN and DeepLabV3 have in common: a backbone, a classifier of its cells, and the way up to the input's size."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.inputs import check_image
from zoo_classification.mobilenetv3 import MobileNetV3
from zoo_classification.resnet import ResNet
from zoo_core.builders import build
from zoo_core.features import IntermediateLayerGetter
from zoo_core.features.bodies import Body, body_of
from zoo_core.features.declared import FeatureLayers, Layer, layers_of
from zoo_core.input_channels import check_channels
from zoo_core.inputs import explains_failures, is_of_single_values
from zoo_core.memory_format import channels_last
from zoo_core.weights import WeightsEnum

# The classes of Pascal VOC and the background.
DEFAULT_CLASSES = 21


class SegmentationModel(nn.Module):
    """Classifies each pixel by the features of a backbone, and in training also by features from halfway.

    Args:
        backbone: gives a mapping with the features ``"out"``, and ``"aux"`` if there is an ``aux_classifier``, each
            Tensor[N, C, h, w] of a size of its own.
        classifier: turns the features ``"out"`` into scores, Tensor[N, num_classes, h, w].
        aux_classifier: the same for the features ``"aux"``.

    Shape:
        Tensor[N, 3, H, W] -> ``{"out": Tensor[N, num_classes, H, W]}``, and ``"aux"`` likewise if there is an
        ``aux_classifier``; any H and W. The values are scores (logits) of the input's dtype.
    """

    aux_classifier: nn.Module | None

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def feature_layers(self) -> FeatureLayers:
        return backbone_layers(self.backbone)

    @explains_failures
    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        check_image(x, model=type(self).__name__, min_size=(1, 1))
        features = extract_features(self.backbone, x)
        scores = OrderedDict(out=upsample_to(x, self.classifier(features["out"])))
        if self.aux_classifier is not None:
            scores["aux"] = upsample_to(x, self.aux_classifier(features["aux"]))
        return scores


def backbone_layers(backbone: nn.Module) -> FeatureLayers:
    """Where the features of a segmentation model are: those of its backbone."""
    declared = layers_of(backbone) or FeatureLayers([Layer("", key="out")])
    return declared.below("backbone", pooled=list(declared.layers)[-1])


def extract_features(backbone: nn.Module, x: Tensor) -> Mapping[str, Tensor]:
    """Runs a backbone on Tensor[N, 3, H, W], on the CPU with channels last in memory.

    Raises:
        ValueError: in training, the images are so small that batch normalisation finds one value a channel.
    """
    try:
        return backbone(channels_last(x))
    except ValueError as error:
        if not is_of_single_values(error):
            raise
        raise ValueError(
            f"a batch of {x.shape[0]} of {x.shape[2]}x{x.shape[3]} pixels is too small to train on: the backbone makes "
            "a single value a channel of it, which batch normalisation cannot normalise; give larger or more images, "
            "or put the normalisation into eval mode"
        ) from error


def upsample_to(x: Tensor, scores: Tensor) -> Tensor:
    """Scores of coarse cells, Tensor[N, num_classes, h, w], for each pixel of ``x``, Tensor[N, 3, H, W].

    They are contiguous, whatever the features' order in memory: callers may ``view`` them.
    """
    return F.interpolate(scores.contiguous(), size=x.shape[-2:], mode="bilinear", align_corners=False)


def resnet_backbone(
    builder: Callable[..., ResNet],
    weights: WeightsEnum | None,
    progress: bool,
    aux: bool,
    in_channels: int | None = None,
) -> IntermediateLayerGetter:
    """A ResNet whose last two stages dilate, so that the features have 1/8 of the input's height and width.

    Args:
        builder: builds the ResNet.
        weights: its checkpoint.
        progress: show a progress bar for a download.
        aux: also give the features of the last stage but one, as ``"aux"``.
        in_channels: how many channels the images have; 3 by default.
    """
    resnet = builder(
        weights=weights,
        progress=progress,
        replace_stride_with_dilation=(False, True, True),
        in_channels=in_channels,
    )
    return IntermediateLayerGetter(resnet, {"layer3": "aux", "layer4": "out"} if aux else {"layer4": "out"})


def mobilenet_backbone(
    builder: Callable[..., MobileNetV3],
    weights: WeightsEnum | None,
    progress: bool,
    layers: Mapping[str, str],
    in_channels: int | None = None,
) -> IntermediateLayerGetter:
    """A MobileNetV3-Large whose last stage dilates, so that its features have 1/16 of the input's height and width.

    Args:
        builder: builds the MobileNetV3.
        weights: its checkpoint.
        progress: show a progress bar for a download.
        layers: index of a block -> name of its features. Block 4 is the first of those with 1/8 of the input's height
            and width, and has 40 channels; 16 is the last one, and has 960.
        in_channels: how many channels the images have; 3 by default.
    """
    mobilenet = builder(weights=weights, progress=progress, dilated=True, in_channels=in_channels)
    return IntermediateLayerGetter(mobilenet.features, layers)


class ClassifierStages(nn.Module):
    """The last feature maps of any classifier, as the backbone of a segmentation model.

    Args:
        body: gives two maps, or one that serves for both.

    Shape:
        Tensor[N, 3, H, W] -> ``{"aux": Tensor[N, C_1, h_1, w_1], "out": Tensor[N, C_2, h_2, w_2]}``
    """

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def feature_layers(self) -> FeatureLayers:
        return self.body.feature_layers().below("body")

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.body(x)
        return OrderedDict(aux=maps[0], out=maps[-1])


def classifier_stages(
    backbone: str | nn.Module,
    weights: Any,
    progress: bool,
    arguments: Mapping[str, Any] | None,
    in_channels: int | None = None,
) -> ClassifierStages:
    """The backbone that the functions for any classifier make.

    ResNets of bottlenecks, and MobileNetV3, dilate where they are named, as those of the published models do. Of others
    the maps of 1/16 and 1/32 of the size are taken, as a rule.

    Args:
        backbone: name of a builder, or a classifier.
        weights: what to load into one that is named.
        progress: show a progress bar for a download.
        arguments: of its builder.
        in_channels: how many channels the images have.
    """
    given = dict(arguments or {})
    if isinstance(backbone, str) and not given:
        if backbone.lower().startswith("mobilenet_v3"):
            given = {"dilated": True}
        elif backbone.lower().startswith(("resnet50", "resnet101", "resnet152", "resnext", "wide_resnet")):
            given = {"replace_stride_with_dilation": (False, True, True)}
    if in_channels is not None:
        given["in_channels"] = check_channels(in_channels)
    return ClassifierStages(body_of(backbone, weights, progress, 2, **given))


Model = TypeVar("Model", bound=nn.Module)


def build_segmentation(
    construct: Callable[..., Model],
    weights: WeightsEnum | None,
    progress: bool,
    weights_backbone: WeightsEnum | None,
    *,
    num_classes: int | None,
    aux_loss: bool | None = None,
    **kwargs: Any,
) -> Model:
    """Makes a segmentation model: see the builders.

    Args:
        construct: builds the model from ``num_classes``, ``weights_backbone``, ``progress`` and, if it can have one
            with an auxiliary classifier, ``aux_loss``.
        weights, progress, weights_backbone, num_classes, aux_loss: as for the builders.
        **kwargs: arguments of :func:`zoo_core.builders.build`.
    """
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    if "aux_loss" in inspect.signature(construct).parameters:
        # Published checkpoints hold the auxiliary classifier.
        kwargs["aux_loss"] = bool(aux_loss) if weights is None else True
    model = build(
        construct,
        weights,
        progress,
        weights_backbone=weights_backbone if weights is None else None,
        progress=progress,
        **kwargs,
    )
    if aux_loss is False and isinstance(model, SegmentationModel):
        model.aux_classifier = None
    return model
