"""Object detection on the command line: what is where on a picture, with masks or keypoints if the model has them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.drawing import color_palette, draw_bounding_boxes, draw_keypoints, draw_segmentation_masks
from zoo_core.images import open_image, pil_to_tensor, to_pil_image
from zoo_core.tasks import Option, Score, Task
from zoo_core.weights import WeightsEnum
from zoo_detection.average_precision import AveragePrecision

__all__ = ["DetectionScore", "Detections", "ObjectDetectionTask"]

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


@dataclass(frozen=True)
class Detections:
    """What a detector finds on one picture, best first, on the CPU.

    Args:
        boxes: float32 Tensor[N, 4], ``x1, y1, x2, y2`` in pixels.
        labels: int64 Tensor[N].
        scores: float32 Tensor[N] in [0, 1].
        names: name of each class.
        masks: bool Tensor[N, H, W] of the picture's size, or ``None``.
        keypoints: float32 Tensor[N, K, 2], x and y, or ``None``.
        keypoint_scores: float32 Tensor[N, K], above 0 for keypoints that are likely there, or ``None``.
        keypoint_names: name of each keypoint.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    names: Sequence[str]
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    keypoint_scores: Tensor | None = None
    keypoint_names: Sequence[str] = ()

    def above(self, threshold: float) -> "Detections":
        """Those whose score is at least ``threshold``."""
        chosen = self.scores >= threshold

        def part(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[chosen]

        return Detections(
            self.boxes[chosen],
            self.labels[chosen],
            self.scores[chosen],
            self.names,
            part(self.masks),
            part(self.keypoints),
            part(self.keypoint_scores),
            self.keypoint_names,
        )

    def name(self, label: int) -> str:
        """The name of a class, also of one that the weights do not name."""
        return self.names[label] if 0 <= label < len(self.names) else f"class {label}"

    def __len__(self) -> int:
        return len(self.scores)


class ObjectDetectionTask(Task[Image.Image, Detections]):
    """Finds objects; draws their boxes with labels and scores, and masks or skeletons."""

    # Pictures of a batch are padded to one size, which costs time and memory, and changes results a little.
    batch_size: ClassVar[int] = 1
    extra_options: ClassVar[tuple[Option, ...]] = (
        Option("--threshold", float, 0.5, "Show detections with at least this score.", minimum=0, maximum=1),
    )

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, weights, device, options)
        self._preprocess = weights.transforms()
        self._names: Sequence[str] = weights.meta.get("categories") or ()
        self._keypoint_names: Sequence[str] = weights.meta.get("keypoint_names") or ()

    def read(self, paths: tuple[Path, ...]) -> Image.Image:
        (path,) = paths
        return open_image(path)

    def run(self, inputs: Sequence[Image.Image]) -> list[Detections]:
        return [
            self._detections(found)
            for found in self.model([self._preprocess(picture).to(self.device) for picture in inputs])
        ]

    def _detections(self, found: Mapping[str, Tensor]) -> Detections:
        if not (found["boxes"].isfinite().all() and found["scores"].isfinite().all()):
            raise ValueError(
                f"{self.weights} gave results that are no numbers; are the weights damaged? Try `zoo verify`"
            )
        keypoints, keypoint_scores = found.get("keypoints"), found.get("keypoints_scores")
        masks = found.get("masks")
        return Detections(
            found["boxes"].float().cpu(),
            found["labels"].cpu(),
            found["scores"].float().cpu(),
            self._names,
            None if masks is None else (masks[:, 0] > 0.5).cpu(),
            None if keypoints is None else keypoints[..., :2].float().cpu(),
            None if keypoint_scores is None else keypoint_scores.float().cpu(),
            self._keypoint_names,
        )

    def describe(self, result: Detections) -> list[str]:
        shown = result.above(self.options["threshold"])
        lines = []
        for box, label, score in zip(shown.boxes.tolist(), shown.labels.tolist(), shown.scores.tolist(), strict=True):
            x1, y1, x2, y2 = (round(side) for side in box)
            lines.append(f"{score:6.1%}  {shown.name(label)}  at ({x1}, {y1}), {x2 - x1} x {y2 - y1} pixels")
        if not lines:
            return [f"nothing with a score of {self.options['threshold']:.0%} or more"]
        counts = Counter(shown.name(label) for label in shown.labels.tolist())
        return [", ".join(f"{count} {name}" for name, count in counts.items()), *lines]

    def save(self, input: Image.Image, result: Detections, directory: Path, stem: str) -> list[Path]:
        shown = result.above(self.options["threshold"])
        path = directory / f"{stem}.png"
        to_pil_image(draw_detections(pil_to_tensor(input), shown)).save(path)
        return [path]

    def to_json(self, result: Detections) -> dict[str, Any]:
        shown = result.above(self.options["threshold"])
        return {"detections": [_record(shown, index) for index in range(len(shown))]}

    def score(self) -> "DetectionScore":
        return DetectionScore()


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
    # Pictures are looked at as a whole: lines and letters grow with them.
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
        f"{detections.name(label)} {score:.0%}"
        for label, score in zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ]
    image = draw_bounding_boxes(
        image, detections.boxes, labels, colors, width=line, font_size=letters, fill_labels=True
    )
    if detections.keypoints is not None:
        names = list(detections.keypoint_names)
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


def _record(detections: Detections, index: int) -> dict[str, Any]:
    """A detection in the form of COCO's results, with the name of its category."""
    x1, y1, x2, y2 = detections.boxes[index].tolist()
    label = int(detections.labels[index])
    record: dict[str, Any] = {
        "category_id": label,
        "category": detections.name(label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": float(detections.scores[index]),
    }
    if detections.masks is not None:
        record["segmentation"] = run_lengths(detections.masks[index])
    if detections.keypoints is not None:
        scores = detections.keypoint_scores
        record["keypoints"] = [
            value
            for place, (x, y) in enumerate(detections.keypoints[index].tolist())
            for value in (x, y, 1 if scores is None or scores[index, place] > 0 else 0)
        ]
    return record


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding.

    Args:
        mask: bool Tensor[H, W].

    Returns:
        ``size``, height and width, and ``counts``: the lengths of runs, column by column, of zeros and ones in turn.
    """
    flat = mask.T.flatten()
    ends = torch.where(flat[1:] != flat[:-1])[0] + 1
    borders = torch.cat((ends.new_zeros(1), ends, ends.new_full((1,), flat.numel())))
    counts = borders.diff().tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if bool(flat[0]) else counts}


class DetectionScore(Score[Detections]):
    """COCO's average precision of boxes, ``box_map``, and of masks, ``mask_map``, where there are any, in percent."""

    def __init__(self) -> None:
        self._boxes = AveragePrecision("boxes")
        self._masks: AveragePrecision | None = None

    def update(self, result: Detections, truth: Mapping[str, Tensor]) -> None:
        """Takes one result.

        Args:
            result: what was found on the picture.
            truth: ``boxes`` (Tensor[M, 4], ``x1, y1, x2, y2``) and ``labels`` (int64 Tensor[M]) of its objects; also
                ``masks`` (bool Tensor[M, H, W]) and ``iscrowd`` (Tensor[M]) where there are any.

        Raises:
            ValueError: ``boxes`` or ``labels`` are missing, or their numbers differ.
        """
        found = {"boxes": result.boxes, "labels": result.labels, "scores": result.scores}
        self._boxes.update(found, truth)
        if result.masks is not None and "masks" in truth:
            self._masks = self._masks or AveragePrecision("masks")
            self._masks.update(found | {"masks": result.masks}, truth)

    def compute(self) -> dict[str, float]:
        scores = {f"box_{name}": value for name, value in self._boxes.compute().items()}
        if self._masks is not None:
            scores |= {f"mask_{name}": value for name, value in self._masks.compute().items()}
        return scores
