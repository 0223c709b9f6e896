"""Object detection: what is where on an image, with masks or keypoints if the model has them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.data import Dataset
from zoo_core.drawing import enlarged
from zoo_core.engines import Engine
from zoo_core.graphs import Example
from zoo_core.tasks import Sample, Score, Task, check_finite, example_images
from zoo_core.training.recipes import Recipe
from zoo_detection.average_precision import AveragePrecision
from zoo_detection.coco import records
from zoo_detection.coco_score import CocoScore
from zoo_detection.data import labels_in, open_detection_data
from zoo_detection.detections import Detections
from zoo_detection.mask_crops import MaskCrops
from zoo_detection.mask_rcnn import MaskRCNN
from zoo_detection.rendering import render_detections

if TYPE_CHECKING:
    from zoo_detection.training import DetectionTraining

__all__ = ["DetectionScore", "Detections", "ObjectDetectionTask"]


class ObjectDetectionTask(Task[Image.Image, Detections]):
    """Finds objects with at least the score ``threshold``; draws boxes with labels and scores, masks, skeletons."""

    def eager_arguments(self, model: nn.Module) -> Mapping[str, Any]:
        """Masks are asked for in their boxes alone."""
        return {"masks": "crops"} if isinstance(model, MaskRCNN) else {}

    def run(self, engine: Engine, samples: Sequence[Sample]) -> list[Mapping[str, Tensor]]:
        """Runs the detector on a list of images.

        Returns:
            For each image what the detector gives: ``boxes``, ``labels``, ``scores``, ...
        """
        outputs = list(engine([image for (image,) in samples]))
        for found in outputs:
            check_finite([found["boxes"], found["scores"]], self.spec)
        return outputs

    def embeddings(self, engine: Engine, samples: Sequence[Sample]) -> list[Tensor]:
        return list(engine([image for (image,) in samples]))

    def result(self, output: Mapping[str, Tensor], input: Image.Image) -> Detections:
        keypoint_labels = self.spec.facts.get("keypoint_names") or ()
        return Detections.of(output, self.labels, keypoint_labels, threshold=self.options["threshold"])

    def describe(self, result: Detections) -> list[str]:
        found = [result.label(index) for index in result.classes.tolist()]
        if not found:
            return [f"nothing with a score of {self.options['threshold']:.0%} or more"]
        lines = []
        for box, label, score in zip(result.boxes.tolist(), found, result.scores.tolist(), strict=True):
            x1, y1, x2, y2 = (round(side) for side in box)
            lines.append(f"{score:6.1%}  {label}  at ({x1}, {y1}), {x2 - x1} x {y2 - y1} pixels")
        return [", ".join(f"{count} {label}" for label, count in Counter(found).items()), *lines]

    def draw(self, input: Image.Image, result: Detections) -> Image.Image:
        image = enlarged(input)
        return render_detections(image, result, image.width // input.width)

    def draw_frame(self, input: Image.Image, result: Detections) -> Image.Image:
        return render_detections(input, result)

    def record(self, result: Detections) -> dict[str, Any]:
        return {"detections": records(result)}

    def example(self, size: Sequence[int] | None = None, batch_size: int = 1) -> Example:
        """A list of images of one size, whose number a file does not leave open."""
        height, width = (480, 640) if size is None else self.check_size(size, ("height", "width"))
        images = list(example_images(self.preprocess, batch_size, height, width))
        return Example((images,), dynamic=({2: "height", 3: "width"},))

    def check_truth(self, input: Image.Image, truth: Mapping[str, Any]) -> None:
        if "size" in truth and tuple(truth["size"]) != (input.height, input.width):
            height, width = truth["size"]
            raise ValueError(
                f"its annotations are of {width} x {height} pixels, and it has {input.width} x {input.height}"
            )
        boxes = truth["boxes"]
        # Published boxes reach over the edge by a fraction of a pixel.
        edge = torch.tensor([input.width, input.height, input.width, input.height]) + 1
        outside = ((boxes < -1) | (boxes > edge)).any(dim=1).nonzero().flatten().tolist()
        if outside:
            corners = ", ".join(f"{side:g}" for side in boxes[outside[0]].tolist())
            raise ValueError(f"the box {corners} lies outside the image of {input.width} x {input.height} pixels")

    def score(self) -> Score[Detections]:
        """COCO's figures: all of them where pycocotools is installed, or else the averages of boxes and masks."""
        return CocoScore() if find_spec("pycocotools") else DetectionScore()

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """COCO, Pascal VOC or YOLO; see :func:`~zoo_detection.data.open_detection_data`."""
        return open_detection_data(folder, self.labels, split or "val", annotations)

    def labels_in(self, folder: Path, split: str | None = None) -> tuple[str, ...] | None:
        """The background and the categories of COCO's JSON, or the classes that YOLO's data has a list of."""
        return labels_in(folder, split or "val")

    def training(self, recipe: Recipe) -> "DetectionTraining":
        """Augmentation with boxes, masks and keypoints moving along; the losses of the detector itself."""
        from zoo_detection.training import DetectionTraining

        return DetectionTraining(self, recipe)


class DetectionScore(Score[Detections]):
    """COCO's average precision of boxes, ``box_map``, and of masks, ``mask_map``, where there are any, in percent."""

    def __init__(self) -> None:
        super().__init__()
        self._boxes = AveragePrecision("boxes")
        self._masks: AveragePrecision | None = None

    def contribution(self, result: Detections, truth: Mapping[str, Tensor]) -> dict[str, Any]:
        """How the detections of one image match its objects.

        Args:
            result: what was found on the image.
            truth: ``boxes`` (Tensor[M, 4], ``x1, y1, x2, y2``) and ``labels`` (int64 Tensor[M]) of its objects; also
                ``masks`` (bool Tensor[M, H, W]) and ``iscrowd`` (Tensor[M]) where there are any.

        Returns:
            ``boxes``, and ``masks`` where there are any; see
            :meth:`~zoo_detection.average_precision.AveragePrecision.contribution`.

        Raises:
            ValueError: ``boxes`` or ``labels`` are missing, or their numbers differ.
        """
        found = {"boxes": result.boxes, "labels": result.classes, "scores": result.scores}
        contribution = {"boxes": self._boxes.contribution(found, truth)}
        if result.masks is not None and "masks" in truth:
            masks = result.masks.full() if isinstance(result.masks, MaskCrops) else result.masks
            contribution["masks"] = AveragePrecision("masks").contribution(found | {"masks": masks}, truth)
        return contribution

    def _add(self, index: int, contribution: Mapping[str, Any]) -> None:
        self._boxes.add(index, contribution["boxes"])
        if "masks" in contribution:
            self._masks = AveragePrecision("masks") if self._masks is None else self._masks
            self._masks.add(index, contribution["masks"])

    def _merge(self, other: Self) -> None:
        self._boxes.merge(other._boxes)
        if other._masks is not None:
            self._masks = AveragePrecision("masks") if self._masks is None else self._masks
            self._masks.merge(other._masks)

    def compute(self) -> dict[str, float]:
        scores = {f"box_{name}": value for name, value in self._boxes.compute().items()}
        if self._masks is not None:
            scores |= {f"mask_{name}": value for name, value in self._masks.compute().items()}
        return scores
