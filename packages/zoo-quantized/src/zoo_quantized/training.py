"""Training of int8 classifiers, as float ones that see the rounding errors (quantization-aware training)."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo_classification.training import ClassificationTraining
from zoo_core.tasks import Task
from zoo_core.training.recipes import Recipe, RecipeError
from zoo_quantized.quantization import convert, freeze_batch_norms, freeze_ranges, prepare_qat

__all__ = ["QuantizationAwareTraining"]

# What half precision, averages and layers of other kinds would make of observed ranges is not known.
_EXCLUDED = ("amp", "model_ema", "sync_bn")


class QuantizationAwareTraining(ClassificationTraining):
    """Trains the float model with fake quantization of weights and outputs; int8 is what is evaluated and kept.

    In the end of training, the ranges of layers' outputs and the statistics of batch norms stay as they are, so that
    the parameters adapt to the rounding errors that the int8 model will have.
    """

    keys = ClassificationTraining.keys | {"backend", "num_observer_update_epochs", "num_batch_norm_update_epochs"}

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        if excluded := [key for key in _EXCLUDED if getattr(recipe, key)]:
            raise RecipeError(f"{', '.join(excluded)}: not for int8 models; leave it out of the recipe {recipe.name}")

    @property
    def devices(self) -> None:
        """Any: it is a float model until it is converted."""
        return None

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model with layers fused, and fake quantization in it."""
        return prepare_qat(model, backend=self.recipe.backend, inplace=True)

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Freezes batch norms, and then ranges, once they had their epochs."""
        if epoch >= self.recipe.num_batch_norm_update_epochs:
            freeze_batch_norms(model)
        if epoch >= self.recipe.num_observer_update_epochs:
            freeze_ranges(model)

    def finished(self, model: nn.Module) -> nn.Module:
        """The int8 model."""
        return convert(model)

    def arguments(self, model: nn.Module) -> Mapping[str, Any]:
        return {**super().arguments(model), "quantize": True, "backend": self.recipe.backend}
