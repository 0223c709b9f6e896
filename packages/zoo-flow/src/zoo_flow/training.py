"""Training of optical flow: augmentation of pairs with their flow moving along, and the sequence loss."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.tasks import Task
from zoo_core.training.contract import Training
from zoo_core.training.recipes import Recipe, RecipeError
from zoo_core.training.transforms import Sample, pipelines
from zoo_flow.padding import Padding
from zoo_flow.raft import sequence_loss

__all__ = ["FlowTraining"]


class FlowTraining(Training):
    """Trains RAFT: colours, erased parts, scales and crops, flips. Pixels whose flow is not known do not count."""

    keys = frozenset({"crop_size", "min_scale", "max_scale", "hflip", "gamma"})

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        if len(recipe.crop_size) != 2 or any(side % 8 for side in recipe.crop_size):
            raise RecipeError(f"crop_size must be height and width, multiples of 8, not {list(recipe.crop_size)}")
        self.augment = pipelines.flow(
            crop_size=recipe.crop_size,
            min_scale=recipe.min_scale,
            max_scale=recipe.max_scale,
            do_flip=recipe.hflip > 0,
        )

    def sample(
        self, input: tuple[Image.Image, Image.Image], truth: Tensor, rng: random.Random
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both augmented images, float32 Tensor[3, H, W] in [-1, 1], and the flow, float32 Tensor[2, H, W]."""
        self.task.check_truth(input, truth)
        sample = self.augment(Sample(input[0], second=input[1], flow=truth), rng)
        assert isinstance(sample.image, Tensor)
        assert isinstance(sample.second, Tensor)
        assert sample.flow is not None
        return sample.image, sample.second, sample.flow

    def collate(
        self, samples: Sequence[tuple[Tensor, Tensor, Tensor]], rng: random.Random
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First and second images, Tensor[N, 3, H, W], and their flow, Tensor[N, 2, H, W], NaN where not known."""
        first, second, flow = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
        return first, second, flow

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The distance of all predictions from the truth, the later ones weighing more."""
        first, second, flow = batch
        known = flow.isfinite().all(dim=1)
        return sequence_loss(model(first, second), flow, known, gamma=self.recipe.gamma)

    def validation_loss(self, output: Sequence[Tensor], truth: Tensor) -> float:
        """The distance of the last prediction from the truth, where it is known."""
        predicted = Padding(*truth.shape[1:]).crop(output[-1]).float()
        flow = truth.to(predicted.device)
        return float(sequence_loss([predicted[None]], flow[None], flow.isfinite().all(dim=0)[None]))
