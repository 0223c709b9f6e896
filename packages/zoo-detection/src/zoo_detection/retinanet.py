"""RetinaNet.

- `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`__
- `Bridging the Gap Between Anchor-based and Anchor-free Detection <https://arxiv.org/abs/1912.02424>`__ (the improved
  form, v2)

:class:`~zoo_detection.dense.DenseDetector` has the steps that an image passes.

Shapes: ``N`` images, ``C`` channels, ``H_i`` and ``W_i`` height and width of the feature maps, ``a`` anchors around
each location, ``A`` anchors of an image (the sum of ``H_i * W_i * a``), ``K`` classes.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.resnet import ResNet50_Weights
from zoo_core.layers import Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.anchors import AnchorGenerator, anchors_last, anchors_per_location
from zoo_detection.backbones import BackboneSpec, channels_of, resnet50_p3_to_p7
from zoo_detection.box_coding import BoxCoder
from zoo_detection.building import build_detector, initialize_normal, set_frozen_eps
from zoo_detection.classifier_backbones import anchors_of, for_channels, image_sizes_of, one_stage_backbone
from zoo_detection.dense import DenseDetector, best_detections, candidates_of_level
from zoo_detection.matching import Matcher
from zoo_detection.ops import (
    box_iou,
    clip_boxes_to_image,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from zoo_detection.precision import in_single_or_better
from zoo_detection.transform import normalized_transform

__all__ = [
    "RetinaNet",
    "RetinaNetClassificationHead",
    "RetinaNetHead",
    "RetinaNetRegressionHead",
    "RetinaNet_ResNet50_FPN_V2_Weights",
    "RetinaNet_ResNet50_FPN_Weights",
    "retinanet_on",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
]


class RetinaNet(DenseDetector):
    """RetinaNet on any backbone.

    In training mode it takes images and targets and gives the losses ``classification`` and ``bbox_regression``. In
    eval mode it gives for each image ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2``), ``scores`` (Tensor[N]) and
    ``labels`` (int64 Tensor[N]), best first.

    Args:
        backbone: gives a feature map, or a dict of them, of ``backbone.out_channels`` channels each.
        num_classes: number of classes; labels go from 0 to ``num_classes - 1``.
        min_size, max_size: the image's sides after resizing; see
            :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.
        image_mean, image_std: normalisation of the images; those of ImageNet by default.
        anchor_generator: makes the anchors; by default for five feature maps, sizes from 32 to 813.
        head: predicts logits and offsets; :class:`RetinaNetHead` by default.
        proposal_matcher: assigns objects to anchors, in place of the two thresholds.
        score_thresh: a detection's score is above it.
        nms_thresh: IoU above which the better detection suppresses another of its class.
        detections_per_img: how many detections to keep.
        fg_iou_thresh, bg_iou_thresh: IoU from which on an anchor is an object, below which it is background.
        topk_candidates: detections to take of each feature map before non-maximum suppression.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    Raises:
        ValueError: the backbone does not say its ``out_channels``, or the anchor generator makes not one number of
            anchors for all feature maps and no ``head`` is given.
        TypeError: ``anchor_generator`` is none, and no ``head`` is given.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        min_size: int | Sequence[int] = 800,
        max_size: int = 1333,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        anchor_generator: nn.Module | None = None,
        head: nn.Module | None = None,
        proposal_matcher: Matcher | None = None,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 300,
        fg_iou_thresh: float = 0.5,
        bg_iou_thresh: float = 0.4,
        topk_candidates: int = 1000,
        **kwargs: Any,
    ) -> None:
        out_channels = channels_of(backbone)
        anchors: Any = default_anchors() if anchor_generator is None else anchor_generator
        if head is None:
            head = RetinaNetHead(out_channels, anchors_per_location(anchors), num_classes)
        transform = normalized_transform(min_size, max_size, image_mean, image_std, **kwargs)
        super().__init__(backbone, anchors, transform, background=False)
        self.head = head
        if proposal_matcher is None:
            proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True)
        self.proposal_matcher = proposal_matcher
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """Matches the anchors with the objects, and gives the losses of the head: see :class:`RetinaNetHead`."""
        matched_idxs = [
            self.proposal_matcher(box_iou(target["boxes"], image_anchors))
            for target, image_anchors in zip(targets, anchors, strict=True)
        ]
        return self.head.compute_loss(targets, head_outputs, anchors, matched_idxs)

    def postprocess_detections(
        self,
        head_outputs: dict[str, list[Tensor]],
        anchors: list[list[Tensor]],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Chooses detections.

        Args:
            head_outputs: of the head, by feature map: Tensor[N, A_i, K] of ``cls_logits``, and Tensor[N, A_i, 4] of
                ``bbox_regression``.
            anchors: for each image, by feature map, Tensor[A_i, 4].
            image_shapes: height and width of each image.

        Returns:
            For each image a dict of ``boxes``, ``scores`` and ``labels``, best first.
        """
        # Logits order as probabilities do; only the few that pass the threshold become probabilities.
        threshold = _logit(self.score_thresh)
        detections = []
        for image, size in enumerate(image_shapes):
            boxes, scores, labels = [], [], []
            levels = zip(head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors[image], strict=True)
            for logits, offsets, level_anchors in levels:
                best, anchor, label = candidates_of_level(logits[image], threshold, self.topk_candidates)
                decoded = self.box_coder.decode_single(offsets[image][anchor], level_anchors[anchor])
                boxes.append(clip_boxes_to_image(decoded, size))
                scores.append(in_single_or_better(best).sigmoid())
                labels.append(label)
            detections.append(
                best_detections(
                    torch.cat(boxes), torch.cat(scores), torch.cat(labels), self.nms_thresh, self.detections_per_img
                )
            )
        return detections


def _logit(probability: float) -> float:
    """The logit of a probability; infinite at 0 and 1 and beyond them."""
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def default_anchors() -> AnchorGenerator:
    """Section 4 of the paper: three sizes an octave, from 32 to 813, at three aspect ratios."""
    sizes = tuple((x, int(x * 2 ** (1.0 / 3)), int(x * 2 ** (2.0 / 3))) for x in (32, 64, 128, 256, 512))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


class RetinaNetHead(nn.Module):
    """Classification and regression.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location.
        num_classes: number of classes.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> dict of ``cls_logits``, Tensor[N, A, K], and ``bbox_regression``,
        Tensor[N, A, 4]
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.classification_head = RetinaNetClassificationHead(
            in_channels, num_anchors, num_classes, norm_layer=norm_layer
        )
        self.regression_head = RetinaNetRegressionHead(in_channels, num_anchors, norm_layer=norm_layer)

    def compute_loss(
        self,
        targets: Sequence[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """The losses ``classification`` and ``bbox_regression``."""
        return {
            "classification": self.classification_head.compute_loss(targets, head_outputs, matched_idxs),
            "bbox_regression": self.regression_head.compute_loss(targets, head_outputs, anchors, matched_idxs),
        }

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        return {"cls_logits": self.classification_head(x), "bbox_regression": self.regression_head(x)}


class _Subnet(nn.Module):
    """Four 3x3 convolutions, shared by all feature maps: figure 3 (c, d) of the paper."""

    def __init__(self, in_channels: int, norm_layer: Callable[..., nn.Module] | None) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(Conv2dNormActivation(in_channels, in_channels, norm_layer=norm_layer) for _ in range(4))
        )

    def _initialize(self, module: nn.Module) -> None:
        initialize_normal(module)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Old checkpoints count the activations between the convolutions: conv.2.weight is conv.1.0.weight.
        old = re.compile(re.escape(prefix) + r"conv\.(\d+)\.(weight|bias)")
        for key in list(state_dict):
            if match := old.fullmatch(key):
                state_dict[f"{prefix}conv.{int(match[1]) // 2}.0.{match[2]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


class RetinaNetClassificationHead(_Subnet):
    """Predicts a logit of each class for each anchor.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location.
        num_classes: number of classes.
        prior_probability: what every class starts with.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> Tensor[N, A, K]
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        prior_probability: float = 0.01,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(in_channels, norm_layer)
        self.num_classes = num_classes
        self.num_anchors = num_anchors
        self.prior_probability = prior_probability
        self.conv.apply(self._initialize)
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, kernel_size=3, padding=1)
        self._initialize(self.cls_logits)

    def _initialize(self, module: nn.Module) -> None:
        super()._initialize(module)
        if module is getattr(self, "cls_logits", None):
            prior = math.log(self.prior_probability / (1 - self.prior_probability))
            nn.init.constant_(cast(Tensor, self.cls_logits.bias), prior)

    def compute_loss(
        self, targets: Sequence[dict[str, Tensor]], head_outputs: dict[str, Tensor], matched_idxs: list[Tensor]
    ) -> Tensor:
        """Focal loss of an image over its number of anchors with an object; the mean of the images.

        Args:
            targets: the objects of each image.
            head_outputs: of the head.
            matched_idxs: for each image the object of each anchor, or what :class:`~zoo_detection.matching.Matcher`
                gives to those without.
        """
        losses = []
        for target, logits, matches in zip(targets, head_outputs["cls_logits"], matched_idxs, strict=True):
            objects = torch.where(matches >= 0)[0]
            truth = torch.zeros_like(logits)
            truth[objects, target["labels"][matches[objects]]] = 1.0
            valid = matches != Matcher.BETWEEN_THRESHOLDS
            loss = sigmoid_focal_loss(logits[valid], truth[valid], reduction="sum")
            losses.append(loss / max(1, objects.numel()))
        return torch.stack(losses).mean()

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat([anchors_last(self.cls_logits(self.conv(map)), self.num_classes) for map in x], 1)


class RetinaNetRegressionHead(_Subnet):
    """Predicts the offsets for each anchor.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> Tensor[N, A, 4]
    """

    def __init__(self, in_channels: int, num_anchors: int, norm_layer: Callable[..., nn.Module] | None = None) -> None:
        super().__init__(in_channels, norm_layer)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=3, padding=1)
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self._loss_type = "l1"
        self._initialize(self.bbox_reg)
        self.conv.apply(self._initialize)

    def compute_loss(
        self,
        targets: Sequence[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> Tensor:
        """Loss of the boxes of an image over its number of anchors with an object; the mean of the images.

        Args:
            targets: the objects of each image.
            head_outputs: of the head.
            anchors: for each image Tensor[A, 4].
            matched_idxs: for each image the object of each anchor, negative for none.
        """
        losses = []
        for target, offsets, image_anchors, matches in zip(
            targets, head_outputs["bbox_regression"], anchors, matched_idxs, strict=True
        ):
            objects = torch.where(matches >= 0)[0]
            boxes = target["boxes"].to(image_anchors.dtype)[matches[objects]]
            loss = box_loss(self._loss_type, self.box_coder, image_anchors[objects], boxes, offsets[objects])
            losses.append(loss / max(1, objects.numel()))
        return torch.stack(losses).mean()

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat([anchors_last(self.bbox_reg(self.conv(map)), 4) for map in x], 1)


def box_loss(kind: str, coder: BoxCoder, anchors: Tensor, boxes: Tensor, offsets: Tensor) -> Tensor:
    """The summed loss of predicted offsets.

    Args:
        kind: ``"l1"`` or ``"smooth_l1"`` compares the offsets; ``"giou"``, ``"diou"`` and ``"ciou"`` the boxes.
        coder: turns boxes into offsets and back.
        anchors, boxes: Tensor[N, 4], the anchors and the boxes they are to become.
        offsets: Tensor[N, 4].

    Raises:
        ValueError: there is no such kind.
    """
    overlap = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}
    if kind in overlap:
        return overlap[kind](coder.decode_single(offsets, anchors), boxes, reduction="sum", eps=1e-7)
    truth = coder.encode_single(boxes, anchors).to(offsets.dtype)
    if kind == "l1":
        return F.l1_loss(offsets, truth, reduction="sum")
    if kind == "smooth_l1":
        return F.smooth_l1_loss(offsets, truth, reduction="sum", beta=1.0)
    raise ValueError(f"unknown box loss {kind!r}; there are l1, smooth_l1, {', '.join(overlap)}")


class RetinaNet_ResNet50_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


class RetinaNet_ResNet50_FPN_V2_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _resnet50_fpn(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> RetinaNet:
    return RetinaNet(resnet50_p3_to_p7(backbone, 256), num_classes, **kwargs)


def _resnet50_fpn_v2(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> RetinaNet:
    body = resnet50_p3_to_p7(backbone, 2048, body_norm=nn.BatchNorm2d)
    kwargs = {"anchor_generator": default_anchors()} | kwargs
    if "head" not in kwargs:
        count = anchors_per_location(kwargs["anchor_generator"])
        kwargs["head"] = RetinaNetHead(body.out_channels, count, num_classes, norm_layer=partial(nn.GroupNorm, 32))
        kwargs["head"].regression_head._loss_type = "giou"
    return RetinaNet(body, num_classes, **kwargs)


def retinanet_on(
    backbone: str | nn.Module,
    *,
    num_classes: int = 91,
    weights_backbone: Any = "DEFAULT",
    progress: bool = True,
    trainable_backbone_layers: int | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
    **kwargs: Any,
) -> RetinaNet:
    """RetinaNet on any classifier with a feature pyramid: ``retinanet_on("convnext_tiny", num_classes=5)``.

    Args:
        backbone: name of a builder of :mod:`zoo_classification`, or such a model, whose head is dropped then.
        num_classes: number of classes.
        weights_backbone: what to load into a backbone that is named; ``None`` for random parameters.
        progress: show a progress bar for a download.
        trainable_backbone_layers: how many of the backbone's stages train, the last ones first; 3 by default, and all
            where it has random parameters. Of a trained one, batch norms keep their statistics.
        backbone_arguments: further arguments of the backbone's builder.
        in_channels: how many channels the images have; 3 by default. See :mod:`zoo_core.input_channels`.
        **kwargs: arguments of :class:`RetinaNet`. A backbone that takes images of one size alone, as Vision
            Transformers do, gets them resized to that.

    Raises:
        ValueError: the backbone is no classifier, takes images of other channels, or has no feature maps that a pyramid
            could stand on.
    """
    of_backbone, kwargs = for_channels(in_channels, backbone_arguments, kwargs)
    body = one_stage_backbone(backbone, weights_backbone, progress, trainable_backbone_layers, **of_backbone)
    kwargs = image_sizes_of(body, {"anchor_generator": anchors_of(body, 4, octaves=3)} | kwargs)
    return RetinaNet(body, num_classes, **kwargs)


@register_model
def retinanet_resnet50_fpn(
    *,
    weights: RetinaNet_ResNet50_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> RetinaNet:
    """RetinaNet on ResNet-50 with a feature pyramid.

    From `Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`__.

    Args:
        num_classes: number of classes; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 5; 3 by default.
    """
    model = build_detector(
        _resnet50_fpn,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (5, 3),
        num_classes=num_classes,
        **kwargs,
    )
    if weights is RetinaNet_ResNet50_FPN_Weights.COCO_V1:
        set_frozen_eps(model, 0.0)
    return model


@register_model
def retinanet_resnet50_fpn_v2(
    *,
    weights: RetinaNet_ResNet50_FPN_V2_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = None,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> RetinaNet:
    """RetinaNet on ResNet-50 with a feature pyramid, in the improved form of `Bridging the Gap Between Anchor-based and
    Anchor-free Detection <https://arxiv.org/abs/1912.02424>`__.

    Args:
        num_classes: number of classes; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 5; 3 by default.
    """
    return build_detector(
        _resnet50_fpn_v2,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (5, 3),
        num_classes=num_classes,
        **kwargs,
    )
