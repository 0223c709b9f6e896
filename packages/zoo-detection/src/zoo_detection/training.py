"""Training of detectors: augmentation with boxes, masks and keypoints moving along; the losses are the models' own."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core.data.coco import decode_mask
from zoo_core.engines import EagerEngine
from zoo_core.finite import check_finite
from zoo_core.tasks import Task
from zoo_core.training.contract import Training
from zoo_core.training.recipes import Recipe, RecipeError
from zoo_core.training.transforms import COCO_KEYPOINT_PAIRS, CopyPaste, Sample, pipelines
from zoo_detection.validation import detections_and_losses

__all__ = ["DetectionTraining"]

_LSJ_SIZE = 1024


class DetectionTraining(Training):
    """Trains detectors. Crowds are left out; an image without objects is one to find nothing in."""

    keys = frozenset(
        {
            *("data_augmentation", "hflip", "train_crop_size", "use_copypaste"),
            *("trainable_backbone_layers", "weights_backbone"),
        }
    )

    def __init__(self, task: Task[Any, Any], recipe: Recipe) -> None:
        super().__init__(task, recipe)
        self.has_masks = task.spec.name.startswith("maskrcnn")
        self.has_keypoints = task.spec.name.startswith("keypointrcnn")
        self.paste = CopyPaste() if recipe.use_copypaste else None
        if self.paste is not None and not self.has_masks:
            raise RecipeError(f"use_copypaste is for models with masks, and {task.spec.name} has none")
        is_coco = len(task.spec.facts.get("keypoint_names") or ()) == 17
        self.augment = pipelines.detection(
            data_augmentation=recipe.data_augmentation,
            hflip_prob=recipe.hflip,
            train_size=recipe.train_crop_size or _LSJ_SIZE,
            keypoint_pairs=COCO_KEYPOINT_PAIRS if is_coco else (),
        )

    def sample(
        self, input: Image.Image, truth: Mapping[str, Any], rng: random.Random
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The augmented image, float32 Tensor[3, H, W] in [0, 1], and its targets as the models take them."""
        self.task.check_truth(input, truth)
        sample = self.augment(self._sample(input, (input.height, input.width), truth), rng)
        assert isinstance(sample.image, Tensor)
        return sample.image, self._target(sample)

    def _sample(self, image: Image.Image | Tensor, size: tuple[int, int], truth: Mapping[str, Any]) -> Sample:
        """An image of some height and width with its objects, without crowds."""
        sample = Sample(image, boxes=truth["boxes"], labels=truth["labels"], crowd=truth["iscrowd"])
        if self.has_masks:
            sample = sample.replace(masks=self._masks(size, truth))
        if self.has_keypoints:
            if "keypoints" not in truth and len(truth["boxes"]):
                raise ValueError("has objects without keypoints, which this model is trained on")
            sample = sample.replace(keypoints=truth.get("keypoints", torch.zeros(0, 17, 3)))
        return sample.keep(~truth["iscrowd"])

    def _target(self, sample: Sample) -> dict[str, Tensor]:
        names = ("boxes", "labels", *("masks",) * self.has_masks, *("keypoints",) * self.has_keypoints)
        target = {name: value for name in names if (value := getattr(sample, name)) is not None}
        if self.has_masks:
            target["masks"] = target["masks"].to(torch.uint8)
        return target

    def _masks(self, size: tuple[int, int], truth: Mapping[str, Any]) -> Tensor:
        found = truth.get("segmentations") or [None] * len(truth["boxes"])
        if any(entry is None and not crowd for entry, crowd in zip(found, truth["iscrowd"].tolist(), strict=True)):
            raise ValueError("has objects without a mask, which this model is trained on")
        masks = [torch.zeros(size, dtype=torch.bool) if entry is None else decode_mask(entry, size) for entry in found]
        return torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)

    def collate(
        self, samples: Sequence[tuple[Tensor, dict[str, Tensor]]], rng: random.Random
    ) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Lists of the images, which differ in size, and of their targets."""
        if self.paste is not None:
            samples = self._pasted(samples, self.paste, rng)
        images, targets = zip(*samples, strict=True)
        return list(images), list(targets)

    def _pasted(
        self, samples: Sequence[tuple[Tensor, dict[str, Tensor]]], paste: CopyPaste, rng: random.Random
    ) -> list[tuple[Tensor, dict[str, Tensor]]]:
        found = []
        for sample in paste.on_batch([Sample(image, **target) for image, target in samples], rng):
            assert isinstance(sample.image, Tensor)
            found.append((sample.image, {name: getattr(sample, name) for name in samples[0][1]}))
        return found

    def classes(self, truth: Mapping[str, Any]) -> Collection[int]:
        return set(truth["labels"].tolist())

    def loss(self, model: nn.Module, batch: tuple[list[Tensor], list[dict[str, Tensor]]]) -> Tensor:
        """The sum of the detector's losses."""
        images, targets = batch
        losses = list(model(images, targets).values())
        return torch.stack([loss.float() for loss in losses]).sum()

    def validated(
        self, engine: EagerEngine, samples: Sequence[Any], truths: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Any], list[float | None]]:
        """The detections of each image and the sum of its losses, see :func:`~zoo_detection.detections_and_losses`.

        An image with an object that the model could not be trained on (without its mask, of no width) has no loss.
        """
        outputs: list[Any] = []
        losses: list[float | None] = []
        for (image,), truth in zip(samples, truths, strict=True):
            try:
                target = self._target(self._sample(image, (image.shape[-2], image.shape[-1]), truth))
                moved = {name: value.to(engine.device) for name, value in target.items()}
                found, parts = detections_and_losses(
                    engine.model, [image.to(engine.device)], [moved], **engine.arguments
                )
            except ValueError:
                outputs += self.task.run(engine, [(image,)])
                losses.append(None)
                continue
            check_finite([found[0]["boxes"], found[0]["scores"]], self.task.spec)
            outputs += found
            losses.append(float(torch.stack([loss.float() for loss in parts.values()]).sum()))
        return outputs, losses

    def building(self, *, from_scratch: bool) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {}
        if self.recipe.trainable_backbone_layers >= 0:
            arguments["trainable_backbone_layers"] = self.recipe.trainable_backbone_layers
        if from_scratch:
            arguments |= self.published_backbone()
        return arguments
