"""Int8 image classification: as any other, but for what ``task.toml`` declares."""

from typing import NoReturn

from zoo_classification.task import ImageClassificationTask
from zoo_core.training.recipes import Recipe

__all__ = ["QuantizedClassificationTask"]


class QuantizedClassificationTask(ImageClassificationTask):
    """Finds the ``topk`` most likely labels of each image."""

    def training(self, recipe: Recipe) -> NoReturn:
        """Not there: int8 layers have no gradients."""
        raise ValueError(
            f"int8 models are not trained; train {self.spec.name} of zoo-classification, and quantize the result"
        )
