"""Detectors of a few thousand parameters, and pictures of coloured rectangles that they can learn."""

import itertools
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo_detection import (
    FCOS,
    SSD,
    AnchorGenerator,
    DefaultBoxGenerator,
    FasterRCNN,
    FastRCNNPredictor,
    KeypointRCNN,
    KeypointRCNNHeads,
    KeypointRCNNPredictor,
    MaskRCNN,
    MaskRCNNHeads,
    MaskRCNNPredictor,
    MultiScaleRoIAlign,
    RetinaNet,
    RetinaNetHead,
    TwoMLPHead,
)


class Backbone(nn.Module):
    """One feature map at an eighth of the size."""

    out_channels: Any

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        widths = (3, 16, 32, channels)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def two_stage_parts() -> dict[str, Any]:
    return {
        "backbone": Backbone(),
        "min_size": 64,
        "max_size": 64,
        "rpn_anchor_generator": AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        "box_roi_pool": MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
        "box_head": TwoMLPHead(32 * 25, 64),
        "box_predictor": FastRCNNPredictor(64, 3),
        "rpn_batch_size_per_image": 64,
        "box_batch_size_per_image": 64,
        "rpn_pre_nms_top_n_train": 100,
        "rpn_post_nms_top_n_train": 50,
        "rpn_post_nms_top_n_test": 50,
    }


def faster_rcnn() -> FasterRCNN:
    return FasterRCNN(**two_stage_parts())


def mask_rcnn() -> MaskRCNN:
    return MaskRCNN(
        **two_stage_parts(),
        mask_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        mask_head=MaskRCNNHeads(32, (32,), 1),
        mask_predictor=MaskRCNNPredictor(32, 16, 3),
    )


def keypoint_rcnn() -> KeypointRCNN:
    return KeypointRCNN(
        **two_stage_parts(),
        keypoint_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        keypoint_head=KeypointRCNNHeads(32, (32,)),
        keypoint_predictor=KeypointRCNNPredictor(32, 4),
    )


def retinanet() -> RetinaNet:
    anchors = AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),))
    head = RetinaNetHead(32, 6, 3, norm_layer=partial(nn.GroupNorm, 4))
    # One threshold: anchors between two would learn nothing, and may say anything.
    thresholds = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5}
    return RetinaNet(Backbone(), 3, min_size=64, max_size=64, anchor_generator=anchors, head=head, **thresholds)


def fcos() -> FCOS:
    return FCOS(Backbone(), 3, min_size=64, max_size=64, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)))


def ssd() -> SSD:
    backbone = Backbone()
    backbone.out_channels = [32]
    return SSD(backbone, DefaultBoxGenerator([[2]], scales=[0.25, 0.5]), (64, 64), 3)


DETECTORS = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "keypoint_rcnn": keypoint_rcnn,
    "retinanet": retinanet,
    "fcos": fcos,
    "ssd": ssd,
}


def pictures() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two pictures of 64x64 pixels with a red (class 1) and two green rectangles (class 2), and what is on them."""
    generator = torch.Generator().manual_seed(0)
    images, targets = [], []
    for objects in ([(8, 10, 34, 30, 1)], [(4, 6, 24, 32, 2), (30, 28, 58, 56, 2)]):
        image = 0.1 * torch.rand(3, 64, 64, generator=generator)
        masks = torch.zeros(len(objects), 64, 64, dtype=torch.uint8)
        keypoints = torch.zeros(len(objects), 4, 3)
        for index, (x1, y1, x2, y2, label) in enumerate(objects):
            image[label - 1, y1:y2, x1:x2] = 0.9
            masks[index, y1:y2, x1:x2] = 1
            corners = [(x1 + 1, y1 + 1), (x2 - 1, y1 + 1), (x2 - 1, y2 - 1), (x1 + 1, y2 - 1)]
            keypoints[index] = torch.tensor([(x, y, 1.0) for x, y in corners])
        images.append(image)
        targets.append(
            {
                "boxes": torch.tensor([box[:4] for box in objects], dtype=torch.float32),
                "labels": torch.tensor([box[4] for box in objects]),
                "masks": masks,
                "keypoints": keypoints,
            }
        )
    return images, targets
