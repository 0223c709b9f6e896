"""Image classification on the command line: which labels fit a picture best."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.drawing import draw_labels
from zoo_core.images import open_image
from zoo_core.tasks import Option, Score, Task
from zoo_core.weights import WeightsEnum

__all__ = ["Accuracy", "Classification", "ImageClassificationTask"]


@dataclass(frozen=True)
class Classification:
    """What a classifier makes of one picture.

    Args:
        probabilities: float32 Tensor[num_classes] on the CPU, in [0, 1], of sum 1.
        labels: name of each class.
    """

    probabilities: Tensor
    labels: Sequence[str]

    def top(self, count: int) -> list[tuple[int, str, float]]:
        """The likeliest classes, best first, at most ``count``: index, label, probability."""
        best = self.probabilities.topk(min(count, len(self.probabilities)))
        return [
            (index, self.labels[index], score)
            for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


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


class Accuracy(Score[Classification]):
    """Share of pictures, in percent, whose true class is the likeliest (acc@1), or among the five likeliest (acc@5)."""

    def __init__(self) -> None:
        self._ranks: list[int] = []

    def update(self, result: Classification, truth: int | str) -> None:
        """Takes one result.

        Args:
            result: what the classifier made of the picture.
            truth: the true class: its index, or its label. Where several classes have that label, any of them is right.

        Raises:
            ValueError: there is no such class.
        """
        count = len(result.probabilities)
        if isinstance(truth, str):
            right = {index for index, label in enumerate(result.labels) if label == truth}
            if not right:
                near = difflib.get_close_matches(truth, result.labels, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"there is no class with the label {truth!r}{hint}")
        else:
            if not 0 <= truth < count:
                raise ValueError(f"there is no class {truth}: they are numbered from 0 to {count - 1}")
            right = {truth}
        order = [index for index, _, _ in result.top(count)]
        self._ranks.append(next(rank for rank, index in enumerate(order) if index in right))

    def compute(self) -> dict[str, float]:
        if not self._ranks:
            raise ValueError("no result was taken yet, so there is no accuracy")
        return {f"acc@{k}": 100 * sum(rank < k for rank in self._ranks) / len(self._ranks) for k in (1, 5)}
