"""Int8 image classification: as any other, but for what ``task.toml`` declares, and for training."""

import dataclasses
from typing import TYPE_CHECKING

from zoo_classification.task import ImageClassificationTask
from zoo_core import specs
from zoo_core.specs import ModelSpec
from zoo_core.training.recipes import Recipe

if TYPE_CHECKING:
    from zoo_quantized.training import QuantizationAwareTraining

__all__ = ["QuantizedClassificationTask"]


class QuantizedClassificationTask(ImageClassificationTask):
    """Finds the ``topk`` most likely labels of each image."""

    @classmethod
    def trained_from(cls, spec: ModelSpec) -> ModelSpec:
        """The float model: of a published int8 one, that which it was made from.

        Raises:
            ValueError: a file holds an int8 model.
        """
        if spec.arguments.get("quantize"):
            raise ValueError(
                f"{spec} is an int8 model, which cannot be trained; begin with the float model that it was made from"
            )
        if spec.weights is None:
            return spec
        floating = specs.find(spec.name.removeprefix("quantized_"), weights=spec.facts["unquantized"])
        return dataclasses.replace(spec, weights=None, file=floating.file, labels=floating.labels)

    def training(self, recipe: Recipe) -> "QuantizationAwareTraining":
        """As of float models, which see the rounding errors: int8 layers have no gradients."""
        from zoo_quantized.training import QuantizationAwareTraining

        return QuantizationAwareTraining(self, recipe)
