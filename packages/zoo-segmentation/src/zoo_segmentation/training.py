"""Training of segmentation models: augmentation with the label map moving along, cross-entropy of each pixel."""

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.presets import SemanticSegmentation
from zoo_core.tasks import Task
from zoo_core.training.contract import Training
from zoo_core.training.optimization import apart, by_decay
from zoo_core.training.recipes import Recipe, RecipeError
from zoo_core.training.transforms import Sample, pipelines
from zoo_segmentation.losses import segmentation_losses
from zoo_segmentation.masks import VOID, read_mask

__all__ = ["SegmentationTraining"]

_CROP = 480
_AUXILIARY = "aux_classifier."


class SegmentationTraining(Training):
    """Trains segmentation models: random sizes and crops, flips, normalised tensors. Void pixels (255) do not count."""

    keys = frozenset(
        {
            *("train_crop_size", "val_resize_size", "base_size", "resize_scale", "hflip", "color_jitter"),
            *("label_smoothing", "aux_loss", "aux_lr_factor", "weights_backbone"),
        }
    )

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        preset = task.preprocess
        if not isinstance(preset, SemanticSegmentation):
            raise ValueError(f"{task.spec} has no preset SemanticSegmentation, which says how images are normalised")
        if len(recipe.resize_scale) != 2:
            raise RecipeError(f"resize_scale must be two numbers, not {list(recipe.resize_scale)}")
        self.augment = pipelines.segmentation(
            base_size=recipe.base_size,
            crop_size=recipe.train_crop_size or _CROP,
            scale=recipe.resize_scale,
            hflip_prob=recipe.hflip,
            color_jitter=recipe.color_jitter,
            mean=preset.mean,
            std=preset.std,
        )

    def sample(self, input: Image.Image, truth: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """The augmented image, float32 Tensor[3, H, W], and int64 Tensor[H, W] of classes, 255 where none counts."""
        self.task.check_truth(input, truth)
        sample = self.augment(Sample(input, label_map=truth), rng)
        assert isinstance(sample.image, Tensor)
        assert sample.label_map is not None
        return sample.image, sample.label_map.long()

    def collate(self, samples: Sequence[tuple[Tensor, Tensor]], rng: random.Random) -> tuple[Tensor, Tensor]:
        """Images, float32 Tensor[N, 3, H, W], and int64 Tensor[N, H, W] of classes."""
        images, truths = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, truths

    def classes(self, truth: Tensor) -> Collection[int]:
        return set(truth.unique().tolist()) - {VOID}

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The mean cross-entropy over the pixels that count; that of the auxiliary classifier has half its weight."""
        images, truths = batch
        outputs = model(images)
        losses = segmentation_losses(outputs, truths, label_smoothing=self.recipe.label_smoothing)
        return sum(losses.values(), start=torch.zeros((), device=truths.device))

    def validation_loss(self, output: Mapping[str, Tensor], truth: Tensor | str | Path) -> float:
        """The same of one image, whose truth is brought to the size at which the model sees it."""
        labels = truth if isinstance(truth, Tensor) else read_mask(truth)
        scores = {name: plane[None].float() for name, plane in output.items()}
        # Nearest neighbours, in floating numbers, which have no other use of them.
        resized = F.interpolate(labels[None, None].float(), scores["out"].shape[2:], mode="nearest-exact")
        truths = resized[0].long().to(scores["out"].device)
        losses = segmentation_losses(scores, truths, label_smoothing=self.recipe.label_smoothing)
        return float(sum(losses.values(), start=torch.zeros((), device=truths.device)))

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """By weight decay; the auxiliary classifier apart, for its own factor of the rate."""
        groups = by_decay(model, self.recipe)
        auxiliary = [p for name, p in model.named_parameters() if name.startswith(_AUXILIARY)]
        return apart(groups, auxiliary, self.recipe.aux_lr_factor)

    def building(self, *, from_scratch: bool) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {}
        if from_scratch and self.recipe.aux_loss:  # published weights have it anyway
            arguments["aux_loss"] = True
        if from_scratch:
            arguments |= self.published_backbone()
        return arguments

    def arguments(self, model: nn.Module) -> Mapping[str, Any]:
        return {"aux_loss": model.aux_classifier is not None} if hasattr(model, "aux_classifier") else {}
