"""Image classification on the command line: which labels fit a picture best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import nn

from zoo_core.classifying import Accuracy, Classification
from zoo_core.drawing import draw_labels
from zoo_core.images import open_image
from zoo_core.tasks import Option, Task
from zoo_core.weights import WeightsEnum

__all__ = ["Accuracy", "Classification", "ImageClassificationTask"]


class ImageClassificationTask(Task[Image.Image, Classification]):
    """Runs a classifier on pictures; shows the ``topk`` likeliest labels of each."""

    extra_options: ClassVar[tuple[Option, ...]] = (
        Option("--topk", int, 5, "How many labels to show for each picture.", minimum=1),
    )

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(model, weights, device, options)
        self._preprocess = weights.transforms()
        self._labels: Sequence[str] = weights.meta.get("categories") or ()

    def read(self, paths: tuple[Path, ...]) -> Image.Image:
        (path,) = paths
        return open_image(path)

    def run(self, inputs: Sequence[Image.Image]) -> list[Classification]:
        batch = torch.stack([self._preprocess(picture) for picture in inputs]).to(self.device)
        probabilities = self.model(batch).float().softmax(dim=1).cpu()
        if not probabilities.isfinite().all():
            raise ValueError(
                f"{self.weights} gave results that are no numbers; are the weights damaged? Try `zoo verify`"
            )
        labels = self._labels or [f"class {index}" for index in range(probabilities.shape[1])]
        return [Classification(row, labels) for row in probabilities]

    def describe(self, result: Classification) -> list[str]:
        return [f"{score:6.1%}  {label}" for _, label, score in result.top(self.options["topk"])]

    def save(self, input: Image.Image, result: Classification, directory: Path, stem: str) -> list[Path]:
        path = directory / f"{stem}.png"
        lines = [(label, score) for _, label, score in result.top(self.options["topk"])]
        draw_labels(input, lines).save(path)
        return [path]

    def to_json(self, result: Classification) -> dict[str, Any]:
        top = result.top(self.options["topk"])
        return {"labels": [{"index": index, "label": label, "score": score} for index, label, score in top]}

    def score(self) -> "Accuracy":
        return Accuracy()
