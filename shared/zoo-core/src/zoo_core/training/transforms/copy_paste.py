"""Objects of one image pasted into another."""

import random
from collections.abc import Sequence

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training.transforms import geometry
from zoo_core.training.transforms.sample import Picture, Sample, checked_probability

__all__ = ["CopyPaste", "boxes_of_masks"]


class CopyPaste:
    """A random part of another image's objects pasted over this one: `Copy-Paste <https://arxiv.org/abs/2012.07177>`__.

    Both images should have been jittered in scale before. One of another size is resized to this one's. What is covered
    goes from the masks below; boxes follow the masks where these change, an object of which nothing is left goes with
    all that belongs to it, and a covered keypoint has visibility 1 (there, but not to be seen).

    Args:
        p: probability in [0, 1] of pasting at all.
        blend: standard deviation, in pixels, of the Gaussian filter that smooths the edges of what is pasted; 0 for
            none, which trains as well.

    Raises:
        ValueError: ``p`` is no probability, or ``blend`` is negative.
    """

    def __init__(self, p: float = 1.0, blend: float = 0.0) -> None:
        self.p = checked_probability(p)
        if blend < 0:
            raise ValueError(f"blend must not be negative, got {blend}")
        self.blend = blend

    def draw(self, sample: Sample, source: Sample, rng: random.Random) -> Tensor | None:
        """Which of the source's objects are pasted: int64 Tensor[M] in ascending order, each with even chance.

        Crowds are not. ``None`` where there is nothing to paste.
        """
        if source.boxes is None or rng.random() >= self.p:
            return None
        crowd = source.crowd.tolist() if source.crowd is not None else [False] * len(source.boxes)
        chosen = [number for number, is_crowd in enumerate(crowd) if rng.random() < 0.5 and not is_crowd]
        return torch.tensor(chosen) if chosen else None

    def apply(self, sample: Sample, source: Sample, which: Tensor) -> Sample:
        """A sample with some of another one's objects.

        Args:
            sample: with boxes and masks; the image a PIL image, or floating Tensor[C, H, W].
            source: likewise, and with the same kinds of truth.
            which: int64 Tensor[M], numbers of the source's objects.

        Raises:
            ValueError: one of them has no boxes or masks, or the kinds of truth differ.
        """
        _check(sample, source)
        source = geometry.resize(source.keep(which), *sample.size)
        assert sample.masks is not None
        assert source.masks is not None
        assert sample.boxes is not None
        covered = source.masks.bool().any(0)
        alpha = to_pil_image(covered)
        if self.blend:
            alpha = alpha.filter(ImageFilter.GaussianBlur(self.blend))
        image = _composite(sample.image, source.image, alpha)

        masks = sample.masks.masked_fill(covered, 0)
        left = (masks != 0).flatten(1).any(1)
        changed = (masks != sample.masks).flatten(1).any(1)
        boxes = torch.where(changed[:, None], boxes_of_masks(masks).to(sample.boxes.dtype), sample.boxes)
        below = sample.replace(image=image, masks=masks, boxes=boxes)
        if sample.keypoints is not None:
            below = below.replace(keypoints=_hidden(sample.keypoints, covered))
        below = below.keep(left | ~changed)
        values = {
            name: torch.cat((getattr(below, name), getattr(source, name).to(getattr(below, name).dtype)))
            for name in ("boxes", "labels", "masks", "keypoints", "crowd")
            if getattr(below, name) is not None
        }
        return below.replace(**values)

    def __call__(self, sample: Sample, source: Sample, rng: random.Random) -> Sample:
        """Draws and pastes."""
        which = self.draw(sample, source, rng)
        return sample if which is None else self.apply(sample, source, which)

    def on_batch(self, samples: Sequence[Sample], rng: random.Random) -> list[Sample]:
        """Every sample of a batch with objects of the one before it, as it was before pasting."""
        return [self(sample, samples[number - 1], rng) for number, sample in enumerate(samples)]

    def __repr__(self) -> str:
        return f"CopyPaste(p={self.p}, blend={self.blend})"


def _check(sample: Sample, source: Sample) -> None:
    for one in (sample, source):
        if one.boxes is None or one.masks is None:
            raise ValueError("CopyPaste needs boxes and masks, and a sample lacks them")
    for name in ("labels", "keypoints", "crowd"):
        if (getattr(sample, name) is None) != (getattr(source, name) is None):
            raise ValueError(f"both samples must have {name}, or neither")


def _composite(below: Picture, above: Picture, alpha: Image.Image) -> Picture:
    """One image over another, by the share of the upper one in 0..255."""
    if isinstance(below, Image.Image) and isinstance(above, Image.Image):
        return Image.composite(above if above.mode == below.mode else above.convert(below.mode), below, alpha)
    if isinstance(below, Tensor) and isinstance(above, Tensor) and below.is_floating_point():
        return torch.lerp(below, above.to(below.dtype), pil_to_tensor(alpha).to(below.dtype) / 255)
    raise TypeError("CopyPaste takes PIL images or floating tensors, both of the same kind")


def _hidden(keypoints: Tensor, covered: Tensor) -> Tensor:
    height, width = covered.shape
    x = keypoints[..., 0].long().clamp(0, width - 1)
    y = keypoints[..., 1].long().clamp(0, height - 1)
    hidden = covered[y, x] & (keypoints[..., 2] > 1)
    return torch.cat((keypoints[..., :2], keypoints[..., 2:].masked_fill(hidden[..., None], 1)), -1)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The smallest boxes that masks fit into.

    Args:
        masks: bool or uint8 Tensor[N, H, W].

    Returns:
        float32 Tensor[N, 4], ``x1, y1, x2, y2`` in pixels: a mask of one pixel has a box of one pixel. Of an empty mask
        all zeros.
    """
    if not len(masks):
        return torch.zeros(0, 4)
    sides = []
    for taken in (masks.bool().any(1), masks.bool().any(2)):
        length = taken.shape[1]
        first, last = taken.byte().argmax(1), length - taken.flip(1).byte().argmax(1)
        sides.append(torch.where(taken.any(1), torch.stack((first, last)), 0))
    return torch.stack((sides[0][0], sides[1][0], sides[0][1], sides[1][1]), 1).float()
