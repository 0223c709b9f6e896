"""How well predicted label maps agree with true ones."""

import torch
from torch import Tensor

__all__ = ["ConfusionMatrix"]


class ConfusionMatrix:
    """Counts, image by image, which class pixels have and which one was predicted.

    Four pixels, of which one does not count and one of class 0 was taken for class 1: of each class, one pixel of the
    two that have it or were given it is both.

    >>> matrix = ConfusionMatrix(2)
    >>> matrix.update(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 0], [1, 255]]))
    >>> matrix.matrix
    tensor([[1, 1],
            [0, 1]])
    >>> matrix.per_class_iou()
    tensor([0.5000, 0.5000], dtype=torch.float64)

    Args:
        num_classes: number of classes, the background included.
        ignore_index: true label of pixels that do not count (the void label of Pascal VOC is 255); ``None`` for none.

    Raises:
        ValueError: ``num_classes`` is less than 1.

    Attributes:
        matrix: int64 Tensor[num_classes, num_classes] on the CPU: pixels by true class (row) and predicted class
            (column). :meth:`merge` adds up those of parts of a data set.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Counts the pixels of one label map or of a batch of them.

        Args:
            prediction: predicted classes, Tensor[..., H, W] of integers.
            target: true classes, of the same shape.

        Raises:
            ValueError: the shapes differ, or there is a label that is no class.
            TypeError: a tensor does not hold integers.
        """
        for name, labels in (("prediction", prediction), ("target", target)):
            if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
                hint = "; take scores.argmax(dim=1)" if name == "prediction" else ""
                raise TypeError(f"{name} must hold integers, the indices of classes, not {labels.dtype}{hint}")
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction and target must have the same shape, not {list(prediction.shape)} and "
                f"{list(target.shape)}; resize the prediction to the target"
            )
        predicted = prediction.flatten()
        true = target.flatten().to(prediction.device, torch.int64)
        if self.ignore_index is not None:
            counts = true != self.ignore_index
            predicted, true = predicted[counts], true[counts]
        self._check("prediction", predicted)
        self._check("target", true)
        cells = true * self.num_classes + predicted
        self.matrix += torch.bincount(cells, minlength=self.num_classes**2).view_as(self.matrix).cpu()

    def merge(self, other: "ConfusionMatrix") -> None:
        """Adds what another matrix counted, of other images. The sums are exact, so that the order does not matter.

        Raises:
            ValueError: the other one is of other classes, or ignores another label.
        """
        if (self.num_classes, self.ignore_index) != (other.num_classes, other.ignore_index):
            raise ValueError(
                f"a matrix of {self.num_classes} classes that ignores {self.ignore_index} cannot take one of "
                f"{other.num_classes} classes that ignores {other.ignore_index}"
            )
        self.matrix += other.matrix

    def _check(self, name: str, labels: Tensor) -> None:
        if not labels.numel():
            return
        low, high = (int(value) for value in labels.aminmax())
        if low < 0 or high >= self.num_classes:
            ignored = "" if self.ignore_index is None else f" ({self.ignore_index} is ignored in targets)"
            raise ValueError(
                f"{name} has the label {low if low < 0 else high}, but classes are numbered from 0 to "
                f"{self.num_classes - 1}{ignored}"
            )

    def per_class_iou(self) -> Tensor:
        """Intersection over union of each class, float64 Tensor[num_classes] in [0, 1].

        NaN for a class that occurs neither in targets nor in predictions.
        """
        hits = self.matrix.diagonal().double()
        return hits / (self.matrix.sum(dim=0) + self.matrix.sum(dim=1) - hits)

    def mean_iou(self) -> float:
        """Mean of :meth:`per_class_iou` over the classes that occur, in [0, 1].

        Raises:
            ValueError: no pixel was counted yet.
        """
        self._check_counted()
        return float(self.per_class_iou().nanmean())

    def pixel_accuracy(self) -> float:
        """Share of pixels whose class was predicted, in [0, 1].

        Raises:
            ValueError: no pixel was counted yet.
        """
        self._check_counted()
        return float(self.matrix.diagonal().sum() / self.matrix.sum())

    def _check_counted(self) -> None:
        if not self.matrix.any():
            raise ValueError("no pixel was counted yet, so there is no score; call update first")
