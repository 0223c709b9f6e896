"""Average precision as the `COCO <https://cocodataset.org/#detection-eval>`__ evaluation defines it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_detection.ops import box_area, box_iou

__all__ = ["AveragePrecision"]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_DETECTIONS = 100  # of one class in one image
RECALL_POINTS = 101


@dataclass(frozen=True)
class _ClassInImage:
    """How the detections of one class in one image match its objects.

    image: its number. scores: Tensor[D], by decreasing score. matched, ignored: bool Tensor[10, D], at each threshold.
    objects: those that count.
    """

    image: int
    scores: Tensor
    matched: Tensor
    ignored: Tensor
    objects: int


class AveragePrecision:
    """Mean over classes and over the IoU thresholds 0.50, 0.55, ..., 0.95 of the area under the precision-recall curve.

    Precision is made to never rise with recall, and sampled at 101 recalls. Of each image and class, the 100 best
    detections count. Objects marked as a crowd may match any number of detections, which then count neither way.

    The figure does not depend on the order of the images, nor on how they were divided among several that were then
    merged: detections of equal score count in the order of their images' numbers.

    Two objects, and three detections of which the second is wrong: at recalls up to 0.5 the precision is 1, above it
    2/3. Of the 101 recalls, 51 are up to 0.5: (51 + 50 * 2/3) / 101 = 0.835.

    >>> average_precision = AveragePrecision()
    >>> objects = torch.tensor([[0.0, 0, 4, 4], [8, 8, 12, 12]])
    >>> found = torch.tensor([[0.0, 0, 4, 4], [0, 8, 4, 12], [8, 8, 12, 12]])
    >>> average_precision.update(
    ...     {"boxes": found, "labels": torch.tensor([1, 1, 1]), "scores": torch.tensor([0.9, 0.8, 0.7])},
    ...     {"boxes": objects, "labels": torch.tensor([1, 1])},
    ... )
    >>> round(average_precision.compute()["map"], 1)
    83.5

    Args:
        kind: ``"boxes"`` compares boxes, ``"masks"`` masks.

    Raises:
        ValueError: there is no such kind.
    """

    def __init__(self, kind: str = "boxes") -> None:
        if kind not in ("boxes", "masks"):
            raise ValueError(f"kind must be 'boxes' or 'masks', not {kind!r}")
        self.kind = kind
        self._images: dict[int, list[_ClassInImage]] = defaultdict(list)
        self._numbers: set[int] = set()

    def update(
        self, detections: Mapping[str, Tensor], truth: Mapping[str, Tensor], *, index: int | None = None
    ) -> None:
        """Takes the detections of one image and what is on it.

        Args:
            detections: ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2``) or ``masks`` (bool Tensor[N, H, W]), ``labels``
                (int64 Tensor[N]) and ``scores`` (Tensor[N]).
            truth: ``boxes`` or ``masks`` and ``labels`` of the objects, and ``iscrowd`` (Tensor[M]) where some are.
            index: the image's number, which tells it from all others; ``None`` for the next one that is free.

        Raises:
            ValueError: something is missing, the numbers of boxes (masks), labels and scores differ, or the image was
                taken already; nothing changes then.
        """
        if index is None:
            index = max(self._numbers, default=-1) + 1
        self._check_new(index)
        self.add(index, self.contribution(detections, truth))

    def contribution(self, detections: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """How the detections of one image match its objects, in plain data that JSON keeps as it is.

        Args:
            detections, truth: see :meth:`update`.

        Returns:
            For each class its ``label``, the number of ``objects`` that count, and by decreasing score the ``scores``
            of detections and at which thresholds each is ``matched`` or ``ignored``: bit 0 is the first threshold.

        Raises:
            ValueError: something is missing, or the numbers of boxes (masks), labels and scores differ.
        """
        self.check(detections, truth)
        crowd = truth.get("iscrowd", torch.zeros(len(truth["labels"]))).bool().cpu()
        found_labels, true_labels = detections["labels"].cpu(), truth["labels"].cpu()
        scores = detections["scores"].detach().cpu().double()
        classes = []
        for label in torch.cat((found_labels, true_labels)).unique().tolist():
            found, true = torch.where(found_labels == label)[0], torch.where(true_labels == label)[0]
            found = found[scores[found].argsort(descending=True, stable=True)][:MAX_DETECTIONS]
            overlap = self._overlap(detections[self.kind].cpu()[found], truth[self.kind].cpu()[true], crowd[true])
            matched, ignored = _match(overlap, crowd[true])
            classes.append(
                {
                    "label": label,
                    "objects": int((~crowd[true]).sum()),
                    "scores": scores[found].tolist(),
                    "matched": (matched.T.long() @ _BITS).tolist(),
                    "ignored": (ignored.T.long() @ _BITS).tolist(),
                }
            )
        return classes

    def add(self, index: int, contribution: Sequence[Mapping[str, Any]]) -> None:
        """Takes what :meth:`contribution` gave for one image.

        Raises:
            ValueError: the image was taken already; nothing changes then.
        """
        self._check_new(index)
        matches = {
            part["label"]: _ClassInImage(
                index,
                torch.tensor(part["scores"], dtype=torch.float64),
                _bits(part["matched"]),
                _bits(part["ignored"]),
                part["objects"],
            )
            for part in contribution
        }
        for label, match in matches.items():
            self._images[label].append(match)
        self._numbers.add(index)

    def _check_new(self, index: int) -> None:
        if index in self._numbers:
            raise ValueError(f"image {index} was taken already; each counts once")

    def check(self, detections: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> None:
        """Checks what :meth:`update` takes.

        Raises:
            ValueError: something is missing, or the numbers of boxes (masks), labels and scores differ.
        """
        for name, values, keys in (
            ("detections", detections, (self.kind, "labels", "scores")),
            ("truth", truth, (self.kind, "labels")),
        ):
            missing = [key for key in keys if key not in values]
            if missing:
                raise ValueError(f"the {name} have no {' and no '.join(missing)}")
            counts = {key: len(values[key]) for key in keys}
            if len(set(counts.values())) > 1:
                raise ValueError(f"the {name} have different numbers of {counts}")

    def merge(self, other: "AveragePrecision") -> None:
        """Takes what another one, over other images, has taken. That one stays as it is.

        Raises:
            ValueError: it compares something else, or both have taken the same image; nothing changes then.
        """
        if other.kind != self.kind:
            raise ValueError(f"average precision of {self.kind} cannot take that of {other.kind}")
        both = self._numbers & other._numbers
        if both:
            raise ValueError(f"{len(both)} images were taken twice, for instance {min(both)}; each counts once")
        for label, images in other._images.items():
            self._images[label] += images
        self._numbers |= other._numbers

    def _overlap(self, found: Tensor, true: Tensor, crowd: Tensor) -> Tensor:
        """IoU of each pair, Tensor[D, M]; of a crowd, the share of the detection that lies in it."""
        if self.kind == "boxes":
            found, true = found.double(), true.double()
            iou = box_iou(found, true)
            areas, true_areas = box_area(found), box_area(true)
        else:
            found, true = found.flatten(1).double(), true.flatten(1).double()
            both = found @ true.T
            areas, true_areas = found.sum(1), true.sum(1)
            iou = both / (areas[:, None] + true_areas - both)
        inter = iou * (areas[:, None] + true_areas) / (1 + iou)
        inside = inter / areas[:, None]
        return torch.where(crowd, inside, iou).nan_to_num(0.0)

    def per_class(self) -> dict[int, Tensor]:
        """Average precision of each class that has objects: at each of the ten thresholds, float64 Tensor[10]."""
        return {
            label: _area_under_curve(images)
            for label, images in sorted(self._images.items())
            if any(image.objects for image in images)
        }

    def compute(self) -> dict[str, float]:
        """``map`` (over all thresholds), ``map_50`` and ``map_75``, in percent.

        Raises:
            ValueError: nothing was taken yet, or there was no object on any image.
        """
        if not self._numbers:
            raise ValueError("no result was taken yet, so there is no average precision")
        classes = self.per_class()
        if not classes:
            raise ValueError("there was no object on any image, so there is no average precision")
        mean = 100 * torch.stack(list(classes.values())).mean(0)
        at = {threshold: float(value) for threshold, value in zip(IOU_THRESHOLDS, mean, strict=True)}
        return {"map": float(mean.mean()), "map_50": at[0.5], "map_75": at[0.75]}


_BITS = 2 ** torch.arange(len(IOU_THRESHOLDS))


def _bits(numbers: Sequence[int]) -> Tensor:
    """bool Tensor[10, D]: the bits of D numbers."""
    return torch.tensor(numbers, dtype=torch.int64) & _BITS[:, None] != 0


def _match(overlap: Tensor, crowd: Tensor) -> tuple[Tensor, Tensor]:
    """Each detection, from the best one on, takes the free object that it overlaps most.

    Returns:
        Which detections match an object, and which do not count, at each threshold: bool Tensor[10, D] each.
    """
    count, objects = overlap.shape
    thresholds = torch.tensor(IOU_THRESHOLDS, dtype=torch.float64)[:, None]
    free = torch.ones(len(IOU_THRESHOLDS), objects, dtype=torch.bool)
    matched = torch.zeros(len(IOU_THRESHOLDS), count, dtype=torch.bool)
    ignored = torch.zeros_like(matched)
    if objects:
        for index, row in enumerate(overlap):
            fits = (row >= thresholds - 1e-10) & free
            real, in_crowd = fits & ~crowd, fits & crowd
            best, taken = torch.where(real, row, -1.0).max(1)
            hit = best >= 0
            matched[hit, index] = True
            free[hit, taken[hit]] = False
            ignored[:, index] = ~hit & in_crowd.any(1)
    return matched, ignored


def _area_under_curve(images: list[_ClassInImage]) -> Tensor:
    images = sorted(images, key=lambda image: image.image)
    objects = sum(image.objects for image in images)
    order = torch.cat([image.scores for image in images]).argsort(descending=True, stable=True)
    matched = torch.cat([image.matched for image in images], 1)[:, order]
    ignored = torch.cat([image.ignored for image in images], 1)[:, order]
    right = matched.double().cumsum(1)
    wrong = (~matched & ~ignored).double().cumsum(1)
    recall = right / objects
    precision = right / (right + wrong).clamp(min=torch.finfo(torch.float64).eps)
    # The best precision at this recall or a greater one.
    precision = precision.flip(1).cummax(1).values.flip(1) if precision.shape[1] else precision
    points = torch.linspace(0, 1, RECALL_POINTS, dtype=torch.float64).expand(len(recall), -1).contiguous()
    place = torch.searchsorted(recall.contiguous(), points)
    padded = torch.cat((precision, precision.new_zeros(len(precision), 1)), 1)
    return padded.gather(1, place).mean(1)
