"""Semantic segmentation: which parts of an image show what."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from zoo_core.catalog.labels import is_background
from zoo_core.data import Dataset
from zoo_core.drawing import class_color, draw_labels, enlarged, overlay_labels, paint_classes
from zoo_core.graphs import Example
from zoo_core.tasks import Sample, Score, Task
from zoo_core.training.recipes import Recipe
from zoo_segmentation.data import open_segmentation_data
from zoo_segmentation.masks import read_mask, write_mask
from zoo_segmentation.metrics import ConfusionMatrix

if TYPE_CHECKING:
    from zoo_segmentation.training import SegmentationTraining

__all__ = ["Segmentation", "SegmentationScore", "SemanticSegmentationTask", "labels_at_size"]

# Images are enlarged until their shorter side has some hundred pixels, whatever the other gets.
_MAX_ASPECT_RATIO = 64
_MAX_PAINTED = 254  # classes of one image; the smallest are left out


@dataclass(frozen=True)
class Segmentation:
    """What a model makes of one image.

    Args:
        mask: class of each pixel of the image, Tensor[H, W] on the CPU: uint8, or int32 for more than 256 classes.
        labels: name of each class.
    """

    mask: Tensor
    labels: Sequence[str]

    def shares(self) -> list[tuple[int, str, float]]:
        """The classes that are there, largest first: index, label, and share of the image in (0, 1]."""
        counts = torch.bincount(self.mask.flatten(), minlength=len(self.labels))
        present = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]]
        return [(index, self.labels[index], int(counts[index]) / self.mask.numel()) for index in present]


class SemanticSegmentationTask(Task[Image.Image, Segmentation]):
    """Finds the class of each pixel; paints the classes over the image, with a legend."""

    def prepare(self, input: Image.Image) -> Sample:
        short, long = sorted(input.size)
        if long > _MAX_ASPECT_RATIO * short:
            raise ValueError(
                f"too long and thin ({input.width}x{input.height}): one side may be {_MAX_ASPECT_RATIO} "
                f"times as long as the other, or it would not fit in memory at the model's size; cut it into pieces"
            )
        return super().prepare(input)

    def result(self, output: Mapping[str, Tensor], input: Image.Image) -> Segmentation:
        scores = output["out"]
        mask = labels_at_size(scores, (input.height, input.width))
        return Segmentation(mask.cpu(), self.labels_for(len(scores)))

    def describe(self, result: Segmentation) -> list[str]:
        return [f"{_percentage(share):>6}  {_plain(label)}" for _, label, share in result.shares()]

    def draw(self, input: Image.Image, result: Segmentation) -> Image.Image:
        image = enlarged(input)
        scale = image.width // input.width
        classes = result.mask if scale == 1 else result.mask.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        found = result.shares()
        return draw_labels(
            self._paint(image, classes, result),
            [(_plain(label), share) for _, label, share in found],
            colors=[_color(index, label) for index, label, _ in found],
        )

    def draw_frame(self, input: Image.Image, result: Segmentation) -> Image.Image:
        """The classes painted over the frame, and a legend in its corner, in an order that does not change."""
        found = [share for share in sorted(result.shares()) if not is_background(share[1])]
        return overlay_labels(
            self._paint(input, result.mask, result),
            [_plain(label) for _, label, _ in found],
            colors=[_color(index, label) for index, label, _ in found],
        )

    def _paint(self, image: Image.Image, classes: Tensor, result: Segmentation) -> Image.Image:
        painted = [(index, label) for index, label, _ in result.shares() if not is_background(label)]
        return paint_classes(image, classes, {index: _color(index, label) for index, label in painted[:_MAX_PAINTED]})

    def files(self, result: Segmentation) -> Mapping[str, Callable[[Path], None]]:
        return {".mask.png": lambda path: write_mask(result.mask, path)} if self.options["mask"] else {}

    def record(self, result: Segmentation) -> dict[str, Any]:
        return {
            "classes": [{"index": index, "label": label, "share": share} for index, label, share in result.shares()]
        }

    def example(self, size: Sequence[int] | None = None, batch_size: int = 1) -> Example:
        """As of other images; what the models call ``out`` is ``logits`` in a file."""
        found = super().example(size, batch_size)
        return dataclasses.replace(found, renamed={"out": "logits", "aux": "aux_logits"})

    def check_truth(self, input: Image.Image, truth: Tensor) -> None:
        if tuple(truth.shape) != (input.height, input.width):
            raise ValueError(f"the mask has {_size(truth)} pixels, and the image {input.width} x {input.height}")

    def score(self) -> "SegmentationScore":
        return SegmentationScore()

    def samples(self, folder: Path, split: str | None = None, annotations: Path | None = None) -> Dataset:
        """Pascal VOC, pairs of folders, or COCO; see :func:`~zoo_segmentation.data.open_segmentation_data`."""
        return open_segmentation_data(folder, self.labels, split or "val", annotations)

    def training(self, recipe: Recipe) -> "SegmentationTraining":
        """Random sizes, crops and flips; cross-entropy of each pixel."""
        from zoo_segmentation.training import SegmentationTraining

        return SegmentationTraining(self, recipe)


def labels_at_size(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The best class of each pixel, when scores are interpolated to another size.

    Holds the enlarged scores of two classes at a time, not those of all.

    Args:
        scores: Tensor[C, h, w] of a floating dtype.
        size: height and width of the result.

    Returns:
        uint8 Tensor[height, width], or int32 for more than 256 classes. Of equal classes the first wins.
    """
    dtype = torch.uint8 if len(scores) <= 256 else torch.int32
    if scores.shape[1:] == size:
        return scores.argmax(dim=0).to(dtype)
    labels = torch.zeros(size, dtype=dtype, device=scores.device)
    best: Tensor | None = None
    for index, plane in enumerate(scores):
        enlarged = F.interpolate(plane[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        if best is None:
            best = enlarged
        else:
            labels.masked_fill_(enlarged > best, index)
            torch.maximum(best, enlarged, out=best)
    return labels


def _size(plane: Tensor) -> str:
    return f"{plane.shape[-1]} x {plane.shape[-2]}"


def _percentage(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def _color(index: int, label: str) -> tuple[int, int, int]:
    """Those of Pascal VOC, which the masks have, are too dark to paint with."""
    return (0, 0, 0) if is_background(label) else class_color(index)


def _plain(label: str) -> str:
    return label.strip("_")


class SegmentationScore(Score[Segmentation]):
    """Mean and per-class intersection over union, and the share of right pixels, in percent.

    Pixels whose true label is 255 (void) do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._matrix: ConfusionMatrix | None = None
        self._labels: Sequence[str] = ()

    def contribution(self, result: Segmentation, truth: Tensor | str | Path) -> dict[str, Any]:
        """How many pixels of which true class were given which one.

        Args:
            result: what the model made of the image.
            truth: the true class of each pixel: integers, Tensor[H, W], or an indexed or grey image file.

        Returns:
            ``labels`` of the classes, and ``pixels``: true class, predicted class and number, of each pair that occurs.

        Raises:
            ValueError: sizes differ, or a true label is no class; the message names the file.
            OSError: the file cannot be read.
        """
        matrix = ConfusionMatrix(len(result.labels))
        labels = truth if isinstance(truth, Tensor) else read_mask(truth)
        try:
            matrix.update(result.mask, labels)
        except ValueError as error:
            if isinstance(truth, Tensor):
                raise
            raise ValueError(f"{truth}: {error}") from error
        cells = matrix.matrix.nonzero()
        counts = matrix.matrix[cells[:, 0], cells[:, 1]]
        return {"labels": list(result.labels), "pixels": torch.column_stack((cells, counts)).tolist()}

    def _add(self, index: int, contribution: Mapping[str, Any]) -> None:
        labels = contribution["labels"]
        part = ConfusionMatrix(len(labels))
        for true, predicted, count in contribution["pixels"]:
            part.matrix[true, predicted] = count
        if self._matrix is None:
            self._matrix, self._labels = ConfusionMatrix(len(labels)), labels
        self._matrix.merge(part)

    def _merge(self, other: Self) -> None:
        if other._matrix is None:
            return
        if self._matrix is None:
            self._matrix, self._labels = ConfusionMatrix(other._matrix.num_classes), other._labels
        self._matrix.merge(other._matrix)

    def compute(self) -> dict[str, float]:
        """``"miou"``, ``"pixel_acc"``, and ``"iou (LABEL)"`` of each class that occurs."""
        if self._matrix is None:
            raise ValueError("no result was taken yet, so there is no score")
        scores = {"miou": 100 * self._matrix.mean_iou(), "pixel_acc": 100 * self._matrix.pixel_accuracy()}
        for label, iou in zip(self._labels, self._matrix.per_class_iou().tolist(), strict=True):
            if iou == iou:
                scores[f"iou ({label})"] = 100 * iou
        return scores
