"""Mask R-CNN.

- `Mask R-CNN <https://arxiv.org/abs/1703.06870>`__
- `Benchmarking Detection Transfer Learning with Vision Transformers <https://arxiv.org/abs/2111.11429>`__ (the improved
  form, v2)

:mod:`~zoo_detection.masks` carries masks between the size that the network works with and that of the image.

Shapes: ``R`` regions of all images, ``C`` channels, ``M`` height and width of a region's features, ``K`` classes, the
background (0) included.
"""

import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import auto
from typing import Any

from torch import nn

from zoo_classification.resnet import ResNet50_Weights
from zoo_core.layers import Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.backbones import BackboneSpec, channels_of, resnet50_fpn
from zoo_detection.building import RegionBatchNorm2d, build_detector, initialize_convolution, set_frozen_eps
from zoo_detection.faster_rcnn import FasterRCNN, v2_heads
from zoo_detection.ops import MultiScaleRoIAlign

__all__ = [
    "MaskRCNN",
    "MaskRCNNHeads",
    "MaskRCNNPredictor",
    "MaskRCNN_ResNet50_FPN_V2_Weights",
    "MaskRCNN_ResNet50_FPN_Weights",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
]


class MaskRCNN(FasterRCNN):
    """Mask R-CNN on any backbone: :class:`~zoo_detection.faster_rcnn.FasterRCNN` that also segments what it detects.

    Targets also have ``masks`` (Tensor[N, H, W], 0 or 1), and the losses ``loss_mask``. Detections also have ``masks``
    (Tensor[N, 1, H, W] of the image's size, probabilities).

    Args:
        backbone: gives a feature map, or a dict of them, of ``backbone.out_channels`` channels each.
        num_classes: number of classes, the background included; ``None`` if both predictors are given.
        mask_roi_pool: features of a fixed size for each region; by default 14x14 from the feature maps 0 to 3.
        mask_head: convolutions on these; :class:`MaskRCNNHeads` of four by default.
        mask_predictor: masks from their output; :class:`MaskRCNNPredictor` by default.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    All other arguments are those of :class:`~zoo_detection.faster_rcnn.FasterRCNN`.

    Raises:
        ValueError: as for :class:`~zoo_detection.faster_rcnn.FasterRCNN`, and for ``num_classes`` with a
            ``mask_predictor``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | None = None,
        min_size: int | Sequence[int] = 800,
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
        mask_roi_pool: nn.Module | None = None,
        mask_head: nn.Module | None = None,
        mask_predictor: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        if num_classes is not None and mask_predictor is not None:
            raise ValueError("give either num_classes or a mask_predictor, which determines it: both were given")
        if num_classes is None and mask_predictor is None:
            raise ValueError("without num_classes, give both a box_predictor and a mask_predictor, which determine it")
        # Drawn before the parts of Faster R-CNN: the order decides what a seed gives.
        if mask_head is None:
            mask_head = MaskRCNNHeads(channels_of(backbone), (256, 256, 256, 256), 1)
        if mask_predictor is None:
            assert num_classes is not None
            mask_predictor = MaskRCNNPredictor(256, 256, num_classes)
        super().__init__(
            backbone,
            num_classes,
            min_size,
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
        if mask_roi_pool is None:
            mask_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=2)
        self.roi_heads.mask_roi_pool = mask_roi_pool
        self.roi_heads.mask_head = mask_head
        self.roi_heads.mask_predictor = mask_predictor


class MaskRCNNHeads(nn.Sequential):
    """3x3 convolutions on the features of each region: figure 4 (right) of the paper.

    Args:
        in_channels: channels of the features.
        layers: channels of each convolution.
        dilation: spacing of the kernels' points.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        Tensor[R, C, M, M] -> Tensor[R, last of layers, M, M]
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[int],
        dilation: int,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        channels = [in_channels, *layers]
        super().__init__(
            *(
                Conv2dNormActivation(before, after, kernel_size=3, norm_layer=norm_layer, dilation=dilation)
                for before, after in itertools.pairwise(channels)
            )
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_convolution(module)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Old checkpoints spell the convolutions mask_fcn1.weight, mask_fcn2.weight, ...
        old = re.compile(re.escape(prefix) + r"mask_fcn(\d+)\.(weight|bias)")
        for key in list(state_dict):
            if match := old.fullmatch(key):
                state_dict[f"{prefix}{int(match[1]) - 1}.0.{match[2]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


class MaskRCNNPredictor(nn.Sequential):
    """A mask of each class, twice as large as the features.

    Replace a model's ``roi_heads.mask_predictor`` by one to train it on classes of your own.

    Args:
        in_channels: channels of the features, a predictor's ``conv5_mask.in_channels``.
        dim_reduced: channels of the enlarged features.
        num_classes: number of classes, the background included.

    Shape:
        Tensor[R, C, M, M] -> logits, Tensor[R, K, 2 * M, 2 * M]
    """

    def __init__(self, in_channels: int, dim_reduced: int, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                [
                    ("conv5_mask", nn.ConvTranspose2d(in_channels, dim_reduced, 2, 2, 0)),
                    ("relu", nn.ReLU(inplace=True)),
                    ("mask_fcn_logits", nn.Conv2d(dim_reduced, num_classes, 1, 1, 0)),
                ]
            )
        )
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_convolution(module, zero_bias=False)


class MaskRCNN_ResNet50_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


class MaskRCNN_ResNet50_FPN_V2_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _resnet50_fpn(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> MaskRCNN:
    return MaskRCNN(resnet50_fpn(backbone), num_classes, **kwargs)


def _resnet50_fpn_v2(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> MaskRCNN:
    body = resnet50_fpn(backbone, body_norm=nn.BatchNorm2d, pyramid_norm=nn.BatchNorm2d)
    kwargs = v2_heads(body.out_channels, kwargs)
    if "mask_head" not in kwargs:
        kwargs["mask_head"] = MaskRCNNHeads(body.out_channels, [256] * 4, 1, norm_layer=RegionBatchNorm2d)
    return MaskRCNN(body, num_classes, **kwargs)


@register_model
def maskrcnn_resnet50_fpn(
    *,
    weights: MaskRCNN_ResNet50_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> MaskRCNN:
    """Mask R-CNN on ResNet-50 with a feature pyramid, from `Mask R-CNN <https://arxiv.org/abs/1703.06870>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
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
    if weights is MaskRCNN_ResNet50_FPN_Weights.COCO_V1:
        set_frozen_eps(model, 0.0)
    return model


@register_model
def maskrcnn_resnet50_fpn_v2(
    *,
    weights: MaskRCNN_ResNet50_FPN_V2_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = None,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> MaskRCNN:
    """Mask R-CNN on ResNet-50 with a feature pyramid, in the improved form of `Benchmarking Detection Transfer Learning
    with Vision Transformers <https://arxiv.org/abs/2111.11429>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
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
