"""Int8 image classification: as any other, but for what ``task.toml`` declares."""

from zoo_classification.task import ImageClassificationTask

__all__ = ["QuantizedClassificationTask"]


class QuantizedClassificationTask(ImageClassificationTask):
    """Finds the ``topk`` most likely labels of each image."""
