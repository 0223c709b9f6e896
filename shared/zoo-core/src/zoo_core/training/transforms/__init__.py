"""Augmentation: random changes of images with all that is true of them, on Pillow and torch.

A :class:`Sample` is an image (a pair, a clip) with its truth; a :class:`Transform` takes one and a ``random.Random``
and gives another one. Boxes, masks, keypoints, label maps and flow move along. :func:`sample_rng` makes the generator
from the run's seed, the epoch and the sample's place, and nothing else is random, so that a sample's augmentation does
not depend on workers, processes or where a run was interrupted.

    >>> augment = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), TrivialAugmentWide(), ToTensor(mean, std)])
    >>> augment(Sample(image), sample_rng(seed, epoch, index)).image
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
from zoo_core.training.transforms.sample import Compose, RandomApply, RandomChoice, Sample, Transform, sample_rng
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
    "sample_rng",
]
