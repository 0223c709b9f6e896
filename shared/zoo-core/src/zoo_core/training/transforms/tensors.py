"""From a PIL image or clip to what a model takes, and rectangles erased from that."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from zoo_core.images import pil_to_tensor
from zoo_core.training.transforms.sample import Picture, Sample, Transform, checked_probability, checked_range

__all__ = ["Erased", "RandomErasing", "ToTensor"]


class ToTensor(Transform[tuple[()]]):
    """Levels in [0, 1] as float32, normalised. Nothing is random here.

    A PIL image becomes a Tensor[C, H, W], a clip Tensor[T, C, H, W] a Tensor[C, T, H, W]. An image of bands, float32
    Tensor[C, H, W] with levels in [0, 1], keeps its shape.

    Args:
        mean, std: mean and standard deviation of each channel, for levels in [0, 1]; without them the levels stay.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        if (mean is None) != (std is None):
            raise ValueError("mean and std go together: give both, or neither")
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)

    def draw(self, sample: Sample, rng: random.Random) -> tuple[()]:
        return ()

    def apply(self, sample: Sample, parameters: tuple[()] = ()) -> Sample:
        return sample.with_images(self._tensor)

    def _tensor(self, image: Picture) -> Tensor:
        if isinstance(image, Image.Image):
            levels = pil_to_tensor(image)
            channels = len(self.mean) if self.mean is not None else len(levels)
            if len(levels) != channels:
                raise ValueError(f"the image has {len(levels)} channels, but mean and std have {channels}")
        elif image.ndim == 3:
            return self._of_bands(image)
        else:
            levels = image.contiguous().transpose(-4, -3)
        if levels.dtype != torch.uint8:
            raise TypeError(f"expected levels of uint8 in 0..255, got {levels.dtype}")
        floats = levels.float()
        if self.mean is None or self.std is None:
            return floats.mul_(1 / 255)
        shape = (-1, *[1] * (floats.ndim - 1))
        mean = torch.tensor(self.mean).mul_(255).view(shape)
        return floats.sub_(mean).mul_(torch.tensor(self.std).mul_(255).reciprocal_().view(shape))

    def _of_bands(self, image: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return image.contiguous()
        if len(image) != len(self.mean):
            raise ValueError(f"the image has {len(image)} channels, but mean and std have {len(self.mean)}")
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (image - mean) / std


class Erased(NamedTuple):
    """A rectangle, and the seed of the noise in it (``None``: a constant)."""

    top: int
    left: int
    height: int
    width: int
    seed: int | None = None


class RandomErasing(Transform[Erased]):
    """A rectangle of a normalised tensor overwritten: `Random Erasing <https://arxiv.org/abs/1708.04896>`__.

    The area is uniform in ``scale``, the logarithm of the aspect ratio in that of ``ratio``. Where ten rectangles did
    not fit into the image, nothing is erased. Of a clip, all frames lose the same rectangle.

    Args:
        p: probability in [0, 1].
        scale: area of the rectangle as a share of the image's.
        ratio: height over width of the rectangle.
        value: what it is overwritten with, one number for all channels or one each; ``"random"`` for normal noise.

    Raises:
        ValueError: a range is none, ``p`` no probability, or ``value`` another word.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
    ) -> None:
        if isinstance(value, str) and value != "random":
            raise ValueError(f'value must be a number, a number for each channel or "random", got {value!r}')
        self.p = checked_probability(p)
        self.scale = checked_range("scale", scale, 0.0, 1.0)
        self.ratio = checked_range("ratio", ratio, 1e-6)
        self.value = value

    def draw(self, sample: Sample, rng: random.Random) -> Erased | None:
        if rng.random() >= self.p:
            return None
        height, width = sample.size
        logarithms = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(*logarithms))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < h < height and 0 < w < width:
                seed = rng.getrandbits(63) if self.value == "random" else None
                return Erased(rng.randint(0, height - h), rng.randint(0, width - w), h, w, seed)
        return None

    def apply(self, sample: Sample, parameters: Erased) -> Sample:
        image = sample.image
        if not isinstance(image, Tensor) or not image.is_floating_point():
            raise TypeError("RandomErasing takes a normalised tensor: put it behind ToTensor")
        top, left, height, width, seed = parameters
        image = image.clone()
        region = image[..., top : top + height, left : left + width]
        if seed is not None:
            region.copy_(torch.randn(region.shape, generator=torch.Generator().manual_seed(seed), dtype=image.dtype))
        else:
            value = torch.as_tensor(self.value, dtype=image.dtype)
            region.copy_(value.view(-1, *[1] * (image.ndim - 1)) if value.ndim else value)
        return sample.replace(image=image)
