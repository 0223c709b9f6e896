"""Random flips of an image with all that has a place in it."""

import random
from collections.abc import Sequence

from zoo_core.training.transforms import geometry
from zoo_core.training.transforms.sample import Sample, Transform, checked_probability

__all__ = ["COCO_KEYPOINT_PAIRS", "RandomHorizontalFlip", "RandomVerticalFlip"]

# Left and right eye, ear, shoulder, elbow, wrist, hip, knee and ankle of COCO's 17 keypoints.
COCO_KEYPOINT_PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


class RandomHorizontalFlip(Transform[tuple[()]]):
    """Left and right swapped, with a probability.

    Args:
        p: probability in [0, 1].
        keypoint_pairs: numbers of the keypoints that change places, left with right, as ``COCO_KEYPOINT_PAIRS``.
    """

    def __init__(self, p: float = 0.5, keypoint_pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.p = checked_probability(p)
        self.keypoint_pairs = tuple(keypoint_pairs)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[()] | None:
        return () if rng.random() < self.p else None

    def apply(self, sample: Sample, parameters: tuple[()] = ()) -> Sample:
        return geometry.horizontal_flip(sample, self.keypoint_pairs)


class RandomVerticalFlip(Transform[tuple[()]]):
    """Top and bottom swapped, with a probability.

    Args:
        p: probability in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checked_probability(p)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[()] | None:
        return () if rng.random() < self.p else None

    def apply(self, sample: Sample, parameters: tuple[()] = ()) -> Sample:
        return geometry.vertical_flip(sample)
