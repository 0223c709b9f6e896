"""COCO's own evaluation of boxes, masks and keypoints, by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor

from zoo_core.data.coco import compressed
from zoo_core.extras import require
from zoo_core.tasks import Score
from zoo_detection.average_precision import AveragePrecision
from zoo_detection.detections import Detections

__all__ = ["CocoScore"]

_AREAS = ("small", "medium", "large")
# In the order of COCOeval.stats.
_FIGURES = (
    *("map", "map_50", "map_75", *(f"map_{area}" for area in _AREAS)),
    *("mar_1", "mar_10", "mar_100", *(f"mar_{area}" for area in _AREAS)),
)
_KEYPOINT_FIGURES = (
    *("map", "map_50", "map_75", "map_medium", "map_large"),
    *("mar", "mar_50", "mar_75", "mar_medium", "mar_large"),
)
_KINDS = {"bbox": ("box", _FIGURES), "segm": ("mask", _FIGURES), "keypoints": ("kp", _KEYPOINT_FIGURES)}
_PERSON_KEYPOINTS = 17

_Image = dict[str, list[dict[str, Any]]]


class CocoScore(Score[Detections]):
    """The figures of COCO's evaluation, in percent: ``box_map``, ``box_map_50``, ..., ``box_mar_100``, ...; likewise
    ``mask_...`` and ``kp_...`` where results and truths have masks and keypoints.

    A figure over objects that do not occur, such as large ones, is left out.

    Raises:
        zoo_core.extras.MissingExtraError: pycocotools is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        _pycocotools("mask")
        self._images: dict[int, _Image] = {}

    def contribution(self, result: Detections, truth: Mapping[str, Any]) -> _Image:
        """The detections of one image and its objects, as pycocotools takes them.

        Args:
            result: what was found.
            truth: ``boxes`` (Tensor[M, 4], ``x1, y1, x2, y2``) and ``labels`` (int64 Tensor[M]) of its objects; where
                there are any, ``area`` and ``iscrowd`` (Tensor[M]), ``masks`` (bool Tensor[M, H, W]) or
                ``segmentations`` (polygons or run lengths, with ``size``: height and width) and ``keypoints``
                (Tensor[M, K, 3]).

        Returns:
            ``objects`` and ``found``, lists of COCO's objects; masks are run lengths, compressed.

        Raises:
            ValueError: ``boxes`` or ``labels`` are missing, their numbers differ, or the masks of objects have another
                size than those of detections, or keypoints another number.
        """
        found: dict[str, Any] = {"boxes": result.boxes, "labels": result.classes, "scores": result.scores}
        AveragePrecision("boxes").check(found, truth)
        if result.masks is not None and "masks" in truth:
            AveragePrecision("masks").check(found | {"masks": result.masks}, truth)
        _check_forms(result, truth)
        return {"objects": _objects(truth, result), "found": _found(result)}

    def _add(self, index: int, contribution: _Image) -> None:
        self._images[index] = {key: list(contribution[key]) for key in ("objects", "found")}

    def _merge(self, other: Self) -> None:
        self._images |= other._images

    def compute(self) -> dict[str, float]:
        if not self._images:
            raise ValueError("no result was taken yet, so there is no score")
        figures: dict[str, float] = {}
        for kind, (prefix, names) in _KINDS.items():
            if kind == "bbox" or self._has(kind):
                stats = self._evaluate(kind)
                # pycocotools says -1 where there is nothing to find.
                figures |= {f"{prefix}_{n}": 100 * float(v) for n, v in zip(names, stats, strict=True) if v > -1}
        return figures

    def _has(self, kind: str) -> bool:
        key = "segmentation" if kind == "segm" else "keypoints"
        return any(key in entry for image in self._images.values() for entry in image["objects"]) and any(
            key in entry for image in self._images.values() for entry in image["found"]
        )

    def _evaluate(self, kind: str) -> Any:
        numbers = sorted(self._images)
        objects = [
            {"id": 0, "image_id": number} | entry for number in numbers for entry in self._images[number]["objects"]
        ]
        for number, entry in enumerate(objects, 1):
            entry["id"] = number  # 0 would mean "no match"
        keep = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
        found = [
            {"image_id": number, "category_id": entry["category_id"], "score": entry["score"], keep: entry[keep]}
            for number in numbers
            for entry in self._images[number]["found"]
            if keep in entry
        ]
        if not found:
            return [0.0 if objects else -1.0] * len(_KINDS[kind][1])
        truth = _pycocotools("coco").COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": number} | _size(self._images[number]) for number in numbers],
            "categories": [{"id": label} for label in sorted({entry["category_id"] for entry in objects})],
            "annotations": objects,
        }
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
            truth.createIndex()
            evaluation = _pycocotools("cocoeval").COCOeval(truth, truth.loadRes(found), kind)
            if kind == "keypoints" and (count := len(found[0]["keypoints"]) // 3) != _PERSON_KEYPOINTS:
                # COCO measured how well people agree on a person's 17; of others nothing is known.
                evaluation.params.kpt_oks_sigmas = _library("numpy").full(count, 1 / count)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation.stats


def _pycocotools(module: str) -> ModuleType:
    return _library(f"pycocotools.{module}")


def _library(module: str) -> ModuleType:
    return require(module, extra="coco", purpose="to compute COCO's figures", distribution="zoo-detection")


def _check_forms(result: Detections, truth: Mapping[str, Any]) -> None:
    """Checks that masks have the size of those of objects, and keypoints their number."""
    if result.masks is not None and "segmentations" in truth:
        size = tuple(result.masks.shape[-2:])
        if tuple(truth["size"]) != size:
            raise ValueError(f"the masks of the objects are {truth['size']}, height and width, but the image is {size}")
        if lacking := [number for number, found in enumerate(truth["segmentations"], 1) if not found]:
            raise ValueError(f"object {lacking[0]} of the image has no segmentation, and others have one")
    if result.keypoints is not None and "keypoints" in truth:
        found, true = result.keypoints.shape[1], truth["keypoints"].shape[1]
        if found != true:
            raise ValueError(f"the objects have {true} keypoints each, and the model finds {found}")


def _objects(truth: Mapping[str, Any], result: Detections) -> list[dict[str, Any]]:
    """The objects, with the masks and keypoints of those that the model finds too."""
    boxes, labels = truth["boxes"].tolist(), truth["labels"].tolist()
    crowds = truth["iscrowd"].tolist() if "iscrowd" in truth else [0] * len(boxes)
    objects: list[dict[str, Any]] = []
    for index, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, labels, strict=True)):
        entry = {
            "category_id": label,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(truth["area"][index]) if "area" in truth else (x2 - x1) * (y2 - y1),
            "iscrowd": int(crowds[index]),
            "ignore": 0,
        }
        if result.masks is not None and "masks" in truth:
            entry["segmentation"] = _run_lengths(truth["masks"][index])
        elif result.masks is not None and "segmentations" in truth:
            entry["segmentation"] = _as_text(compressed(truth["segmentations"][index], truth["size"]))
        if result.keypoints is not None and "keypoints" in truth:
            points = truth["keypoints"][index]
            entry["keypoints"] = points.flatten().tolist()
            entry["num_keypoints"] = int((points[:, 2] > 0).sum())
        objects.append(entry)
    return objects


def _found(result: Detections) -> list[dict[str, Any]]:
    found = []
    for index, (x1, y1, x2, y2) in enumerate(result.boxes.tolist()):
        entry: dict[str, Any] = {
            "category_id": int(result.classes[index]),
            "score": float(result.scores[index]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        if result.masks is not None:
            entry["segmentation"] = _run_lengths(result.masks[index])
        if result.keypoints is not None:
            entry["keypoints"] = [value for x, y in result.keypoints[index].tolist() for value in (x, y, 1)]
        found.append(entry)
    return found


def _size(image: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """Height and width, which pycocotools asks for where there are masks: as these have them."""
    sizes = [entry["segmentation"]["size"] for part in image.values() for entry in part if "segmentation" in entry]
    return dict(zip(("height", "width"), sizes[0], strict=True)) if sizes else {}


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    # Column by column in memory, as Fortran has it.
    pixels = mask.to(torch.uint8).T.contiguous().T.numpy()
    return _as_text(_pycocotools("mask").encode(pixels))


def _as_text(encoded: Mapping[str, Any]) -> dict[str, Any]:
    """Compressed run lengths, which are ASCII, as JSON takes them."""
    counts = encoded["counts"]
    return {"size": list(encoded["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
