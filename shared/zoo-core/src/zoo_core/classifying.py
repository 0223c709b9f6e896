"""What classifiers of images and of videos say, and how good they are at it."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from zoo_core.tasks import Score

__all__ = ["Accuracy", "Classification"]


@dataclass(frozen=True)
class Classification:
    """What a classifier makes of one input.

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


Result = TypeVar("Result", bound=Classification)


class Accuracy(Score[Result]):
    """Share of inputs, in percent, whose true class is the likeliest (acc@1), or among the five likeliest (acc@5)."""

    def __init__(self) -> None:
        self._ranks: list[int] = []

    def update(self, result: Result, truth: int | str) -> None:
        """Takes one result.

        Args:
            result: what the classifier made of the input.
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
