"""Where labels go: beside what they name, inside the image, and not over each other where that can be avoided."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["place_labels"]

# What a place costs, in the same unit: a step in the order of places costs 1.
_OVERLAP = 1000.0  # a label of the same size wholly covered
_COVERED = 60.0  # a box wholly covered
_ASTRAY = 8.0  # a label wholly in a box that it is not of, and that its own box is not in
_LEVELS = 4  # how many labels may be stacked above or below a box


def place_labels(boxes: Sequence[Sequence[float]], sizes: Sequence[tuple[int, int]], bounds: tuple[int, int]) -> Tensor:
    """Finds a place for the label of each box.

    The places of a label are, in this order, above its box, inside its upper edge, below it, inside its lower edge,
    each at its left and at its right end, then beside it, then farther above and below; all shifted into the image.
    The cheapest is taken: it costs most to lie over another label, less to cover a box, the more of it the worse (so
    a label does not lie in a small box, or on a small neighbour), less to lie in another box, where the label seems to
    be that one's, and least to be late in the order.

    >>> place_labels([(10, 30, 60, 80)], [(40, 12)], (100, 100)).tolist()
    [[10, 18, 50, 30]]
    >>> place_labels([(10, 0, 60, 80)], [(40, 12)], (100, 100)).tolist()  # no room above
    [[10, 0, 50, 12]]

    Args:
        boxes: ``(x1, y1, x2, y2)`` in pixels, the best first: they choose first.
        sizes: width and height of each label, in pixels.
        bounds: width and height of the image.

    Returns:
        int64 Tensor[N, 4], ``(x1, y1, x2, y2)`` of each label, inside the image unless it is larger than that.
    """
    targets = torch.tensor([[float(side) for side in box] for box in boxes]).reshape(-1, 4)
    width, height = bounds
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    targets = targets.clamp(min=torch.zeros(4), max=limits)
    areas = ((targets[:, 2] - targets[:, 0]) * (targets[:, 3] - targets[:, 1])).clamp(min=1)
    placed = torch.zeros(len(targets), 4)
    for index, ((x1, y1, x2, y2), (w, h)) in enumerate(zip(targets.tolist(), sizes, strict=True)):
        # Left over from where boxes and letters end: whole pixels, so that lines and labels meet.
        places = torch.tensor(_places(round(x1), round(y1), round(x2), round(y2), w, h), dtype=torch.float32)
        left = places[:, 0].clamp(max=float(width - w)).clamp(min=0)
        top = places[:, 1].clamp(max=float(height - h)).clamp(min=0)
        candidates = torch.stack((left, top, left + w, top + h), 1)
        costs = torch.arange(len(places), dtype=torch.float32)
        costs += _OVERLAP * _overlaps(candidates, placed[:index]).sum(1) / max(w * h, 1)
        covered = _overlaps(candidates, targets)
        costs += _COVERED * (covered / areas).square().sum(1)
        outside = 1 - _overlaps(targets[index, None], targets)[0] / areas[index]
        costs += _ASTRAY * (covered * outside).sum(1) / max(w * h, 1)
        placed[index] = candidates[costs.argmin()]
    return placed.to(torch.int64)


def _places(x1: int, y1: int, x2: int, y2: int, w: int, h: int) -> list[tuple[int, int]]:
    """Upper left corners of a label's places around a box."""
    above, below = y1 - h, y2
    left, right = x1, x2 - w
    places = [
        *((left, above), (left, y1), (right, above), (right, y1)),
        *((left, below), (left, y2 - h), (right, below), (right, y2 - h)),
        *((x2, y1), (x1 - w, y1), (x2, y2 - h), (x1 - w, y2 - h)),
    ]
    for level in range(1, _LEVELS):
        places += [(left, above - level * h), (left, below + level * h), (left, y1 + level * h)]
        places += [(right, above - level * h), (right, below + level * h), (right, y1 + level * h)]
    return places


def _overlaps(first: Tensor, second: Tensor) -> Tensor:
    """The area that boxes Tensor[N, 4] and Tensor[M, 4] share, Tensor[N, M]."""
    corner = torch.maximum(first[:, None, :2], second[None, :, :2])
    opposite = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    return (opposite - corner).clamp(min=0).prod(2)
