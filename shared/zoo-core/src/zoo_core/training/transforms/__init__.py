"""Augmentation: random changes of images with all that is true of them, on Pillow and torch.

A :class:`Sample` is an image (a pair, a clip) with its truth; a :class:`Transform` takes one and a ``random.Random``
and gives another one. Boxes, masks, keypoints, label maps and flow move along. Nothing else than that generator is
random: what is seeded for a sample of an epoch gives the same on every machine.

    >>> import random
    >>> from PIL import Image
    >>> mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    >>> augment = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), TrivialAugmentWide(), ToTensor(mean, std)])
    >>> augment(Sample(Image.new("RGB", (640, 480))), random.Random(0)).image.shape
    torch.Size([3, 224, 224])

:mod:`zoo_core.training.transforms.pipelines` puts together what recipes name for each task.
"""

from zoo_core.training.transforms.clips import TemporalSampling, draw_frames, evenly_spaced
from zoo_core.training.transforms.color import (
    ColorJitter,
    PhotometricDistort,
    RandomGrayscale,
    RandomPosterize,
    RandomSolarize,
)
from zoo_core.training.transforms.copy_paste import CopyPaste, boxes_of_masks
from zoo_core.training.transforms.crops import FixedSizeCrop, IoUCrop, RandomCrop, RandomResizedCrop, Sanitize, ZoomOut
from zoo_core.training.transforms.flips import COCO_KEYPOINT_PAIRS, RandomHorizontalFlip, RandomVerticalFlip
from zoo_core.training.transforms.mixing import CutMix, MixUp, MixUpOrCutMix
from zoo_core.training.transforms.pairs import AsymmetricColorJitter, EraseSecond, FlowResizeCrop
from zoo_core.training.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from zoo_core.training.transforms.sample import Compose, RandomApply, RandomChoice, Sample, Transform
from zoo_core.training.transforms.sizes import (
    LargeScaleJitter,
    RandomResize,
    RandomResizeAndCrop,
    RandomShortestSize,
    Resize,
    ScaleJitter,
)
from zoo_core.training.transforms.tensors import RandomErasing, ToTensor

__all__ = [
    "COCO_KEYPOINT_PAIRS",
    "AsymmetricColorJitter",
    "AugMix",
    "AutoAugment",
    "ColorJitter",
    "Compose",
    "CopyPaste",
    "CutMix",
    "EraseSecond",
    "FixedSizeCrop",
    "FlowResizeCrop",
    "IoUCrop",
    "LargeScaleJitter",
    "MixUp",
    "MixUpOrCutMix",
    "PhotometricDistort",
    "RandAugment",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomPosterize",
    "RandomResize",
    "RandomResizeAndCrop",
    "RandomResizedCrop",
    "RandomShortestSize",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "Sample",
    "Sanitize",
    "ScaleJitter",
    "TemporalSampling",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "ZoomOut",
    "boxes_of_masks",
    "draw_frames",
    "evenly_spaced",
]
