"""Batches mixed with themselves: mixup and CutMix, whose targets are shares of classes."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CutMix", "MixUp", "MixUpOrCutMix", "Patch"]


class _Mixing:
    """Mixes a batch with itself, shifted by one.

    Args:
        num_classes: how many there are.
        alpha: both parameters of the Beta distribution that the share is drawn from.
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        if num_classes < 1 or alpha <= 0:
            raise ValueError(f"num_classes and alpha must be positive, got {num_classes} and {alpha}")
        self.num_classes = num_classes
        self.alpha = alpha

    def _targets(self, targets: Tensor, share: float) -> Tensor:
        soft = soft_targets(targets, self.num_classes)
        return torch.lerp(soft.roll(1, 0), soft, share)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes}, alpha={self.alpha})"


class MixUp(_Mixing):
    """Every image of a batch blended with the one before it: `mixup <https://arxiv.org/abs/1710.09412>`__.

    Args:
        num_classes: how many there are.
        alpha: both parameters of the Beta distribution that the image's own share is drawn from, one for the batch.

    Raises:
        ValueError: a number is not positive.
    """

    def draw(self, images: Tensor, rng: random.Random) -> float:
        """The share of an image's own levels."""
        return rng.betavariate(self.alpha, self.alpha)

    def apply(self, images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """The blend, see :meth:`__call__`."""
        mixed = torch.empty_like(images)
        torch.lerp(images[:-1], images[1:], share, out=mixed[1:])
        torch.lerp(images[-1], images[0], share, out=mixed[0])
        return mixed, self._targets(targets, share)

    def __call__(self, images: Tensor, targets: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Draws and blends.

        Args:
            images: floating Tensor[N, ...], images or clips.
            targets: int64 Tensor[N] of classes, or floating Tensor[N, num_classes] of their shares.
            rng: that of the batch.

        Returns:
            Images as before, and float32 Tensor[N, num_classes], the share of each class.

        Raises:
            ValueError: the targets are not of that shape.
        """
        return self.apply(images, targets, self.draw(images, rng))


class Patch(NamedTuple):
    """A rectangle of whole pixels inside the image."""

    top: int
    left: int
    height: int
    width: int


class CutMix(_Mixing):
    """A rectangle of every image replaced by that of the one before it: `CutMix <https://arxiv.org/abs/1905.04899>`__.

    Args:
        num_classes: how many there are.
        alpha: both parameters of the Beta distribution that the share of the image that stays is drawn from, one for
            the batch. The rectangle is cut off at the edges; targets follow what it really covers.

    Raises:
        ValueError: a number is not positive.
    """

    def draw(self, images: Tensor, rng: random.Random) -> Patch:
        """The rectangle that is replaced, possibly an empty one."""
        height, width = images.shape[-2:]
        half = 0.5 * math.sqrt(1 - rng.betavariate(self.alpha, self.alpha))
        x, y = rng.randrange(width), rng.randrange(height)
        left, right = max(x - int(half * width), 0), min(x + int(half * width), width)
        top, bottom = max(y - int(half * height), 0), min(y + int(half * height), height)
        return Patch(top, left, bottom - top, right - left)

    def apply(self, images: Tensor, targets: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
        """The exchange, see :meth:`__call__`."""
        top, left, height, width = patch
        window = (..., slice(top, top + height), slice(left, left + width))
        mixed = images.clone()
        mixed[window] = images[window].roll(1, 0)
        return mixed, self._targets(targets, 1 - height * width / (images.shape[-2] * images.shape[-1]))

    def __call__(self, images: Tensor, targets: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Draws and exchanges.

        Args:
            images: Tensor[N, ..., H, W], images or clips.
            targets: int64 Tensor[N] of classes, or floating Tensor[N, num_classes] of their shares.
            rng: that of the batch.

        Returns:
            Images as before, and float32 Tensor[N, num_classes], the share of each class.

        Raises:
            ValueError: the targets are not of that shape.
        """
        return self.apply(images, targets, self.draw(images, rng))


class MixUpOrCutMix:
    """One of the two for every batch.

    Args:
        num_classes: how many there are.
        mixup_alpha: see :class:`MixUp`; 0 for none of it.
        cutmix_alpha: see :class:`CutMix`; 0 for none of it.
        weights: how often each is taken, relative to the other; by default equally.

    Raises:
        ValueError: a number is negative.
    """

    def __init__(
        self,
        num_classes: int,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        weights: Sequence[float] = (1.0, 1.0),
    ) -> None:
        if mixup_alpha < 0 or cutmix_alpha < 0:
            raise ValueError(f"mixup_alpha and cutmix_alpha must not be negative, got {mixup_alpha}, {cutmix_alpha}")
        self.num_classes = num_classes
        self.choices: list[MixUp | CutMix] = []
        self.weights: list[float] = []
        if mixup_alpha > 0:
            self.choices.append(MixUp(num_classes, mixup_alpha))
            self.weights.append(weights[0])
        if cutmix_alpha > 0:
            self.choices.append(CutMix(num_classes, cutmix_alpha))
            self.weights.append(weights[1])

    def __call__(self, images: Tensor, targets: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Mixes, or returns the images as they are and soft targets where both are off; see :class:`MixUp`."""
        if not self.choices:
            return images, soft_targets(targets, self.num_classes)
        return rng.choices(self.choices, self.weights)[0](images, targets, rng)

    def __repr__(self) -> str:
        return f"MixUpOrCutMix({self.choices!r}, weights={self.weights})"


def soft_targets(targets: Tensor, num_classes: int) -> Tensor:
    """Shares of classes: float32 Tensor[N, num_classes].

    Args:
        targets: int64 Tensor[N] of classes, or floating Tensor[N, num_classes] of shares.
        num_classes: how many there are.

    Raises:
        ValueError: the targets are not of that shape.
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        return F.one_hot(targets, num_classes).to(torch.float32)
    if targets.ndim != 2 or targets.shape[1] != num_classes:
        raise ValueError(
            f"targets must be Tensor[N] of classes or Tensor[N, {num_classes}] of shares, not {targets.dtype} of shape "
            f"{list(targets.shape)}"
        )
    return targets.to(torch.float32)
