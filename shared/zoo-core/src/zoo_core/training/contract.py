"""The contract between the loop and a task that can be trained."""

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from zoo_core.specs import names_file
from zoo_core.training.recipes import Recipe, RecipeError

if TYPE_CHECKING:
    from zoo_core.engines import EagerEngine
    from zoo_core.tasks import Sample, Task

__all__ = ["IMAGE_KEYS", "LOOP_KEYS", "Batch", "Training"]


@dataclass(frozen=True)
class Batch:
    """What one process trains on at a time.

    Args:
        content: tensors, or lists and dicts of them, as :meth:`Training.collate` made them.
        names: of the samples, for messages.
    """

    content: Any
    names: Sequence[str]


class Training(ABC):
    """What differs between tasks in training: augmentation, batches, the loss, groups of parameters.

    Has no model and no device, and can be pickled for worker processes. A task makes it in
    :meth:`zoo_core.tasks.Task.training`.

    Args:
        task: of the model, with the labels of the data set.
        recipe: how to train.

    Raises:
        RecipeError: the recipe sets a key that has no effect on this task.
    """

    keys: ClassVar[frozenset[str]] = frozenset()
    """The keys of the recipe that this training looks at, beside those of the loop."""

    def __init__(self, task: "Task[Any, Any]", recipe: Recipe) -> None:
        self.task = task
        self.recipe = recipe
        if idle := recipe.changed().keys() - self.keys - LOOP_KEYS:
            raise RecipeError(
                f"{', '.join(sorted(idle))}: no effect on the training of {task.declaration.title.lower()}; leave it "
                f"out of the recipe {recipe.name}"
            )

    @abstractmethod
    def sample(self, input: Any, truth: Any, rng: random.Random) -> Any:
        """Makes what the model is trained on from one sample. Called in workers.

        Args:
            input: as :meth:`zoo_core.tasks.Task.prepare` takes it.
            truth: as the data set has it.
            rng: what all randomness comes from. It is seeded for this sample in this epoch.

        Raises:
            ValueError: the sample cannot be used; the message says why.
        """

    @abstractmethod
    def collate(self, samples: Sequence[Any], rng: random.Random) -> Any:
        """Makes a batch of samples: tensors, or lists, tuples and dicts of such. Called in workers.

        Args:
            samples: what :meth:`sample` gave.
            rng: what the mixing of samples takes its randomness from.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The mean loss over a batch, a scalar.

        Args:
            model: in training mode; perhaps wrapped, so that it must be called, and called once.
            batch: as :meth:`collate` made it, on the model's device.
        """

    def validated(
        self, engine: "EagerEngine", samples: "Sequence[Sample]", truths: Sequence[Any]
    ) -> tuple[list[Any], list[float | None]]:
        """What the model makes of held-out samples, and their losses, from the same pass in eval mode.

        Args:
            engine: runs the model, ``engine.model``.
            samples: as the task prepares them.
            truths: theirs, as the data set has them.

        Returns:
            The outputs, as :meth:`zoo_core.tasks.Task.run` gives them, and the loss of each sample;
            ``None`` for a sample that has none.
        """
        outputs = self.task.run(engine, samples)
        return outputs, [self.validation_loss(output, truth) for output, truth in zip(outputs, truths, strict=True)]

    def validation_loss(self, output: Any, truth: Any) -> float | None:
        """The loss of one held-out sample, of what the model gives for it in eval mode; ``None`` where nothing says it.

        Args:
            output: as :meth:`zoo_core.tasks.Task.run` gives it.
            truth: as the data set has it.
        """
        return None

    def classes(self, truth: Any) -> Collection[int]:
        """The classes that a truth of the data set has, by number; empty for tasks without classes."""
        return ()

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The parameters that are trained, in groups as :mod:`torch.optim` takes them, by their weight decay."""
        from zoo_core.training.optimization import by_decay

        return by_decay(model, self.recipe)

    @property
    def devices(self) -> Collection[str] | None:
        """The types of device that the model can be trained on; ``None`` for any."""
        return self.task.declaration.devices

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model as it is trained, of the one that the builder has made, which may be changed."""
        return model

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:  # noqa: B027 - as a rule there is nothing to change
        """Changes the model as an epoch asks for. Called before its first step, and when a run goes on within it.

        Args:
            model: in training mode.
            epoch: from 0 on.
        """

    def finished(self, model: nn.Module) -> nn.Module:
        """The model in the form in which it is evaluated and used, or the model itself where that is the same.

        Args:
            model: as it is trained; stays as it is.
        """
        return model

    def building(self, *, from_scratch: bool) -> Mapping[str, Any]:
        """Arguments of the builder that training wants, beside the number of classes: which layers are trained, ...

        Args:
            from_scratch: whether the model gets fresh parameters.
        """
        return {}

    def published_backbone(self) -> Mapping[str, Any]:
        """The builder's argument for a backbone with published weights, where the recipe names some. Not for a file."""
        name = self.recipe.weights_backbone
        return {"weights_backbone": name} if name and not names_file(name) else {}

    def arguments(self, model: nn.Module) -> Mapping[str, Any]:
        """Arguments with which the builder makes a model of the same parameters, beside the number of classes."""
        return {}


IMAGE_KEYS = frozenset(
    {
        *("train_crop_size", "val_crop_size", "val_resize_size", "interpolation", "scale", "ratio", "hflip"),
        *(
            "color_jitter",
            "label_smoothing",
            "auto_augment",
            "ra_magnitude",
            "ra_num_ops",
            "augmix_severity",
            "random_erase",
        ),
        *("mixup_alpha", "cutmix_alpha"),
    }
)
"""The keys that are about images, and not about the loop."""

_OTHER_KEYS = frozenset(
    {
        *("base_size", "resize_scale", "aux_loss", "aux_lr_factor"),
        *("data_augmentation", "trainable_backbone_layers", "weights_backbone"),
        *("train_resize_size", "train_crop_mode", "crop_size", "min_scale", "max_scale", "gamma"),
        *("use_copypaste", "backend", "num_observer_update_epochs", "num_batch_norm_update_epochs"),
    }
)

LOOP_KEYS = frozenset(Recipe.settable()) - IMAGE_KEYS - _OTHER_KEYS
"""The keys that have an effect on every task."""
