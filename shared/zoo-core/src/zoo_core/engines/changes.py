"""How far results in a lower precision are from those in float32."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Change", "largest_change"]


@dataclass(frozen=True)
class Change:
    """The largest change of a number among the outputs.

    Attributes:
        largest: how much it changed.
        of: the largest magnitude among the outputs.
        counts: how many detections there were and are, where results are detections.
    """

    largest: float
    of: float
    counts: tuple[int, int] | None = None

    def __str__(self) -> str:
        share = f" ({self.largest / self.of:.2%} of the largest)" if self.of else ""
        counts = f"; {self.counts[0]} detections became {self.counts[1]}" if self.counts else ""
        return f"the largest change of a score is {self.largest:.2g}{share}{counts}"


def largest_change(exact: Any, found: Any) -> Change:
    """Compares outputs of a model.

    Detections are compared by their scores, the best with the best: which of them stay, and in which order, hangs on
    small differences.

    Args:
        exact, found: what the model gives in float32 and in the other precision.
    """
    pairs = list(_pairs(exact, found))
    if not pairs:
        return Change(0.0, 0.0)
    largest, of, counts = 0.0, 0.0, None
    for wanted, got in pairs:
        if wanted.shape != got.shape:
            both = min(len(wanted), len(got))
            before = counts or (0, 0)
            counts = (before[0] + len(wanted), before[1] + len(got))
            wanted, got = wanted[:both], got[:both]
        if wanted.numel():
            largest = max(largest, float((wanted.double() - got.double()).abs().max()))
            of = max(of, float(wanted.double().abs().max()))
    return Change(largest, of, counts)


def _pairs(exact: Any, found: Any) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(exact, Mapping) and "scores" in exact:
        yield (
            torch.sort(exact["scores"].flatten(), descending=True).values,
            torch.sort(found["scores"].flatten(), descending=True).values,
        )
    elif isinstance(exact, Mapping):
        for key, value in exact.items():
            yield from _pairs(value, found[key])
    elif isinstance(exact, list | tuple):
        for one, other in zip(exact, found, strict=True):
            yield from _pairs(one, other)
    elif isinstance(exact, Tensor) and exact.is_floating_point():
        yield exact.detach(), found.detach()
