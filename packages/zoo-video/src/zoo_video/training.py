"""Training of video classifiers: a random clip of each video, augmented alike in all frames, and its cross-entropy."""

import random
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.presets import VideoClassification
from zoo_core.tasks import Task
from zoo_core.training.contract import Training
from zoo_core.training.recipes import Recipe, RecipeError
from zoo_core.training.transforms import MixUpOrCutMix, Sample, pipelines
from zoo_video.reading import read_clips

if TYPE_CHECKING:
    from zoo_video.task import Video

__all__ = ["VideoTraining"]


class VideoTraining(Training):
    """Trains video classifiers. A clip has as many frames, at the rate, that the model looks at in evaluation."""

    keys = frozenset(
        {
            *("train_resize_size", "train_crop_size", "val_crop_size", "val_resize_size", "hflip", "color_jitter"),
            *("train_crop_mode", "scale", "ratio", "auto_augment", "ra_magnitude", "ra_num_ops", "augmix_severity"),
            *("random_erase", "label_smoothing", "mixup_alpha", "cutmix_alpha"),
        }
    )

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        preset = task.preprocess
        if not isinstance(preset, VideoClassification):
            raise ValueError(f"{task.spec} has no preset VideoClassification, which says how frames are normalised")
        size = recipe.train_resize_size or preset.resize_size
        if len(size) > 2:
            raise RecipeError(f"train_resize_size must be a length, or height and width, not {list(size)}")
        self.augment = pipelines.video(
            train_resize_size=size[0] if len(size) == 1 else size,
            train_crop_size=recipe.train_crop_size or preset.crop_size,
            hflip_prob=recipe.hflip,
            color_jitter=recipe.color_jitter,
            scale=recipe.scale if recipe.train_crop_mode == "rrc" else None,
            ratio=recipe.ratio,
            auto_augment=recipe.auto_augment or None,
            ra_magnitude=recipe.ra_magnitude,
            ra_num_ops=recipe.ra_num_ops,
            augmix_severity=recipe.augmix_severity,
            random_erase=recipe.random_erase,
            mean=preset.mean,
            std=preset.std,
        )
        self.mix = None
        if recipe.mixup_alpha or recipe.cutmix_alpha:
            self.mix = MixUpOrCutMix(len(task.labels), recipe.mixup_alpha, recipe.cutmix_alpha)

    def sample(self, input: "Video", truth: int, rng: random.Random) -> tuple[Tensor, int]:
        """An augmented clip, float32 Tensor[3, T, H, W], and its class."""
        clips = read_clips(input.path, input.clip_length, place=rng.random(), frame_rate=input.frame_rate)
        clip = self.augment(Sample(next(clips).frames), rng).image
        assert isinstance(clip, Tensor)
        return clip, truth

    def collate(self, samples: Sequence[tuple[Tensor, int]], rng: random.Random) -> tuple[Tensor, Tensor]:
        """Clips, float32 Tensor[N, 3, T, H, W], and int64 Tensor[N] of classes, or float32 Tensor[N, K] of shares."""
        clips = torch.stack([clip for clip, _ in samples])
        truths = torch.tensor([truth for _, truth in samples])
        return (clips, truths) if self.mix is None else self.mix(clips, truths, rng)

    def classes(self, truth: int) -> Collection[int]:
        return (truth,)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The cross-entropy."""
        clips, truths = batch
        return F.cross_entropy(model(clips), truths, label_smoothing=self.recipe.label_smoothing)

    def validation_loss(self, output: Tensor, truth: int) -> float:
        """The mean cross-entropy of the clips, of their scores, Tensor[clips, K]."""
        truths = torch.full((len(output),), truth, device=output.device)
        return float(F.cross_entropy(output, truths, label_smoothing=self.recipe.label_smoothing))
