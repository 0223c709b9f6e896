"""Faster R-CNN.

- `Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks <https://arxiv.org/abs/1506.01497>`__
- `Feature Pyramid Networks for Object Detection <https://arxiv.org/abs/1612.03144>`__
- `Benchmarking Detection Transfer Learning with Vision Transformers <https://arxiv.org/abs/2111.11429>`__ (the improved
  form, v2)

An image passes :mod:`~zoo_detection.transform`, the backbone, :mod:`~zoo_detection.rpn` and
:mod:`~zoo_detection.roi_heads`, which runs the heads of this file: see :mod:`~zoo_detection.generalized_rcnn`.

Shapes: ``N`` images, ``C`` channels, ``H`` and ``W`` height and width of a feature map, ``R`` regions of all images,
``D`` size of a region's representation, ``K`` classes, the background (0) included.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import auto
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo_classification.mobilenetv3 import MobileNet_V3_Large_Weights
from zoo_classification.resnet import ResNet50_Weights
from zoo_core.layers import Conv2dNormActivation
from zoo_core.registry import register_model
from zoo_core.weights import WeightsEnum
from zoo_detection.anchors import AnchorGenerator, anchors_per_location, pyramid_anchors
from zoo_detection.backbones import BackboneSpec, channels_of, mobilenet_backbone, resnet50_fpn
from zoo_detection.building import RegionBatchNorm2d, build_detector, initialize_convolution, set_frozen_eps
from zoo_detection.classifier_backbones import anchors_of, for_channels, image_sizes_of, two_stage_backbone
from zoo_detection.generalized_rcnn import GeneralizedRCNN
from zoo_detection.ops import MultiScaleRoIAlign
from zoo_detection.roi_heads import RoIHeads
from zoo_detection.rpn import RegionProposalNetwork, RPNHead
from zoo_detection.transform import normalized_transform

__all__ = [
    "FastRCNNConvFCHead",
    "FastRCNNPredictor",
    "FasterRCNN",
    "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights",
    "FasterRCNN_MobileNet_V3_Large_FPN_Weights",
    "FasterRCNN_ResNet50_FPN_V2_Weights",
    "FasterRCNN_ResNet50_FPN_Weights",
    "TwoMLPHead",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_on",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
]


class FasterRCNN(GeneralizedRCNN):
    """Faster R-CNN on any backbone.

    In training mode it takes images and targets and gives the losses ``loss_classifier``, ``loss_box_reg``,
    ``loss_objectness`` and ``loss_rpn_box_reg``. In eval mode it gives for each image ``boxes`` (Tensor[N, 4],
    ``x1, y1, x2, y2``), ``labels`` (int64 Tensor[N]) and ``scores`` (Tensor[N]), best first.

    Args:
        backbone: gives a feature map, or a dict of them, of ``backbone.out_channels`` channels each.
        num_classes: number of classes, the background included; ``None`` if ``box_predictor`` is given.
        min_size, max_size: the image's sides after resizing; see
            :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.
        image_mean, image_std: normalisation of the images; those of ImageNet by default.
        rpn_anchor_generator: makes the anchors; by default for five feature maps, sizes from 32 to 512.
        rpn_head: predicts objects and offsets for anchors.
        rpn_pre_nms_top_n_train, rpn_pre_nms_top_n_test: proposals to keep of each feature map.
        rpn_post_nms_top_n_train, rpn_post_nms_top_n_test: proposals to keep of each image.
        rpn_nms_thresh: IoU above which the better proposal suppresses the other.
        rpn_fg_iou_thresh, rpn_bg_iou_thresh: IoU from which on an anchor is an object, below which it is background.
        rpn_batch_size_per_image, rpn_positive_fraction: anchors that a training step looks at, and the objects' share.
        rpn_score_thresh: least probability of a proposal.
        box_roi_pool: features of a fixed size for each region; by default 7x7 from the feature maps 0 to 3.
        box_head: turns these into a representation; :class:`TwoMLPHead` of 1024 by default.
        box_predictor: classes and offsets from the representation; :class:`FastRCNNPredictor` by default.
        box_score_thresh: a detection's probability is above it.
        box_nms_thresh: IoU above which the better detection suppresses another of its class.
        box_detections_per_img: how many detections to keep.
        box_fg_iou_thresh, box_bg_iou_thresh: IoU from which on a region is an object, below which it is background.
        box_batch_size_per_image, box_positive_fraction: regions that a training step looks at, and the objects' share.
        bbox_reg_weights: factors for the offsets; (10, 10, 5, 5) by default.
        **kwargs: further arguments of :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.

    Raises:
        ValueError: ``num_classes`` and ``box_predictor`` are both given or both missing, or the backbone does not say
            its ``out_channels``, or the anchor generator makes not one number of anchors for all feature maps and no
            ``rpn_head`` is given.
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
        **kwargs: Any,
    ) -> None:
        out_channels = channels_of(backbone)
        if (num_classes is None) == (box_predictor is None):
            raise ValueError(
                "give either num_classes or a box_predictor, which determines it: "
                + ("one of them is missing" if num_classes is None else "both were given")
            )
        transform = normalized_transform(min_size, max_size, image_mean, image_std, **kwargs)
        anchors = pyramid_anchors() if rpn_anchor_generator is None else rpn_anchor_generator
        rpn = RegionProposalNetwork(
            anchors,
            RPNHead(out_channels, anchors_per_location(anchors)) if rpn_head is None else rpn_head,
            rpn_fg_iou_thresh,
            rpn_bg_iou_thresh,
            rpn_batch_size_per_image,
            rpn_positive_fraction,
            {"training": rpn_pre_nms_top_n_train, "testing": rpn_pre_nms_top_n_test},
            {"training": rpn_post_nms_top_n_train, "testing": rpn_post_nms_top_n_test},
            rpn_nms_thresh,
            score_thresh=rpn_score_thresh,
        )
        if box_roi_pool is None:
            box_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
        if box_head is None:
            size: Any = box_roi_pool.output_size
            height, width = (size, size) if isinstance(size, int) else size
            box_head = TwoMLPHead(out_channels * height * width, 1024)
        if box_predictor is None:
            assert num_classes is not None
            box_predictor = FastRCNNPredictor(1024, num_classes)
        roi_heads = RoIHeads(
            box_roi_pool,
            box_head,
            box_predictor,
            box_fg_iou_thresh,
            box_bg_iou_thresh,
            box_batch_size_per_image,
            box_positive_fraction,
            bbox_reg_weights,
            box_score_thresh,
            box_nms_thresh,
            box_detections_per_img,
        )
        super().__init__(backbone, rpn, roi_heads, transform)


class TwoMLPHead(nn.Module):
    """Two fully connected layers on the features of each region.

    Args:
        in_channels: size of the flattened features.
        representation_size: size of the output.

    Shape:
        Tensor[R, C, H, W] -> Tensor[R, D], with D the ``representation_size``
    """

    def __init__(self, in_channels: int, representation_size: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions and fully connected layers on the features of each region.

    Args:
        input_size: channels, height and width of the features.
        conv_layers: channels of each convolution.
        fc_layers: size of each fully connected layer.
        norm_layer: builds the normalisation after each convolution; ``None`` for none.

    Shape:
        Tensor[R, C, H, W] -> Tensor[R, D], with D the last of ``fc_layers``
    """

    def __init__(
        self,
        input_size: tuple[int, int, int],
        conv_layers: list[int],
        fc_layers: list[int],
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        channels, height, width = input_size
        layers: list[nn.Module] = []
        for out_channels in conv_layers:
            layers.append(Conv2dNormActivation(channels, out_channels, norm_layer=norm_layer))
            channels = out_channels
        layers.append(nn.Flatten())
        size = channels * height * width
        for out_size in fc_layers:
            layers += [nn.Linear(size, out_size), nn.ReLU(inplace=True)]
            size = out_size
        super().__init__(*layers)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_convolution(module)


class FastRCNNPredictor(nn.Module):
    """The classes of each region, and the offsets to a box for each class.

    Replace a model's ``roi_heads.box_predictor`` by one to train it on classes of your own.

    Args:
        in_channels: size of the representation, a predictor's ``cls_score.in_features``.
        num_classes: number of classes, the background included.

    Shape:
        Tensor[R, D] -> logits, Tensor[R, K], and offsets, Tensor[R, 4 * K]
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, num_classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim == 4 and tuple(x.shape[2:]) != (1, 1):
            raise ValueError(f"a representation must have shape [N, C] or [N, C, 1, 1], not {list(x.shape)}")
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)


class FasterRCNN_ResNet50_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


class FasterRCNN_ResNet50_FPN_V2_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


class FasterRCNN_MobileNet_V3_Large_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


class FasterRCNN_MobileNet_V3_Large_320_FPN_Weights(WeightsEnum):
    COCO_V1 = auto()
    DEFAULT = COCO_V1


def _resnet50_fpn(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> FasterRCNN:
    return FasterRCNN(resnet50_fpn(backbone), num_classes, **kwargs)


def _resnet50_fpn_v2(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> FasterRCNN:
    """Batch normalisation everywhere, and deeper heads."""
    body = resnet50_fpn(backbone, body_norm=nn.BatchNorm2d, pyramid_norm=nn.BatchNorm2d)
    return FasterRCNN(body, num_classes, **v2_heads(body.out_channels, kwargs))


def v2_heads(channels: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a v2: its anchors and heads, on feature maps of so many channels, where ``kwargs`` have none."""
    kwargs = {"rpn_anchor_generator": pyramid_anchors()} | kwargs
    if "rpn_head" not in kwargs:
        kwargs["rpn_head"] = RPNHead(channels, anchors_per_location(kwargs["rpn_anchor_generator"]), conv_depth=2)
    if "box_head" not in kwargs:
        kwargs["box_head"] = FastRCNNConvFCHead((channels, 7, 7), [256] * 4, [1024], norm_layer=RegionBatchNorm2d)
    return kwargs


def _mobilenet_v3_large_fpn(backbone: BackboneSpec, num_classes: int = 91, **kwargs: Any) -> FasterRCNN:
    body = mobilenet_backbone(
        backbone_name="mobilenet_v3_large",
        weights=backbone.weights,
        progress=backbone.progress,
        fpn=True,
        norm_layer=backbone.norm_layer,
        trainable_layers=backbone.trainable_layers,
        in_channels=backbone.in_channels,
    )
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    defaults: dict[str, Any] = {"rpn_anchor_generator": anchors, "rpn_score_thresh": 0.05}
    return FasterRCNN(body, num_classes, **(defaults | kwargs))


def fasterrcnn_on(
    backbone: str | nn.Module,
    *,
    num_classes: int = 91,
    weights_backbone: Any = "DEFAULT",
    progress: bool = True,
    trainable_backbone_layers: int | None = None,
    backbone_arguments: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
    **kwargs: Any,
) -> FasterRCNN:
    """Faster R-CNN on any classifier with a feature pyramid: ``fasterrcnn_on("convnext_tiny", num_classes=5)``.

    Args:
        backbone: name of a builder of :mod:`zoo_classification`, or such a model, whose head is dropped then.
        num_classes: number of classes, the background included.
        weights_backbone: what to load into a backbone that is named; ``None`` for random parameters.
        progress: show a progress bar for a download.
        trainable_backbone_layers: how many of the backbone's stages train, the last ones first; 3 by default, and all
            where it has random parameters. Of a trained one, batch norms keep their statistics.
        backbone_arguments: further arguments of the backbone's builder.
        in_channels: how many channels the images have; 3 by default. See :mod:`zoo_core.input_channels`.
        **kwargs: arguments of :class:`FasterRCNN`. A backbone that takes images of one size alone, as Vision
            Transformers do, gets them resized to that.

    Raises:
        ValueError: the backbone is no classifier, takes images of other channels, or has no feature maps that a pyramid
            could stand on.
    """
    of_backbone, kwargs = for_channels(in_channels, backbone_arguments, kwargs)
    body = two_stage_backbone(backbone, weights_backbone, progress, trainable_backbone_layers, **of_backbone)
    kwargs = image_sizes_of(body, {"rpn_anchor_generator": anchors_of(body, 8)} | kwargs)
    if "box_roi_pool" not in kwargs:
        kwargs["box_roi_pool"] = MultiScaleRoIAlign(body.levels, output_size=7, sampling_ratio=2)
    return FasterRCNN(body, num_classes, **kwargs)


@register_model
def fasterrcnn_resnet50_fpn(
    *,
    weights: FasterRCNN_ResNet50_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = ResNet50_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> FasterRCNN:
    """Faster R-CNN on ResNet-50 with a feature pyramid.

    From `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__ and `Feature Pyramid Networks
    <https://arxiv.org/abs/1612.03144>`__.

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
    if weights is FasterRCNN_ResNet50_FPN_Weights.COCO_V1:
        set_frozen_eps(model, 0.0)
    return model


@register_model
def fasterrcnn_resnet50_fpn_v2(
    *,
    weights: FasterRCNN_ResNet50_FPN_V2_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: ResNet50_Weights | None = None,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> FasterRCNN:
    """Faster R-CNN on ResNet-50 with a feature pyramid, in the improved form of `Benchmarking Detection Transfer
    Learning with Vision Transformers <https://arxiv.org/abs/2111.11429>`__.

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


@register_model
def fasterrcnn_mobilenet_v3_large_fpn(
    *,
    weights: FasterRCNN_MobileNet_V3_Large_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: MobileNet_V3_Large_Weights | None = MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> FasterRCNN:
    """Faster R-CNN on MobileNetV3-Large with a feature pyramid, for images of high resolution.

    From `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__ and `Searching for MobileNetV3
    <https://arxiv.org/abs/1905.02244>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 6; 3 by default.
    """
    return build_detector(
        _mobilenet_v3_large_fpn,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (6, 3),
        num_classes=num_classes,
        **kwargs,
    )


@register_model
def fasterrcnn_mobilenet_v3_large_320_fpn(
    *,
    weights: FasterRCNN_MobileNet_V3_Large_320_FPN_Weights | None = None,
    progress: bool = True,
    num_classes: int | None = None,
    weights_backbone: MobileNet_V3_Large_Weights | None = MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    trainable_backbone_layers: int | None = None,
    **kwargs: Any,
) -> FasterRCNN:
    """Faster R-CNN on MobileNetV3-Large with a feature pyramid, tuned for speed: images are resized to 320 pixels.

    From `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__ and `Searching for MobileNetV3
    <https://arxiv.org/abs/1905.02244>`__.

    Args:
        num_classes: number of classes, the background included; 91 by default.
        trainable_backbone_layers: how many stages of the backbone train, from 0 to 6; 3 by default.
    """
    defaults: dict[str, Any] = {
        "min_size": 320,
        "max_size": 640,
        "rpn_pre_nms_top_n_test": 150,
        "rpn_post_nms_top_n_test": 150,
    }
    return build_detector(
        _mobilenet_v3_large_fpn,
        weights,
        weights_backbone,
        progress,
        trainable_backbone_layers,
        (6, 3),
        num_classes=num_classes,
        **(defaults | kwargs),
    )
