"""Image classification: which labels fit an image best."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from zoo_core.classifying import Accuracy, Classification
from zoo_core.data import ClassFolders, Dataset
from zoo_core.drawing import draw_labels, overlay_labels
from zoo_core.tasks import Task
from zoo_core.training.recipes import Recipe

if TYPE_CHECKING:
    from zoo_classification.training import ClassificationTraining

__all__ = ["Accuracy", "Classification", "ImageClassificationTask"]


class ImageClassificationTask(Task[Image.Image, Classification]):
    """Finds the ``topk`` most likely labels of each image."""

    def result(self, output: Tensor, input: Image.Image) -> Classification:
        probabilities = output.float().softmax(dim=0).cpu()
        return Classification(probabilities, self.labels_for(len(probabilities)))

    def describe(self, result: Classification) -> list[str]:
        return [f"{score:6.1%}  {label}" for _, label, score in result.top(self.options["topk"])]

    def draw(self, input: Image.Image, result: Classification) -> Image.Image:
        return draw_labels(input, [(label, score) for _, label, score in result.top(self.options["topk"])])

    def draw_frame(self, input: Image.Image, result: Classification) -> Image.Image:
        """The frame with the labels in its corner."""
        return overlay_labels(input, [(label, score) for _, label, score in result.top(self.options["topk"])])

    def record(self, result: Classification) -> dict[str, Any]:
        return {"labels": result.record(self.options["topk"])}

    def score(self) -> Accuracy[Classification]:
        return Accuracy()

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """A folder for each class, with or without a folder for each split above."""
        if annotations is not None:
            raise ValueError("annotations: of classifiers the folders are the classes, and there is no such file")
        return ClassFolders(folder, self.labels or None, self.declaration.suffixes, split or "val")

    def labels_in(self, folder: Path, split: str | None = None) -> tuple[str, ...]:
        """The names of the folders."""
        return tuple(ClassFolders(folder, None, self.declaration.suffixes, split or "val").labels)

    def training(self, recipe: Recipe) -> "ClassificationTraining":
        """Random crops, flips and a policy; cross-entropy of classes, or of mixtures of them."""
        from zoo_classification.training import ClassificationTraining

        return ClassificationTraining(self, recipe)
