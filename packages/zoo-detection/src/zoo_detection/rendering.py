"""Detections, drawn on their image."""

import torch
from torch import Tensor

from zoo_core.drawing import color_palette, draw_bounding_boxes, draw_keypoints, draw_segmentation_masks
from zoo_detection.detections import Detections

__all__ = ["draw_detections"]

# Pairs of COCO's keypoints that bones or the outline of the face connect.
PERSON_SKELETON = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)


def draw_detections(image: Tensor, detections: Detections) -> Tensor:
    """Draws masks, boxes with labels and scores, and skeletons, in one colour for each object.

    Args:
        image: uint8 Tensor[3, H, W].
        detections: what to draw.

    Returns:
        A new uint8 Tensor[3, H, W].
    """
    if len(detections) == 0:
        return image.clone()
    # Images are looked at as a whole: lines and letters grow with them.
    line = max(1, round(max(image.shape[1:]) / 320))
    letters = max(10, round(max(image.shape[1:]) / 45))
    colors = color_palette(len(detections))
    if detections.masks is not None:
        # From the least certain to the best: one object hides another, they do not mix.
        hidden = torch.zeros_like(detections.masks[0])
        masks = torch.zeros_like(detections.masks)
        for index, mask in enumerate(detections.masks):
            masks[index] = mask & ~hidden
            hidden |= mask
        image = draw_segmentation_masks(image, masks, alpha=0.5, colors=colors)
    labels = [
        f"{detections.label(index)} {score:.0%}"
        for index, score in zip(detections.classes.tolist(), detections.scores.tolist(), strict=True)
    ]
    image = draw_bounding_boxes(
        image, detections.boxes, labels, colors, width=line, font_size=letters, fill_labels=True
    )
    if detections.keypoints is not None:
        names = list(detections.keypoint_labels)
        skeleton = [(names.index(a), names.index(b)) for a, b in PERSON_SKELETON if a in names and b in names]
        scores = detections.keypoint_scores
        for index, color in enumerate(colors):
            image = draw_keypoints(
                image,
                detections.keypoints[index, None],
                skeleton,
                color,
                radius=2 * line,
                width=line,
                visibility=None if scores is None else scores[index, None] > 0,
            )
    return image
