"""Operators of object detection, and the layers that torchvision.ops has beside them.

``torch.ops.zoo`` has the compiled forms of the operators. Of torchvision.ops these are not here: ``deform_conv2d``,
``roi_pool``, ``ps_roi_align``, ``ps_roi_pool``, ``drop_block2d`` and ``drop_block3d``, and their modules.
"""

from zoo_core.layers import (
    MLP,
    Conv2dNormActivation,
    Conv3dNormActivation,
    Permute,
    SqueezeExcitation,
)
from zoo_detection.ops._library import backend
from zoo_detection.ops.boxes import (
    batched_nms,
    box_area,
    box_convert,
    box_iou,
    clip_boxes_to_image,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
    masks_to_boxes,
    nms,
    remove_small_boxes,
)
from zoo_detection.ops.feature_pyramid import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)
from zoo_detection.ops.losses import (
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)
from zoo_detection.ops.normalization import FrozenBatchNorm2d
from zoo_detection.ops.roi_align import MultiScaleRoIAlign, RoIAlign, roi_align

# From the module of that name: imported later, it would take the function's place.
from zoo_detection.ops.stochastic_depth import StochasticDepth, stochastic_depth

__all__ = [
    "MLP",
    "Conv2dNormActivation",
    "Conv3dNormActivation",
    "ExtraFPNBlock",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "MultiScaleRoIAlign",
    "Permute",
    "RoIAlign",
    "SqueezeExcitation",
    "StochasticDepth",
    "backend",
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "complete_box_iou",
    "complete_box_iou_loss",
    "distance_box_iou",
    "distance_box_iou_loss",
    "generalized_box_iou",
    "generalized_box_iou_loss",
    "masks_to_boxes",
    "nms",
    "remove_small_boxes",
    "roi_align",
    "sigmoid_focal_loss",
    "stochastic_depth",
]
