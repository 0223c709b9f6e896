"""COCO's formats of results: https://cocodataset.org/#format-results."""

from typing import Any

import torch
from torch import Tensor

from zoo_detection.detections import Detections
from zoo_detection.mask_crops import MaskCrops

__all__ = ["coco_results", "records", "run_lengths"]


def records(detections: Detections) -> list[dict[str, Any]]:
    """Detections as plain data, best first.

    Each has the ``index`` and the ``label`` of its class, and in COCO's form ``bbox`` (``x, y, width, height`` in
    pixels), ``score``, ``segmentation`` (see :func:`run_lengths`) and ``keypoints`` (``x, y, v`` of one after the
    other, ``v`` being 1 if it is likely there and 0 if not), where there are masks and keypoints.
    """
    return [_record(detections, position) for position in range(len(detections))]


def coco_results(detections: Detections, image_id: int) -> list[dict[str, Any]]:
    """Detections in the form that COCO's evaluation reads: those of all images, in one list, make a file of results.

    Args:
        detections: what was found on the image. The index of a class is COCO's ``category_id``, as in all published
            weights.
        image_id: the image's number in COCO's annotations.
    """
    found = []
    for record in records(detections):
        index = record.pop("index")
        record.pop("label")
        found.append({"image_id": image_id, "category_id": index, **record})
    return found


def _record(detections: Detections, position: int) -> dict[str, Any]:
    x1, y1, x2, y2 = detections.boxes[position].tolist()
    index = int(detections.classes[position])
    record: dict[str, Any] = {
        "index": index,
        "label": detections.label(index),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": float(detections.scores[position]),
    }
    if detections.masks is not None:
        masks = detections.masks
        of_mask = masks.run_lengths(position) if isinstance(masks, MaskCrops) else run_lengths(masks[position])
        record["segmentation"] = of_mask
    if detections.keypoints is not None:
        scores = detections.keypoint_scores
        record["keypoints"] = [
            value
            for joint, (x, y) in enumerate(detections.keypoints[position].tolist())
            for value in (x, y, 1 if scores is None or scores[position, joint] > 0 else 0)
        ]
    return record


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding.

    Column by column, the mask below is 0 0, 1 1, 1 0: two zeros, three ones, a zero.

    >>> run_lengths(torch.tensor([[False, True, True], [False, True, False]]))
    {'size': [2, 3], 'counts': [2, 3, 1]}

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
