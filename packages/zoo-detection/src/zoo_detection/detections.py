"""What a detector finds on an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo_detection.mask_crops import MaskCrops

__all__ = ["Detections"]


@dataclass(frozen=True)
class Detections:
    """What a detector finds on one image, best first, on the CPU.

    Args:
        boxes: float32 Tensor[N, 4], ``x1, y1, x2, y2`` in pixels.
        classes: int64 Tensor[N], index of each one's class.
        scores: float32 Tensor[N] in [0, 1].
        labels: name of each class, not of each detection.
        masks: bool Tensor[N, H, W] of the image's size, or the same as :class:`~zoo_detection.mask_crops.MaskCrops`, or
            ``None``.
        keypoints: float32 Tensor[N, K, 2], x and y, or ``None``.
        keypoint_scores: float32 Tensor[N, K], above 0 for keypoints that are likely there, or ``None``.
        keypoint_labels: name of each keypoint.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    labels: Sequence[str]
    masks: Tensor | MaskCrops | None = None
    keypoints: Tensor | None = None
    keypoint_scores: Tensor | None = None
    keypoint_labels: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        found: Mapping[str, Any],
        labels: Sequence[str],
        keypoint_labels: Sequence[str] = (),
        *,
        threshold: float = 0.0,
    ) -> "Detections":
        """Takes what a model of this package gives for one image.

        Args:
            found: ``boxes``, ``labels`` and ``scores``; ``masks`` (float Tensor[N, 1, H, W] in [0, 1], or a
                :class:`~zoo_detection.mask_crops.MaskCrops`), ``keypoints`` (Tensor[N, K, 3]) and ``keypoints_scores``
                where the model has them.
            labels, keypoint_labels: names of classes and keypoints.
            threshold: what has a lower score is left out.
        """
        chosen = found["scores"] >= threshold
        part = {name: values[chosen] for name, values in found.items()}
        masks, keypoints, keypoint_scores = (part.get(name) for name in ("masks", "keypoints", "keypoints_scores"))
        return cls(
            part["boxes"].float().cpu(),
            part["labels"].cpu(),
            part["scores"].float().cpu(),
            labels,
            _thresholded(masks),
            None if keypoints is None else keypoints[..., :2].float().cpu(),
            None if keypoint_scores is None else keypoint_scores.float().cpu(),
            keypoint_labels,
        )

    def label(self, index: int) -> str:
        """The name of a class, also of one that the weights do not name."""
        return self.labels[index] if 0 <= index < len(self.labels) else f"class {index}"

    def __len__(self) -> int:
        return len(self.scores)


def _thresholded(masks: Tensor | MaskCrops | None) -> Tensor | MaskCrops | None:
    if masks is None or isinstance(masks, MaskCrops):
        return None if masks is None else masks.cpu()
    return (masks[:, 0] > 0.5).cpu()
