"""Detections, drawn on their image."""

from PIL import Image
from torch import Tensor

from zoo_core.drawing import draw_objects
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_detection.detections import Detections
from zoo_detection.mask_crops import MaskCrops

__all__ = ["draw_detections", "render_detections"]

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
    """Draws masks, boxes with labels and scores, and skeletons, in a colour for each class.

    Args:
        image: uint8 Tensor[3, H, W].
        detections: what to draw.

    Returns:
        A new uint8 Tensor[3, H, W].
    """
    return pil_to_tensor(render_detections(to_pil_image(image), detections))


def render_detections(image: Image.Image, detections: Detections, scale: int = 1) -> Image.Image:
    """As :func:`draw_detections`, of a PIL image; see :func:`~zoo_core.drawing.draw_objects`.

    Args:
        image: RGB.
        detections: what to draw.
        scale: how many times larger ``image`` is than the one that the detections are of.

    Returns:
        A new RGB image of the size of ``image``.
    """
    names = list(detections.keypoint_labels)
    points, scores = detections.keypoints, detections.keypoint_scores
    return draw_objects(
        image,
        detections.boxes * scale,
        detections.classes.tolist(),
        [
            f"{detections.label(index)} {score:.0%}"
            for index, score in zip(detections.classes.tolist(), detections.scores.tolist(), strict=True)
        ],
        masks=_placed(detections.masks, scale),
        # The middle of a pixel stays in the middle.
        keypoints=None if points is None else points * scale + (scale - 1) / 2,
        visible=None if scores is None else scores > 0,
        keypoint_names=names,
        skeleton=[(names.index(a), names.index(b)) for a, b in PERSON_SKELETON if a in names and b in names],
    )


def _placed(masks: Tensor | MaskCrops | None, scale: int) -> Tensor | list[tuple[int, int, Tensor]] | None:
    """Masks as they are drawn, so many times larger."""
    if masks is None:
        return None
    if isinstance(masks, Tensor):
        return masks if scale == 1 else masks.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return [
        (left * scale, top * scale, crop.repeat_interleave(scale, 0).repeat_interleave(scale, 1))
        for (left, top), crop in zip(masks.places, masks.crops, strict=True)
    ]
