"""Int8 classification on the command line: as for any classifier, on the CPU."""

from typing import ClassVar

from torch import nn

from zoo_classification.task import ImageClassificationTask
from zoo_core.registry import get_model
from zoo_core.weights import WeightsEnum

__all__ = ["QuantizedClassificationTask"]


class QuantizedClassificationTask(ImageClassificationTask):
    """Runs an int8 classifier on images; shows the ``topk`` likeliest labels of each."""

    device_types: ClassVar[frozenset[str] | None] = frozenset({"cpu"})
    samples: ClassVar[str | None] = "package:zoo_classification/samples"

    @classmethod
    def build(cls, name: str, weights: WeightsEnum) -> nn.Module:
        return get_model(name, weights=weights, quantize=True)
