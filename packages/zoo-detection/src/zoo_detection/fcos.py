"""FCOS: `Fully Convolutional One-Stage Object Detection <https://arxiv.org/abs/1904.01355>`__, with the improvements of
`its journal form <https://arxiv.org/abs/2006.09214>`__.

:class:`~zoo_detection.dense.DenseDetector` has the steps that an image passes. FCOS predicts for
locations: of the one anchor around each, it uses the centre, and the side as the extent of a location on that level.

Shapes: ``N`` images, ``C`` channels, ``H_i`` and ``W_i`` height and width of the feature maps, ``A`` locations of an
image (the sum of ``H_i * W_i``), ``K`` classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import auto
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.resnet import ResNet50_Weights
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.anchors import AnchorGenerator, anchors_last, anchors_per_location
from zoo_detection.backbones import BackboneSpec, channels_of, resnet50_p3_to_p7
from zoo_detection.box_coding import BoxLinearCoder
from zoo_detection.building import build_detector, initialize_normal
from zoo_detection.classifier_backbones import anchors_of, for_channels, image_sizes_of, one_stage_backbone
from zoo_detection.dense import DenseDetector, best_detections, candidates_of_level
from zoo_detection.ops import clip_boxes_to_image, generalized_box_iou_loss, sigmoid_focal_loss
from zoo_detection.precision import in_single_or_better
from zoo_detection.transform import normalized_transform

__all__ = [
    "FCOS",
    "FCOSClassificationHead",
    "FCOSHead",
    "FCOSRegressionHead",
    "FCOS_ResNet50_FPN_Weights",
    "fcos_on",
    "fcos_resnet50_fpn",
]


class FCOS(DenseDetector):
    """FCOS on any backbone.

    In training mode it takes images and targets and gives the losses ``classification``, ``bbox_regression`` and
    ``bbox_ctrness``. In eval mode it gives for each image ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2``), ``scores``
    (Tensor[N]) and ``labels`` (int64 Tensor[N]), best first.

    Args:
        backbone: gives a feature map, or a dict of them, of ``backbone.out_channels`` channels each.
        num_classes: number of classes; labels go from 0 to ``num_classes - 1``.
        min_size, max_size: the image's sides after resizing; see
            :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.
        image_mean, image_std: normalisation of the images; those of ImageNet by default.
        anchor_generator: one anchor for each location; its size is the location's extent in the image.
        head: predicts logits, distances and centreness; :class:`FCOSHead` by default.
        center_sampling_radius: how far from an object's centre a location may learn to be it, in sizes of its anchor.
        score_thresh: a detection's score is above it.
        nms_thresh: IoU above which the better detection suppresses another of its class.
        detections_per_img: how many detections to keep.
        topk_candidates: detections to take of each feature map before non-maximum suppression.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    Raises:
        ValueError: the backbone does not say its ``out_channels``, or there is not one anchor for each location.
        TypeError: ``anchor_generator`` is none.
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
        center_sampling_radius: float = 1.5,
        score_thresh: float = 0.2,
        nms_thresh: float = 0.6,
        detections_per_img: int = 100,
        topk_candidates: int = 1000,
        **kwargs: Any,
    ) -> None:
        out_channels = channels_of(backbone)
        anchors: Any = (
            AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5)
            if anchor_generator is None
            else anchor_generator
        )
        if (count := anchors_per_location(anchors)) != 1:
            raise ValueError(
                f"FCOS takes one anchor for each location, not {count}; give one size and one aspect ratio for each "
                "feature map"
            )
        transform = normalized_transform(min_size, max_size, image_mean, image_std, **kwargs)
        super().__init__(backbone, anchors, transform, background=False)
        self.head = FCOSHead(out_channels, 1, num_classes) if head is None else head
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        self.center_sampling_radius = center_sampling_radius
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates

    def _matching(
        self, targets: list[dict[str, Tensor]], anchors: list[Tensor], anchors_per_level: list[int]
    ) -> tuple[list[int]]:
        return (anchors_per_level,)

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        """Matches the locations with the objects, and gives the losses of the head: see :class:`FCOSHead`."""
        matched_idxs = [
            self.match_anchors(image_anchors, target["boxes"], num_anchors_per_level)
            for target, image_anchors in zip(targets, anchors, strict=True)
        ]
        return self.head.compute_loss(targets, head_outputs, anchors, matched_idxs)

    @torch.no_grad()
    def match_anchors(self, anchors: Tensor, boxes: Tensor, anchors_per_level: list[int]) -> Tensor:
        """The object of each location: the smallest that it lies in, near the centre, and that suits its level.

        Sections 3.1 and 3.2 of the paper, with centre sampling. A level takes objects whose farthest side is four to
        eight anchor sizes away; the finest level takes all smaller ones, the coarsest all larger ones. With the sizes
        8, 16, 32, 64 and 128 these are distances of up to 64 pixels, 64 to 128, ..., 256 to 512, and above 512.

        Args:
            anchors: Tensor[A, 4].
            boxes: of the objects, Tensor[N, 4].
            anchors_per_level: how many of the anchors belong to each level.

        Returns:
            int64 Tensor[A], -1 for no object.
        """
        if len(boxes) == 0:
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        boxes = boxes.to(anchors.dtype)
        locations = 0.5 * (anchors[:, :2] + anchors[:, 2:])
        sizes = anchors[:, 2] - anchors[:, 0]
        centres = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        central = (locations[:, None] - centres).abs().amax(2) < self.center_sampling_radius * sizes[:, None]
        distances = torch.cat((locations[:, None] - boxes[:, :2], boxes[:, 2:] - locations[:, None]), 2)
        least, greatest = sizes * 4, sizes * 8
        least[: anchors_per_level[0]] = 0
        greatest[-anchors_per_level[-1] :] = math.inf
        farthest = distances.amax(2)
        fits = central & (distances.amin(2) > 0) & (farthest > least[:, None]) & (farthest < greatest[:, None])
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        smallest, index = torch.where(fits, areas, math.inf).min(1)
        return torch.where(smallest.isfinite(), index, -1)

    def postprocess_detections(
        self,
        head_outputs: dict[str, list[Tensor]],
        anchors: list[list[Tensor]],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Chooses detections.

        Args:
            head_outputs: of the head, by feature map: Tensor[N, A_i, K] of ``cls_logits``, Tensor[N, A_i, 4] of
                ``bbox_regression``, and Tensor[N, A_i, 1] of ``bbox_ctrness``.
            anchors: for each image, by feature map, Tensor[A_i, 4].
            image_shapes: height and width of each image.

        Returns:
            For each image a dict of ``boxes``, ``scores`` and ``labels``, best first.
        """
        detections = []
        for image, size in enumerate(image_shapes):
            boxes, scores, labels = [], [], []
            for level, level_anchors in enumerate(anchors[image]):
                probabilities, centreness = (
                    in_single_or_better(head_outputs[key][level][image]).sigmoid()
                    for key in ("cls_logits", "bbox_ctrness")
                )
                best, anchor, label = candidates_of_level(
                    (probabilities * centreness).sqrt(), self.score_thresh, self.topk_candidates
                )
                distances = head_outputs["bbox_regression"][level][image][anchor]
                boxes.append(clip_boxes_to_image(self.box_coder.decode(distances, level_anchors[anchor]), size))
                scores.append(best)
                labels.append(label)
            detections.append(
                best_detections(
                    torch.cat(boxes), torch.cat(scores), torch.cat(labels), self.nms_thresh, self.detections_per_img
                )
            )
        return detections


class FCOSHead(nn.Module):
    """Classification and regression.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location: 1.
        num_classes: number of classes.
        num_convs: convolutions before the predictions.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> dict of ``cls_logits``, Tensor[N, A, K], ``bbox_regression``, Tensor[N, A, 4],
        and ``bbox_ctrness``, Tensor[N, A, 1]
    """

    def __init__(self, in_channels: int, num_anchors: int, num_classes: int, num_convs: int | None = 4) -> None:
        super().__init__()
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        convs = 4 if num_convs is None else num_convs
        self.classification_head = FCOSClassificationHead(in_channels, num_anchors, num_classes, convs)
        self.regression_head = FCOSRegressionHead(in_channels, num_anchors, convs)

    def compute_loss(
        self,
        targets: Sequence[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Equation 2 of the paper, with the generalised IoU: ``classification``, ``bbox_regression``, ``bbox_ctrness``.

        Each is summed over all images and divided by the number of locations with an object.

        Args:
            targets: the objects of each image.
            head_outputs: of the head.
            anchors: for each image Tensor[A, 4].
            matched_idxs: for each image the object of each location, negative for none.
        """
        matches = torch.stack(matched_idxs)
        objects = matches >= 0
        labels, boxes = [], []
        for target, image, is_object in zip(targets, matches, objects, strict=True):
            labels.append(target["labels"][image[is_object]])
            boxes.append(target["boxes"][image[is_object]])
        label, box = torch.cat(labels), torch.cat(boxes)
        count = max(1, len(label))

        logits = head_outputs["cls_logits"]
        image, location = torch.where(objects)
        truth = torch.zeros_like(logits)
        truth[image, location, label] = 1.0
        classification = sigmoid_focal_loss(logits, truth, reduction="sum")

        anchor = torch.stack(anchors)[objects]
        predicted = self.box_coder.decode(head_outputs["bbox_regression"][objects], anchor)
        regression = generalized_box_iou_loss(predicted, box.to(predicted.dtype), reduction="sum")

        distances = self.box_coder.encode(box.to(anchor.dtype), anchor)
        centreness = _centreness(distances).to(logits.dtype)
        centre_loss = F.binary_cross_entropy_with_logits(
            head_outputs["bbox_ctrness"][objects][:, 0], centreness, reduction="sum"
        )
        return {
            "classification": classification / count,
            "bbox_regression": regression / count,
            "bbox_ctrness": centre_loss / count,
        }

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        logits = self.classification_head(x)
        distances, centreness = self.regression_head(x)
        return {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centreness}


def _centreness(distances: Tensor) -> Tensor:
    """Equation 3 of the paper: Tensor[N, 4] (left, top, right, bottom) -> Tensor[N]."""
    horizontal, vertical = distances[:, 0::2], distances[:, 1::2]
    return torch.sqrt(horizontal.amin(1) / horizontal.amax(1) * (vertical.amin(1) / vertical.amax(1)))


class _Tower(nn.Module):
    """3x3 convolutions with normalisation, shared by all feature maps: figure 2 of the paper."""

    def __init__(self, in_channels: int, num_convs: int, norm_layer: Callable[..., nn.Module] | None) -> None:
        super().__init__()
        norm_layer = norm_layer or partial(nn.GroupNorm, 32)
        layers: list[nn.Module] = []
        for _ in range(num_convs):
            layers += [
                nn.Conv2d(in_channels, in_channels, 3, padding=1),
                norm_layer(in_channels),
                nn.ReLU(),
            ]
        self.conv = nn.Sequential(*layers)

    def _initialize(self, module: nn.Module) -> None:
        initialize_normal(module)


class FCOSClassificationHead(_Tower):
    """Predicts a logit of each class for each location.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location: 1.
        num_classes: number of classes.
        num_convs: convolutions before the prediction.
        prior_probability: what every class starts with.
        norm_layer: builds the normalisation after each of them; group normalisation in 32 groups by default.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> Tensor[N, A, K]
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_convs: int = 4,
        prior_probability: float = 0.01,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(in_channels, num_convs, norm_layer)
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

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat([anchors_last(self.cls_logits(self.conv(map)), self.num_classes) for map in x], 1)


class FCOSRegressionHead(_Tower):
    """Predicts for each location the distances of the box's sides, and how central the location is in it.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location: 1.
        num_convs: convolutions before the predictions.
        norm_layer: builds the normalisation after each of them; group normalisation in 32 groups by default.

    Shape:
        list of Tensor[N, C, H_i, W_i] -> Tensor[N, A, 4], not negative, and Tensor[N, A, 1]
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_convs: int = 4,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(in_channels, num_convs, norm_layer)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=3, padding=1)
        self.bbox_ctrness = nn.Conv2d(in_channels, num_anchors, kernel_size=3, padding=1)
        for module in (self.bbox_reg, self.bbox_ctrness, *self.conv):
            self._initialize(module)

    def forward(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        distances, centreness = [], []
        for map in x:
            hidden = self.conv(map)
            distances.append(anchors_last(F.relu(self.bbox_reg(hidden)), 4))
            centreness.append(anchors_last(self.bbox_ctrness(hidden), 1))
        return torch.cat(distances, 1), torch.cat(centreness, 1)


class FCOS_ResNet50_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _resnet50_fpn(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> FCOS:
    return FCOS(resnet50_p3_to_p7(backbone, 256), num_classes, **kwargs)


def fcos_on(
    backbone: str | nn.Module,
    *,
    num_classes: int = 91,
    weights_backbone: Any = "DEFAULT",
    progress: bool = True,
    trainable_backbone_layers: int | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
    **kwargs: Any,
) -> FCOS:
    """FCOS on any classifier with a feature pyramid: ``fcos_on("convnext_tiny", num_classes=5)``.

    Args:
        backbone: name of a builder of :mod:`zoo_classification`, or such a model, whose head is dropped then.
        num_classes: number of classes.
        weights_backbone: what to load into a backbone that is named; ``None`` for random parameters.
        progress: show a progress bar for a download.
        trainable_backbone_layers: how many of the backbone's stages train, the last ones first; 3 by default, and all
            where it has random parameters. Of a trained one, batch norms keep their statistics.
        backbone_arguments: further arguments of the backbone's builder.
        in_channels: how many channels the images have; 3 by default. See :mod:`zoo_core.input_channels`.
        **kwargs: arguments of :class:`FCOS`. A backbone that takes images of one size alone, as Vision Transformers
            do, gets them resized to that.

    Raises:
        ValueError: the backbone is no classifier, takes images of other channels, or has no feature maps that a pyramid
            could stand on.
    """
    of_backbone, kwargs = for_channels(in_channels, backbone_arguments, kwargs)
    body = one_stage_backbone(backbone, weights_backbone, progress, trainable_backbone_layers, **of_backbone)
    kwargs = image_sizes_of(body, {"anchor_generator": anchors_of(body, 1, ratios=(1.0,))} | kwargs)
    return FCOS(body, num_classes, **kwargs)


@register_model
def fcos_resnet50_fpn(
    *,
    weights: FCOS_ResNet50_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> FCOS:
    """FCOS on ResNet-50 with a feature pyramid.

    From `FCOS: Fully Convolutional One-Stage Object Detection <https://arxiv.org/abs/1904.01355>`__.

    Args:
        num_classes: number of classes; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 5; 3 by default.
    """
    return build_detector(
        _resnet50_fpn,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (5, 3),
        num_classes=num_classes,
        **kwargs,
    )
