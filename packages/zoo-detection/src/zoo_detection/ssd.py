"""SSD: `Single Shot MultiBox Detector <https://arxiv.org/abs/1512.02325>`__.

:class:`~zoo_detection.dense.DenseDetector` has the steps that an image passes.

Shapes: ``N`` images, ``C_i`` channels, ``H_i`` and ``W_i`` height and width of the feature maps, ``a_i`` default boxes
around each location of them, ``A`` default boxes of an image (the sum of ``H_i * W_i * a_i``), ``K`` classes, the
background (0) included.
"""

import warnings
from collections import OrderedDict
from enum import auto
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.vgg import VGG16_Weights, vgg16
from zoo_core.features.declared import FeatureLayers
from zoo_core.memory_format import channels_last
from zoo_core.registry import register_model
from zoo_core.sizes import smaller
from zoo_core.weights import WeightsEnum
from zoo_detection.anchors import DefaultBoxGenerator, anchors_last
from zoo_detection.backbones import BackboneSpec, freeze_before_stage
from zoo_detection.box_coding import BoxCoder
from zoo_detection.building import build_detector
from zoo_detection.dense import DenseDetector, best_detections
from zoo_detection.matching import SSDMatcher
from zoo_detection.ops import box_iou, clip_boxes_to_image
from zoo_detection.precision import in_single_or_better
from zoo_detection.transform import normalized_transform

__all__ = [
    "SSD",
    "SSD300_VGG16_Weights",
    "SSDClassificationHead",
    "SSDFeatureExtractorVGG",
    "SSDHead",
    "SSDRegressionHead",
    "SSDScoringHead",
    "ssd300_vgg16",
]


class SSD(DenseDetector):
    """SSD on any backbone.

    In training mode it takes images and targets and gives the losses ``bbox_regression`` and ``classification``. In
    eval mode it gives for each image ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2``), ``scores`` (Tensor[N]) and
    ``labels`` (int64 Tensor[N]), best first.

    Args:
        backbone: gives a dict of feature maps. It may have an attribute ``out_channels``, a list with the channels of
            each; otherwise it is run once to find out.
        anchor_generator: makes the default boxes.
        size: width and height that images are resized to.
        num_classes: number of classes, the background included.
        image_mean, image_std: normalisation of the images; those of ImageNet by default.
        head: predicts logits and offsets; :class:`SSDHead` by default.
        score_thresh: a detection's probability is above it.
        nms_thresh: IoU above which the better detection suppresses another of its class.
        detections_per_img: how many detections to keep.
        iou_thresh: IoU with an object from which on a default box learns to be it.
        topk_candidates: detections to take of each class before non-maximum suppression.
        positive_fraction: share of objects among the default boxes that a training step looks at; the others are
            background, the boxes with the greatest losses. See :meth:`compute_loss`.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    Raises:
        ValueError: the backbone's feature maps are not as many as the default boxes are defined for.
    """

    def __init__(
        self,
        backbone: nn.Module,
        anchor_generator: nn.Module,
        size: tuple[int, int],
        num_classes: int,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        head: nn.Module | None = None,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.45,
        detections_per_img: int = 200,
        iou_thresh: float = 0.5,
        topk_candidates: int = 400,
        positive_fraction: float = 0.25,
        **kwargs: Any,
    ) -> None:
        transform = normalized_transform(
            min(size), max(size), image_mean, image_std, **({"size_divisible": 1, "fixed_size": size} | kwargs)
        )
        super().__init__(backbone, anchor_generator, transform, background=True)
        self.box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        if head is None:
            channels = getattr(backbone, "out_channels", None)
            if channels is None:
                channels = retrieve_out_channels(backbone, size)
            num_anchors = self.anchor_generator.num_anchors_per_location()
            if len(channels) != len(num_anchors):
                raise ValueError(
                    f"the backbone has {len(channels)} feature maps, but the default boxes are defined for "
                    f"{len(num_anchors)}; give aspect ratios for each map"
                )
            head = SSDHead(channels, num_anchors, num_classes)
        self.head = head
        self.proposal_matcher = SSDMatcher(iou_thresh)
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates
        self.neg_to_pos_ratio = (1.0 - positive_fraction) / positive_fraction

    def _matching(
        self, targets: list[dict[str, Tensor]], anchors: list[Tensor], anchors_per_level: list[int]
    ) -> tuple[list[Tensor]]:
        matches = [
            self.proposal_matcher(box_iou(target["boxes"], image_anchors))
            for target, image_anchors in zip(targets, anchors, strict=True)
        ]
        return (matches,)

    def _for_postprocessing(
        self, head_outputs: dict[str, Tensor], anchors: list[Tensor], anchors_per_level: list[int]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        return head_outputs, anchors

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Equation 1 of the paper, over all images, with hard negative mining in each (section 2.2).

        Of each image count the boxes that are matched to objects, and ``neg_to_pos_ratio`` (3) times as many background
        boxes, those of the greatest losses. The sums are divided by the number of matched boxes.

        By the paper an image without objects would count nothing and teach nothing. Here it counts as if one box were
        matched: its ``neg_to_pos_ratio`` background boxes of the greatest losses are summed, and it adds 1 to the
        number that the sums are divided by. Where all images have objects, the loss is the published one.

        Args:
            targets: the objects of each image.
            head_outputs: of the head.
            anchors: for each image Tensor[A, 4].
            matched_idxs: for each image the object of each box, negative for none; by default those that
                :class:`~zoo_detection.matching.SSDMatcher` finds.

        Returns:
            The losses ``bbox_regression`` and ``classification``.
        """
        if matched_idxs is None:
            (matched_idxs,) = self._matching(targets, anchors, [])
        logits = head_outputs["cls_logits"]
        truth = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        box_losses = []
        for image, (target, matches) in enumerate(zip(targets, matched_idxs, strict=True)):
            objects = torch.where(matches >= 0)[0]
            matched = matches[objects]
            truth[image, objects] = target["labels"][matched]
            offsets = head_outputs["bbox_regression"][image, objects]
            boxes = target["boxes"].to(anchors[image].dtype)[matched]
            goal = self.box_coder.encode_single(boxes, anchors[image][objects])
            box_losses.append(F.smooth_l1_loss(offsets, goal.to(offsets.dtype), reduction="sum"))
        class_losses = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").view(truth.shape)

        is_object = truth > 0
        matched_boxes = is_object.sum(1).clamp(min=1)
        background_losses = class_losses.detach().masked_fill(is_object, -torch.inf)
        rank = background_losses.argsort(1, descending=True).argsort(1)
        hard = rank < self.neg_to_pos_ratio * matched_boxes[:, None]
        count = int(matched_boxes.sum())
        return {
            "bbox_regression": torch.stack(box_losses).sum() / count,
            "classification": class_losses[is_object | (hard & ~is_object)].sum() / count,
        }

    def postprocess_detections(
        self,
        head_outputs: dict[str, Tensor],
        image_anchors: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Chooses detections.

        Args:
            head_outputs: of the head.
            image_anchors: for each image Tensor[A, 4].
            image_shapes: height and width of each image.

        Returns:
            For each image a dict of ``boxes``, ``scores`` and ``labels``, best first.
        """
        detections = []
        for image, size in enumerate(image_shapes):
            probabilities = in_single_or_better(head_outputs["cls_logits"][image]).softmax(-1)
            of_class = probabilities[:, 1:].t().contiguous()
            best, anchor = of_class.topk(smaller(of_class.shape[1], self.topk_candidates), dim=1)
            label, rank = torch.where(best > self.score_thresh)
            chosen = anchor[label, rank]
            offsets = head_outputs["bbox_regression"][image][chosen]
            boxes = clip_boxes_to_image(self.box_coder.decode_single(offsets, image_anchors[image][chosen]), size)
            detections.append(
                best_detections(boxes, best[label, rank], label + 1, self.nms_thresh, self.detections_per_img)
            )
        return detections


class SSDHead(nn.Module):
    """Classification and regression.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
        num_classes: number of classes, the background included.

    Shape:
        list of Tensor[N, C_i, H_i, W_i] -> dict of ``bbox_regression``, Tensor[N, A, 4], and ``cls_logits``,
        Tensor[N, A, K]
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int) -> None:
        super().__init__()
        self.classification_head = SSDClassificationHead(in_channels, num_anchors, num_classes)
        self.regression_head = SSDRegressionHead(in_channels, num_anchors)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        return {"bbox_regression": self.regression_head(x), "cls_logits": self.classification_head(x)}


class SSDScoringHead(nn.Module):
    """Predictions of one kind, by a module for each feature map.

    Args:
        module_list: the modules; each gives Tensor[N, a_i * num_columns, H_i, W_i].
        num_columns: values for each box.

    Shape:
        list of Tensor[N, C_i, H_i, W_i] -> Tensor[N, A, num_columns]
    """

    def __init__(self, module_list: nn.ModuleList, num_columns: int) -> None:
        super().__init__()
        self.module_list = module_list
        self.num_columns = num_columns

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(
            [anchors_last(module(map), self.num_columns) for module, map in zip(self.module_list, x, strict=True)],
            1,
        )


class SSDClassificationHead(SSDScoringHead):
    """Predicts a logit of each class for each default box.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
        num_classes: number of classes, the background included.
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int) -> None:
        super().__init__(_convolutions(in_channels, num_anchors, num_classes), num_classes)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_xavier(module)


class SSDRegressionHead(SSDScoringHead):
    """Predicts the offsets for each default box.

    Args:
        in_channels: channels of each feature map.
        num_anchors: boxes around each location of each feature map.
    """

    def __init__(self, in_channels: list[int], num_anchors: list[int]) -> None:
        super().__init__(_convolutions(in_channels, num_anchors, 4), 4)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_xavier(module)


def _convolutions(in_channels: list[int], num_anchors: list[int], values: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Conv2d(channels, anchors * values, kernel_size=3, padding=1)
        for channels, anchors in zip(in_channels, num_anchors, strict=True)
    )


class SSDFeatureExtractorVGG(nn.Module):
    """VGG-16 and further layers: figure 2 (top) of the paper.

    Args:
        backbone: the convolutional part of VGG-16.
        highres: have one more feature map, for images of 512x512 pixels.

    Shape:
        Tensor[N, 3, H, W] -> dict of six feature maps (seven if ``highres``), Tensor[N, C_i, H_i, W_i], by name,
        ``"0"`` being the finest
    """

    def __init__(self, backbone: nn.Sequential, highres: bool) -> None:
        super().__init__()
        pools = [index for index, layer in enumerate(backbone) if isinstance(layer, nn.MaxPool2d)]
        # 300 pixels halved three times leave a remainder that counts.
        cast(nn.MaxPool2d, backbone[pools[2]]).ceil_mode = True
        self.scale_weight = nn.Parameter(torch.full((512,), 20.0))
        self.features = nn.Sequential(*list(backbone)[: pools[3]])

        extra = [
            _extra_layers(1024, 256, 512, stride=2),
            _extra_layers(512, 128, 256, stride=2),
            _extra_layers(256, 128, 256, stride=1),
            _extra_layers(256, 128, 256, stride=1),
        ]
        if highres:
            extra = [*extra[:2], _extra_layers(256, 128, 256, stride=2), _extra_layers(256, 128, 256, stride=2)]
            extra.append(
                nn.Sequential(
                    nn.Conv2d(256, 128, kernel_size=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(128, 256, kernel_size=4, padding=1),
                    nn.ReLU(inplace=True),
                )
            )
        for layers in extra:
            layers.apply(initialize_xavier)
        fc = nn.Sequential(  # the fully connected layers 6 and 7, as convolutions
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, kernel_size=1),
            nn.ReLU(inplace=True),
        ).apply(initialize_xavier)
        self.extra = nn.ModuleList([nn.Sequential(*list(backbone)[pools[3] : -1], fc), *extra])
        self.out_channels = [512, 1024, 512, *[256] * (len(extra) - 1)]

    def feature_layers(self) -> FeatureLayers:
        return FeatureLayers(["features", *(f"extra.{index}" for index in range(len(self.extra)))], pooled="stage2")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.features(channels_last(x))
        # Its values are larger than the later maps': bring them to a learnt scale.
        maps = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(x)]
        for layers in self.extra:
            x = layers(x)
            maps.append(x)
        return OrderedDict((str(index), map) for index, map in enumerate(maps))


def _extra_layers(in_channels: int, hidden: int, out_channels: int, stride: int) -> nn.Sequential:
    """A map of about half the size: by a stride of 2 or, for the smallest, by leaving out the border."""
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, out_channels, kernel_size=3, stride=stride, padding=1 if stride == 2 else 0),
        nn.ReLU(inplace=True),
    )


def initialize_xavier(module: nn.Module) -> None:
    """Draws the parameters of a convolution as the paper does; leaves other modules alone."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def retrieve_out_channels(backbone: nn.Module, size: tuple[int, int]) -> list[int]:
    """The channels of a backbone's feature maps, found by running it.

    Args:
        backbone: gives a feature map or a dict of them for Tensor[N, C, H, W], with as many channels as its first
            convolution takes.
        size: width and height to run it at.
    """
    modes = {module: module.training for module in backbone.modules()}
    parameter = next(backbone.parameters(), None)
    convolution = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    channels = 3 if convolution is None else convolution.in_channels
    like = torch.empty(0) if parameter is None else parameter
    features = backbone.eval()(like.new_zeros(1, channels, size[1], size[0]))
    for module, training in modes.items():
        module.training = training
    maps = [features] if isinstance(features, Tensor) else features.values()
    return [map.shape[1] for map in maps]


class SSD300_VGG16_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _vgg16(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> SSD:
    vgg = vgg16(weights=backbone.weights, progress=backbone.progress, in_channels=backbone.in_channels)
    features = cast(nn.Sequential, vgg.features)
    pools = [index for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    freeze_before_stage(features, [0, *pools[:-1]], backbone.trainable_layers)
    boxes = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )
    defaults = {
        # Caffe's: BGR values in 0..255, less their mean.
        "image_mean": [0.48235, 0.45882, 0.40784],
        "image_std": [1.0 / 255.0] * 3,
    }
    return SSD(SSDFeatureExtractorVGG(features, highres=False), boxes, (300, 300), num_classes, **(defaults | kwargs))


def without_size(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a builder whose model has a fixed size."""
    if "size" in kwargs:
        warnings.warn("the size of this model is fixed; the argument size has no effect", UserWarning, stacklevel=4)
    return {name: value for name, value in kwargs.items() if name != "size"}


@register_model
def ssd300_vgg16(
    *,
    weights: SSD300_VGG16_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: VGG16_Weights | None = VGG16_Weights.IMAGENET1K_FEATURES,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> SSD:
    """SSD300 on VGG-16, from `SSD: Single Shot MultiBox Detector <https://arxiv.org/abs/1512.02325>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 5; 4 by default.
    """
    return build_detector(
        _vgg16,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (5, 4),
        num_classes=num_classes,
        **without_size(kwargs),
    )
