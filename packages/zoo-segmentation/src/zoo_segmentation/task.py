"""Semantic segmentation on the command line: which parts of a picture show what."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo_core.drawing import draw_labels, draw_segmentation_masks
from zoo_core.images import open_image, pil_to_tensor
from zoo_core.registry import get_model_builder
from zoo_core.tasks import Option, Score, Task
from zoo_core.weights import WeightsEnum
from zoo_segmentation.masks import pascal_palette, read_mask, write_mask
from zoo_segmentation.metrics import ConfusionMatrix

__all__ = ["Segmentation", "SegmentationScore", "SemanticSegmentationTask", "labels_at_size"]

# The name of what is none of the classes; it is left unpainted.
BACKGROUND = "__background__"
# Pictures are enlarged until their shorter side has some hundred pixels, whatever the other gets.
_MAX_ASPECT_RATIO = 64


@dataclass(frozen=True)
class Segmentation:
    """What a model makes of one picture.

    Args:
        mask: class of each pixel of the picture, Tensor[H, W] on the CPU: uint8, or int32 for more than 256 classes.
        labels: name of each class.
    """

    mask: Tensor
    labels: Sequence[str]

    def shares(self) -> list[tuple[int, str, float]]:
        """The classes that are there, largest first: index, label, and share of the picture in (0, 1]."""
        counts = torch.bincount(self.mask.flatten(), minlength=len(self.labels))
        present = [index for index in counts.argsort(descending=True, stable=True).tolist() if counts[index]]
        return [(index, self.labels[index], int(counts[index]) / self.mask.numel()) for index in present]


class SemanticSegmentationTask(Task[Image.Image, Segmentation]):
    """Finds the class of each pixel; paints the classes over the picture, with a legend."""

    batch_size: ClassVar[int] = 4
    extra_options: ClassVar[tuple[Option, ...]] = (
        Option("--mask", bool, False, "Also write the classes as an indexed PNG file, in the colours of Pascal VOC."),
    )

    @classmethod
    def build(cls, name: str, weights: WeightsEnum) -> nn.Module:
        builder = get_model_builder(name)
        # The scores of the auxiliary classifier are for training only.
        unneeded = {"aux_loss": False} if "aux_loss" in inspect.signature(builder).parameters else {}
        return builder(weights=weights, **unneeded)

    def __init__(
        self, model: nn.Module, weights: WeightsEnum, device: torch.device, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, weights, device, options)
        self._preprocess = weights.transforms()
        self._labels: Sequence[str] = weights.meta.get("categories") or ()

    def read(self, paths: tuple[Path, ...]) -> Image.Image:
        (path,) = paths
        picture = open_image(path)
        short, long = sorted(picture.size)
        if long > _MAX_ASPECT_RATIO * short:
            raise ValueError(
                f"{path}: too long and thin ({picture.width}x{picture.height}): one side may be {_MAX_ASPECT_RATIO} "
                f"times as long as the other, or it would not fit in memory at the model's size; cut it into pieces"
            )
        return picture

    def run(self, inputs: Sequence[Image.Image]) -> list[Segmentation]:
        images = [self._preprocess(picture) for picture in inputs]
        results: list[Segmentation | None] = [None] * len(images)
        # Pictures of one size run together.
        for shape in dict.fromkeys(image.shape for image in images):
            positions = [position for position, image in enumerate(images) if image.shape == shape]
            scores = self.model(torch.stack([images[position] for position in positions]).to(self.device))["out"]
            # NaN is the least and the greatest of numbers that hold one; isfinite() would take copies of all of them.
            if not all(bool(extreme.isfinite()) for extreme in scores.aminmax()):
                raise ValueError(
                    f"{self.weights} gave results that are no numbers; are the weights damaged? Try `zoo verify`"
                )
            labels = self._labels or [f"class {index}" for index in range(scores.shape[1])]
            for position, picture_scores in zip(positions, scores, strict=True):
                picture = inputs[position]
                mask = labels_at_size(picture_scores, (picture.height, picture.width))
                results[position] = Segmentation(mask.cpu(), labels)
        return [result for result in results if result is not None]

    def describe(self, result: Segmentation) -> list[str]:
        return [f"{_percentage(share):>6}  {_plain(label)}" for _, label, share in result.shares()]

    def save(self, input: Image.Image, result: Segmentation, directory: Path, stem: str) -> list[Path]:
        found = result.shares()
        colors = pascal_palette(len(result.labels))
        painted = [index for index, label, _ in found if label != BACKGROUND]
        overlay: Tensor | Image.Image = input
        if painted:
            masks = torch.stack([result.mask == index for index in painted])
            overlay = draw_segmentation_masks(
                pil_to_tensor(input), masks, alpha=0.6, colors=[colors[index] for index in painted]
            )
        legend = draw_labels(
            overlay,
            [(_plain(label), share) for _, label, share in found],
            colors=[colors[index] for index, _, _ in found],
        )
        paths = [directory / f"{stem}.png"]
        legend.save(paths[0])
        if self.options["mask"]:
            paths.append(directory / f"{stem}.mask.png")
            write_mask(result.mask, paths[1])
        return paths

    def to_json(self, result: Segmentation) -> dict[str, Any]:
        return {
            "classes": [{"index": index, "label": label, "share": share} for index, label, share in result.shares()]
        }

    def score(self) -> "SegmentationScore":
        return SegmentationScore()


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


def _percentage(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def _plain(label: str) -> str:
    return label.strip("_")


class SegmentationScore(Score[Segmentation]):
    """Mean and per-class intersection over union, and the share of right pixels, in percent.

    Pixels whose true label is 255 (void) do not count.
    """

    def __init__(self) -> None:
        self._matrix: ConfusionMatrix | None = None
        self._labels: Sequence[str] = ()

    def update(self, result: Segmentation, truth: Tensor | str | Path) -> None:
        """Takes one result.

        Args:
            result: what the model made of the picture.
            truth: the true class of each pixel: whole numbers, Tensor[H, W], or an indexed or grey picture file.

        Raises:
            ValueError: sizes differ, or a true label is no class; the message names the file.
            OSError: the file cannot be read.
        """
        if self._matrix is None:
            self._matrix, self._labels = ConfusionMatrix(len(result.labels)), result.labels
        if isinstance(truth, Tensor):
            self._matrix.update(result.mask, truth)
            return
        labels = read_mask(truth)
        try:
            self._matrix.update(result.mask, labels)
        except ValueError as error:
            raise ValueError(f"{truth}: {error}") from error

    def compute(self) -> dict[str, float]:
        """``"miou"``, ``"pixel_acc"``, and ``"iou (LABEL)"`` of each class that occurs."""
        if self._matrix is None:
            raise ValueError("no result was taken yet, so there is no score")
        scores = {"miou": 100 * self._matrix.mean_iou(), "pixel_acc": 100 * self._matrix.pixel_accuracy()}
        for label, iou in zip(self._labels, self._matrix.per_class_iou().tolist(), strict=True):
            if iou == iou:
                scores[f"iou ({label})"] = 100 * iou
        return scores
