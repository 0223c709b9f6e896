"""Keypoint R-CNN: `Mask R-CNN <https://arxiv.org/abs/1703.06870>`__, section 5.

:mod:`~zoo_detection.keypoints` carries keypoints between heatmaps and images.

Shapes: ``R`` regions of all images, ``C`` channels, ``M`` height and width of a region's features, ``P`` keypoints.
"""

from collections.abc import Sequence
from enum import auto
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.resnet import ResNet50_Weights
from zoo_core.builders import set_from_weights
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.backbones import BackboneSpec, channels_of, resnet50_fpn
from zoo_detection.building import build_detector, initialize_convolution, set_frozen_eps
from zoo_detection.faster_rcnn import FasterRCNN
from zoo_detection.ops import MultiScaleRoIAlign

__all__ = [
    "KeypointRCNN",
    "KeypointRCNNHeads",
    "KeypointRCNNPredictor",
    "KeypointRCNN_ResNet50_FPN_Weights",
    "keypointrcnn_resnet50_fpn",
]


class KeypointRCNN(FasterRCNN):
    """Keypoint R-CNN on any backbone: :class:`~zoo_detection.faster_rcnn.FasterRCNN` that also finds keypoints.

    Targets also have ``keypoints`` (Tensor[N, K, 3]: x, y, and visibility, above 0 if the keypoint is known), and the
    losses ``loss_keypoint``. Detections also have ``keypoints`` (Tensor[N, K, 3], the last value always 1) and
    ``keypoints_scores`` (Tensor[N, K], logits).

    Args:
        backbone: gives a feature map, or a dict of them, of ``backbone.out_channels`` channels each.
        num_classes: number of classes, the background included; ``None`` if ``box_predictor`` is given.
        min_size: the shorter side of the image after resizing; by default drawn from 640 to 800 in training, and 800
            in eval mode.
        keypoint_roi_pool: features of a fixed size for each region; by default 14x14 from the feature maps 0 to 3.
        keypoint_head: convolutions on these; :class:`KeypointRCNNHeads` of eight by default.
        keypoint_predictor: heatmaps from their output; :class:`KeypointRCNNPredictor` by default.
        num_keypoints: number of keypoints; 17 by default. ``None`` if ``keypoint_predictor`` is given.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    All other arguments are those of :class:`~zoo_detection.faster_rcnn.FasterRCNN`.

    Raises:
        ValueError: as for :class:`~zoo_detection.faster_rcnn.FasterRCNN`, and for ``num_keypoints`` with a
            ``keypoint_predictor``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | None = None,
        min_size: int | Sequence[int] | None = None,
        max_size: int = 1333,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        rpn_anchor_generator: nn.Module | None = None,
        rpn_head: nn.Module | None = None,
        rpn_pre_nms_top_n_train: int = 2000,
        rpn_pre_nms_top_n_test: int = 1000,
        rpn_post_nms_top_n_train: int = 2000,
        rpn_post_nms_top_n_test: int = 1000,
        rpn_nms_thresh: float = 0.7,
        rpn_fg_iou_thresh: float = 0.7,
        rpn_bg_iou_thresh: float = 0.3,
        rpn_batch_size_per_image: int = 256,
        rpn_positive_fraction: float = 0.5,
        rpn_score_thresh: float = 0.0,
        box_roi_pool: nn.Module | None = None,
        box_head: nn.Module | None = None,
        box_predictor: nn.Module | None = None,
        box_score_thresh: float = 0.05,
        box_nms_thresh: float = 0.5,
        box_detections_per_img: int = 100,
        box_fg_iou_thresh: float = 0.5,
        box_bg_iou_thresh: float = 0.5,
        box_batch_size_per_image: int = 512,
        box_positive_fraction: float = 0.25,
        bbox_reg_weights: tuple[float, float, float, float] | None = None,
        keypoint_roi_pool: nn.Module | None = None,
        keypoint_head: nn.Module | None = None,
        keypoint_predictor: nn.Module | None = None,
        num_keypoints: int | None = None,
        **kwargs: Any,
    ) -> None:
        if num_keypoints is not None and keypoint_predictor is not None:
            raise ValueError("give either num_keypoints or a keypoint_predictor, which determines it: both were given")
        # Drawn before the parts of Faster R-CNN: the order decides what a seed gives.
        if keypoint_head is None:
            keypoint_head = KeypointRCNNHeads(channels_of(backbone), (512,) * 8)
        if keypoint_predictor is None:
            keypoint_predictor = KeypointRCNNPredictor(512, 17 if num_keypoints is None else num_keypoints)
        super().__init__(
            backbone,
            num_classes,
            (640, 672, 704, 736, 768, 800) if min_size is None else min_size,
            max_size,
            image_mean,
            image_std,
            rpn_anchor_generator,
            rpn_head,
            rpn_pre_nms_top_n_train,
            rpn_pre_nms_top_n_test,
            rpn_post_nms_top_n_train,
            rpn_post_nms_top_n_test,
            rpn_nms_thresh,
            rpn_fg_iou_thresh,
            rpn_bg_iou_thresh,
            rpn_batch_size_per_image,
            rpn_positive_fraction,
            rpn_score_thresh,
            box_roi_pool,
            box_head,
            box_predictor,
            box_score_thresh,
            box_nms_thresh,
            box_detections_per_img,
            box_fg_iou_thresh,
            box_bg_iou_thresh,
            box_batch_size_per_image,
            box_positive_fraction,
            bbox_reg_weights,
            **kwargs,
        )
        if keypoint_roi_pool is None:
            keypoint_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=2)
        self.roi_heads.keypoint_roi_pool = keypoint_roi_pool
        self.roi_heads.keypoint_head = keypoint_head
        self.roi_heads.keypoint_predictor = keypoint_predictor


class KeypointRCNNHeads(nn.Sequential):
    """3x3 convolutions on the features of each region.

    Args:
        in_channels: channels of the features.
        layers: channels of each convolution.

    Shape:
        Tensor[R, C, M, M] -> Tensor[R, last of layers, M, M]
    """

    def __init__(self, in_channels: int, layers: Sequence[int]) -> None:
        modules: list[nn.Module] = []
        channels = in_channels
        for out_channels in layers:
            modules += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
            channels = out_channels
        super().__init__(*modules)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_convolution(module)


class KeypointRCNNPredictor(nn.Module):
    """A heatmap of each keypoint, four times as large as the features.

    Args:
        in_channels: channels of the features.
        num_keypoints: number of keypoints.

    Shape:
        Tensor[R, C, M, M] -> logits, Tensor[R, P, 4 * M, 4 * M]
    """

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(in_channels, num_keypoints, 4, stride=2, padding=1)
        self.up_scale = 2
        self.out_channels = num_keypoints
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_convolution(module)

    def forward(self, x: Tensor) -> Tensor:
        x = self.kps_score_lowres(x)
        size = (x.shape[-2] * self.up_scale, x.shape[-1] * self.up_scale)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class KeypointRCNN_ResNet50_FPN_Weights(WeightsEnum):
    COCO_LEGACY = auto()
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _resnet50_fpn(backbone: BackboneSpec, num_classes: int = 2, **kwargs: Any) -> KeypointRCNN:
    return KeypointRCNN(resnet50_fpn(backbone), num_classes, **kwargs)


@register_model
def keypointrcnn_resnet50_fpn(
    *,
    weights: KeypointRCNN_ResNet50_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    num_keypoints: int | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> KeypointRCNN:
    """Keypoint R-CNN on ResNet-50 with a feature pyramid, from `Mask R-CNN <https://arxiv.org/abs/1703.06870>`__.

    Args:
        num_classes: number of classes, the background included; 2 by default.
        num_keypoints: number of keypoints; 17 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 5; 3 by default.
    """
    kwargs["num_keypoints"] = num_keypoints
    if weights is not None:
        set_from_weights(kwargs, weights, "num_keypoints", len(weights.meta["keypoint_names"]))
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
    if weights is KeypointRCNN_ResNet50_FPN_Weights.COCO_V1:
        set_frozen_eps(model, 0.0)
    return model
