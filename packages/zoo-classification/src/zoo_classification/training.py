"""Training of image classifiers: augmentation, batches, and the cross-entropy of classes or of mixtures of them."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_classification.vision_transformer import VisionTransformer
from zoo_core.presets import ImageClassification
from zoo_core.tasks import Task
from zoo_core.training.contract import IMAGE_KEYS, Training
from zoo_core.training.recipes import Recipe
from zoo_core.training.transforms import MixUpOrCutMix, Sample, pipelines

__all__ = ["ClassificationTraining"]

# Of the loss of each auxiliary classifier, as in the paper of GoogLeNet.
_AUXILIARY_WEIGHT = 0.3
# Arguments on which a model's parameters, or what it does with its input, depend, and which weights set by themselves.
_SET_BY_WEIGHTS = ("aux_logits", "transform_input")


class ClassificationTraining(Training):
    """Trains image classifiers: random crops to one size, flips, a policy, normalised tensors, mixing of batches."""

    keys = IMAGE_KEYS

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        preset = task.preprocess
        if not isinstance(preset, ImageClassification):
            raise ValueError(f"{task.spec} has no preset ImageClassification, which says how images are normalised")
        self.augment = pipelines.classification(
            train_crop_size=recipe.train_crop_size or preset.crop_size,
            mean=preset.mean,
            std=preset.std,
            interpolation=preset.interpolation,
            scale=recipe.scale,
            ratio=recipe.ratio,
            hflip=recipe.hflip,
            color_jitter=recipe.color_jitter,
            auto_augment=recipe.auto_augment or None,
            ra_magnitude=recipe.ra_magnitude,
            ra_num_ops=recipe.ra_num_ops,
            augmix_severity=recipe.augmix_severity,
            random_erase=recipe.random_erase,
        )
        self.mix = None
        if recipe.mixup_alpha or recipe.cutmix_alpha:
            self.mix = MixUpOrCutMix(len(task.labels), recipe.mixup_alpha, recipe.cutmix_alpha)

    def sample(self, input: Image.Image, truth: int, rng: random.Random) -> tuple[Tensor, int]:
        """The augmented image, float32 Tensor[3, H, W], and its class."""
        image = self.augment(Sample(input), rng).image
        assert isinstance(image, Tensor)
        return image, truth

    def collate(self, samples: Sequence[tuple[Tensor, int]], rng: random.Random) -> tuple[Tensor, Tensor]:
        """Images, float32 Tensor[N, 3, H, W], and int64 Tensor[N] of classes, or float32 Tensor[N, K] of shares."""
        images = torch.stack([image for image, _ in samples])
        truths = torch.tensor([truth for _, truth in samples])
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return (images, truths) if self.mix is None else self.mix(images, truths, rng)

    def classes(self, truth: int) -> Collection[int]:
        return (truth,)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The cross-entropy; that of auxiliary classifiers counts less."""
        images, truths = batch
        outputs = model(images)
        if isinstance(outputs, Tensor):
            return self._cross_entropy(outputs, truths)
        main, *others = (output for output in outputs if output is not None)
        total = self._cross_entropy(main, truths)
        for output in others:
            total = total + _AUXILIARY_WEIGHT * self._cross_entropy(output, truths)
        return total

    def validation_loss(self, output: Tensor, truth: int) -> float:
        """The cross-entropy of the scores, Tensor[K], without those of auxiliary classifiers."""
        return float(self._cross_entropy(output[None].float(), torch.tensor([truth], device=output.device)))

    def _cross_entropy(self, logits: Tensor, truths: Tensor) -> Tensor:
        return F.cross_entropy(logits, truths, label_smoothing=self.recipe.label_smoothing)

    def arguments(self, model: nn.Module) -> Mapping[str, Any]:
        found = {name: getattr(model, name) for name in _SET_BY_WEIGHTS if hasattr(model, name)}
        if isinstance(model, VisionTransformer):
            asked = self.task.spec.arguments.get("img_size")
            known = [224, tuple(asked) if isinstance(asked, list) else asked]
            if model.image_size not in known:
                found["image_size"] = model.image_size  # weights may be for another than the builder's own
        return found
