"""What classifiers of images and of videos say, and how good they are at it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from torch import Tensor

from zoo_core.tasks import Score

__all__ = ["Accuracy", "Classification"]


@dataclass(frozen=True, repr=False)
class Classification:
    """What a classifier makes of one input.

    Args:
        probabilities: float32 Tensor[num_classes] on the CPU, in [0, 1], of sum 1.
        labels: name of each class.
    """

    probabilities: Tensor
    labels: Sequence[str]

    def __repr__(self) -> str:
        """The three best classes, since a thousand would fill the screen: ``Classification('cock' 93.1%, ...)``."""
        best = ", ".join(f"{label!r} {score:.1%}" for _, label, score in self.top(3))
        return f"{type(self).__name__}({best}{', ...' if len(self.probabilities) > 3 else ''})"

    def top(self, count: int) -> list[tuple[int, str, float]]:
        """The most likely classes, best first, at most ``count``: index, label, probability."""
        best = self.probabilities.topk(min(count, len(self.probabilities)))
        return [
            (index, self.labels[index], score)
            for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def record(self, count: int) -> list[dict[str, Any]]:
        """:meth:`top` as plain data: ``[{"index": 7, "label": "cock", "score": 0.93}, ...]``."""
        return [{"index": index, "label": label, "score": score} for index, label, score in self.top(count)]


Result = TypeVar("Result", bound=Classification)


class Accuracy(Score[Result]):
    """Share of inputs, in percent, whose true class is the most likely (acc@1), or among the five likeliest (acc@5)."""

    def __init__(self) -> None:
        super().__init__()
        self._right = dict.fromkeys((1, 5), 0)

    def contribution(self, result: Result, truth: int | str) -> dict[str, int]:
        """Which place the true class has among those of a result, from the likeliest on.

        Args:
            result: what the classifier made of the input.
            truth: the true class: its index, or its label. Where several classes have that label, any of them is right.

        Returns:
            ``{"rank": 0}`` for the likeliest.

        Raises:
            ValueError: there is no such class.
        """
        count = len(result.probabilities)
        if isinstance(truth, str):
            right = {number for number, label in enumerate(result.labels) if label == truth}
            if not right:
                near = difflib.get_close_matches(truth, result.labels, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"there is no class with the label {truth!r}{hint}")
        else:
            if not 0 <= truth < count:
                raise ValueError(f"there is no class {truth}: they are numbered from 0 to {count - 1}")
            right = {truth}
        order = result.probabilities.topk(count).indices.tolist()
        return {"rank": next(rank for rank, number in enumerate(order) if number in right)}

    def _add(self, index: int, contribution: Mapping[str, int]) -> None:
        for k in self._right:
            self._right[k] += contribution["rank"] < k

    def _merge(self, other: Self) -> None:
        for k in self._right:
            self._right[k] += other._right[k]

    def compute(self) -> dict[str, float]:
        """``{"acc@1": 91.2, "acc@5": 99.7}``, in percent; see :meth:`zoo_core.tasks.Score.compute`."""
        if not len(self):
            raise ValueError("no result was taken yet, so there is no accuracy")
        return {f"acc@{k}": 100 * count / len(self) for k, count in self._right.items()}
