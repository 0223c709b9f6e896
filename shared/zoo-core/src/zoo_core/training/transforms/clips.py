"""Which frames of a video make a clip."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.training.transforms.sample import Sample, Transform

__all__ = ["TemporalSampling", "draw_frames", "evenly_spaced"]


def draw_frames(count: int, frames: int, stride: int, rng: random.Random) -> list[int]:
    """The numbers of a clip's frames, from a random one on. Reading a video, only these need to be decoded.

    A video that is too short for that gives all it has, from its first frame on; then its last frame again and again.

    Args:
        count: frames of the video.
        frames: of the clip.
        stride: from one to the next.
        rng: what the first one is drawn from.

    Raises:
        ValueError: a number is not positive.
    """
    if min(count, frames, stride) < 1:
        raise ValueError(f"count, frames and stride must be positive, got {count}, {frames} and {stride}")
    first = rng.randint(0, max(count - ((frames - 1) * stride + 1), 0))
    return [min(first + number * stride, count - 1) for number in range(frames)]


def evenly_spaced(count: int, frames: int) -> list[int]:
    """The numbers of frames from the first to the last at even distances, rounded down.

    Args:
        count: frames of the video.
        frames: of the clip.
    """
    places: list[int] = torch.linspace(0, count - 1, frames).long().tolist()
    return places


class TemporalSampling(Transform[Sequence[int]]):
    """A clip of so many frames from a longer one.

    Args:
        frames: of the result.
        stride: from one to the next; 0 for even distances from the first frame to the last, of which nothing is random.
    """

    def __init__(self, frames: int, stride: int = 1) -> None:
        if frames < 1 or stride < 0:
            raise ValueError(f"frames must be positive and stride not negative, got {frames} and {stride}")
        self.frames = frames
        self.stride = stride

    def draw(self, sample: Sample, rng: random.Random) -> Sequence[int]:
        count = self._clip(sample).shape[-4]
        if not self.stride:
            return evenly_spaced(count, self.frames)
        return draw_frames(count, self.frames, self.stride, rng)

    def apply(self, sample: Sample, parameters: Sequence[int]) -> Sample:
        return sample.replace(image=self._clip(sample).index_select(-4, torch.tensor(parameters)))

    @staticmethod
    def _clip(sample: Sample) -> Tensor:
        if not isinstance(sample.image, Tensor) or sample.image.ndim < 4:
            raise TypeError("TemporalSampling takes clips, Tensor[T, C, H, W]")
        return sample.image
