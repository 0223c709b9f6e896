"""How far an exported file is from the model that it was made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Difference", "difference"]

# Detections of two runtimes are taken for the same if their boxes are this close, as a share of the image.
_SAME_BOX = 0.02
# Scores that differ in the last digits decide which of two boxes stays: so many may be others, as a share. Two that
# suppress each other lie close together; further apart than this, as a share of the image, they are not the same one.
_OTHERS = 0.05
_ANOTHER_BOX = 0.005


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output.

    Attributes:
        value: as a share of the output's largest magnitude; of detections, of scores and of boxes as a share of the
            image.
        output: which output it is.
        note: what else there is to say.
    """

    value: float
    output: str
    note: str = ""


def difference(found: Any, expected: Any, *, size: Sequence[int] = (), name: str = "output") -> Difference:
    """The largest difference of a model's results.

    Args:
        found: by the file.
        expected: by the model itself, of the same form.
        size: height and width of the images, for boxes.
        name: of the output.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or found.keys() != expected.keys():
            return Difference(math.inf, name, "the outputs have other names")
        if {"boxes", "scores", "labels"} <= expected.keys():
            return _of_detections(found, expected, size)
        return _worst([difference(found[key], value, size=size, name=key) for key, value in expected.items()])
    if isinstance(expected, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return Difference(math.inf, name, "there are more or fewer outputs")
        parts = zip(found, expected, strict=True)
        return _worst([difference(one, other, size=size, name=name) for one, other in parts])
    if found.shape != expected.shape:
        return Difference(math.inf, name, f"the shape is {list(found.shape)}, not {list(expected.shape)}")
    return Difference(_relative(found, expected), name)


def _worst(differences: Sequence[Difference]) -> Difference:
    return max(differences, key=lambda found: found.value, default=Difference(0.0, ""))


def _relative(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    if not expected.numel():
        return 0.0
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    if not bool(found.isfinite().all()):
        return 0.0 if bool((found == expected).all()) else math.inf
    largest = float((found - expected).abs().max())
    unit = scale if scale is not None else float(expected.abs().max())
    return largest / unit if unit else largest


def _of_detections(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], size: Sequence[int]) -> Difference:
    side = float(max(size or (1,)))
    units = {"boxes": side, "keypoints": side, "scores": 1.0, "masks": 1.0, "keypoints_scores": 10.0}
    pairs = _pairs(found, expected, side)
    count = max(len(found["scores"]), len(expected["scores"]))
    may_be_others = max(1, math.floor(_OTHERS * count))
    if (lone := count - len(pairs)) <= may_be_others:
        pairs = _without_furthest(pairs, found["boxes"].cpu(), expected["boxes"].cpu(), side, may_be_others - lone)
        lone = count - len(pairs)
    note = f"{lone} of {count} detections have no counterpart" if lone else f"{count} detections"
    if lone > may_be_others:
        return Difference(math.inf, "detections", note)
    if not pairs:
        return Difference(0.0, "detections", note)
    one, other = (torch.tensor(places) for places in zip(*pairs, strict=True))
    parts = [
        Difference(_relative(found[key].cpu()[one], value.cpu()[other], units.get(key)), key, note)
        for key, value in expected.items()
        if key != "labels"
    ]
    return _worst(parts)


def _without_furthest(
    pairs: list[tuple[int, int]], found: Tensor, expected: Tensor, side: float, most: int
) -> list[tuple[int, int]]:
    """The pairs without those whose boxes are not the same, of which the furthest apart, so many at most, are taken."""
    distances = {pair: float((found[pair[0]] - expected[pair[1]]).abs().max()) / side for pair in pairs}
    apart = sorted((pair for pair in pairs if distances[pair] > _ANOTHER_BOX), key=lambda pair: -distances[pair])
    return [pair for pair in pairs if pair not in apart[:most]]


def _pairs(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], side: float) -> list[tuple[int, int]]:
    """Places of detections with the same label in about the same place, the likeliest first."""
    if not len(found["scores"]) or not len(expected["scores"]):
        return []
    distances = (found["boxes"].cpu()[:, None] - expected["boxes"].cpu()[None]).abs().amax(dim=2) / side
    distances = distances + (found["scores"].cpu()[:, None] - expected["scores"].cpu()[None]).abs()
    distances[found["labels"].cpu()[:, None] != expected["labels"].cpu()[None]] = math.inf
    pairs = []
    for place in range(distances.shape[1]):
        closest = int(distances[:, place].argmin())
        if float(distances[closest, place]) < _SAME_BOX:
            pairs.append((closest, place))
            distances[closest] = math.inf
    return pairs
