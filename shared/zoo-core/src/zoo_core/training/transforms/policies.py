"""Augmentation policies for classification: AutoAugment, RandAugment, TrivialAugment and AugMix.

All of them apply operations of one list to an image, or alike to all frames of a clip, and differ in which, how
strongly and how many. An operation's strength is one of a row of magnitudes from none to the policy's strongest. Where
an operation has two directions, the sign is drawn with equal chance.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image

from zoo_core.images.conversion import tensor_bytes
from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms import color
from zoo_core.training.transforms.geometry import Fill, fill_color, resampling
from zoo_core.training.transforms.policy_tables import POLICIES
from zoo_core.training.transforms.sample import Sample, Transform

__all__ = ["AugMix", "AutoAugment", "Operation", "RandAugment", "TrivialAugmentWide", "apply_operation"]


class Operation(NamedTuple):
    """A change of an image.

    Args:
        name: ``"Identity"``, ``"ShearX"``, ``"ShearY"``, ``"TranslateX"``, ``"TranslateY"``, ``"Rotate"``,
            ``"Brightness"``, ``"Color"``, ``"Contrast"``, ``"Sharpness"``, ``"Posterize"``, ``"Solarize"``,
            ``"AutoContrast"``, ``"Equalize"`` or ``"Invert"``.
        magnitude: tangent of the shear, pixels of the translation, degrees of the rotation (counter-clockwise), what is
            added to a factor of 1, bits, or threshold; of the others no matter.
    """

    name: str
    magnitude: float = 0.0


def apply_operation(
    image: Image.Image,
    operation: Operation,
    resample: Image.Resampling = Image.Resampling.NEAREST,
    fill: Fill = 0,
) -> Image.Image:
    """An image after an operation.

    Args:
        image: in RGB or grey.
        operation: what is done.
        resample: how pixels are interpolated where they move.
        fill: level in 0..255 of what comes from outside the image, one for all channels or one each.

    Raises:
        ValueError: there is no operation of that name.
    """
    name, magnitude = operation
    match name:
        case "Identity":
            return image
        case "ShearX":
            return _affine(image, (1, magnitude, 0, 0, 1, 0), resample, fill)
        case "ShearY":
            return _affine(image, (1, 0, 0, magnitude, 1, 0), resample, fill)
        case "TranslateX":
            return _translated(image, int(magnitude), 0, fill)
        case "TranslateY":
            return _translated(image, 0, int(magnitude), fill)
        case "Rotate":
            return image.rotate(magnitude, resample, fillcolor=_outside(fill, image.mode))
        case "Brightness":
            return color.adjust_brightness(image, 1 + magnitude)
        case "Color":
            return color.adjust_saturation(image, 1 + magnitude)
        case "Contrast":
            return color.adjust_contrast(image, 1 + magnitude)
        case "Sharpness":
            return color.adjust_sharpness(image, 1 + magnitude)
        case "Posterize":
            return color.posterize(image, int(magnitude))
        case "Solarize":
            return color.solarize(image, magnitude)
        case "AutoContrast":
            return color.autocontrast(image)
        case "Equalize":
            return color.equalize(image)
        case "Invert":
            return color.invert(image)
        case _:
            raise ValueError(f"there is no operation {name!r}")


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling, fill: Fill) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=_outside(fill, image.mode))


def _outside(fill: Fill, mode: str) -> int | tuple[int, ...] | None:
    """The colour of what comes from outside; none for black, which Pillow need not write first."""
    return fill_color(fill, mode) if fill else None


def _translated(image: Image.Image, right: int, down: int, fill: Fill) -> Image.Image:
    canvas = Image.new(image.mode, image.size, fill_color(fill, image.mode))
    canvas.paste(image, (right, down))
    return canvas


@dataclass(frozen=True)
class Strength:
    """The magnitudes of an operation.

    Args:
        highest: the strongest. Of translations as a share of the image's width or height where ``relative``; of
            ``Posterize`` the bits that are taken off 8 (or off ``base``) at the most.
        signed: whether it goes in both directions.
        relative: whether ``highest`` is a share.
        base: of ``Posterize``, the most bits that are kept.
    """

    highest: float = 0.0
    signed: bool = False
    relative: bool = False
    base: int = 8


Space = Mapping[str, Strength]


def _space(
    *, shear: float, translate: float, relative: bool, rotate: float, enhance: float, bits: int, base: int = 8
) -> dict[str, Strength]:
    """Strengths of the operations that the policies share."""
    signed = {
        **{name: Strength(shear, signed=True) for name in ("ShearX", "ShearY")},
        **{name: Strength(translate, signed=True, relative=relative) for name in ("TranslateX", "TranslateY")},
        "Rotate": Strength(rotate, signed=True),
        **{name: Strength(enhance, signed=True) for name in ("Brightness", "Color", "Contrast", "Sharpness")},
    }
    return signed | {
        "Posterize": Strength(bits, base=base),
        "Solarize": Strength(255),
        "AutoContrast": Strength(),
        "Equalize": Strength(),
    }


_COMMON = _space(shear=0.3, translate=150 / 331, relative=True, rotate=30, enhance=0.9, bits=4)
AUTO = _COMMON | {"Invert": Strength()}
RAND = {"Identity": Strength()} | _COMMON
TRIVIAL_WIDE = {"Identity": Strength()} | _space(
    shear=0.99, translate=32, relative=False, rotate=135, enhance=0.99, bits=6
)
AUGMIX_ALL = _space(shear=0.3, translate=1 / 3, relative=True, rotate=30, enhance=0.9, bits=4, base=4)
AUGMIX = {
    name: strength
    for name, strength in AUGMIX_ALL.items()
    if name not in ("Brightness", "Color", "Contrast", "Sharpness")
}


@functools.lru_cache(maxsize=4096)
def magnitudes(name: str, strength: Strength, bins: int, height: int, width: int) -> tuple[float, ...]:
    """The row of an operation's magnitudes for an image of that size, from none to the strongest."""
    if name == "Posterize":
        return tuple(float(strength.base - round(place / ((bins - 1) / strength.highest))) for place in range(bins))
    if name == "Solarize":
        return tuple(strength.highest * share for share in torch.linspace(1.0, 0.0, bins).tolist())
    highest = strength.highest
    if strength.relative:
        highest *= width if name.endswith("X") else height
    return tuple(torch.linspace(0.0, highest, bins).tolist())


def _drawn(space: Space, name: str, place: int, bins: int, sample: Sample, rng: random.Random) -> Operation:
    """An operation with one of its magnitudes, and a sign where it has two."""
    strength = space[name]
    if not strength.highest:
        return Operation(name)
    magnitude = magnitudes(name, strength, bins, *sample.size)[place]
    return Operation(name, -magnitude if strength.signed and rng.random() < 0.5 else magnitude)


class _Policy(Transform[tuple[Operation, ...]]):
    """A sequence of operations on an image, or on all frames of a clip."""

    def __init__(self, interpolation: InterpolationMode | str, fill: Fill) -> None:
        self.interpolation = resampling(interpolation)
        self.fill = fill

    def apply(self, sample: Sample, parameters: tuple[Operation, ...]) -> Sample:
        _check(self, sample)

        def changed(frame: Image.Image) -> Image.Image:
            for operation in parameters:
                frame = apply_operation(frame, operation, self.interpolation, self.fill)
            return frame

        return sample.replace(image=color.on_frames(sample.image, changed))


def _check(policy: object, sample: Sample) -> None:
    """That a policy can do with a sample what it does."""
    if sample.has_places or sample.second is not None:
        raise ValueError(
            f"{type(policy).__name__} moves pixels, but not the boxes, masks or flow that this sample has: it is for "
            "classification"
        )
    if isinstance(sample.image, torch.Tensor) and sample.image.dtype != torch.uint8:
        raise TypeError(f"{type(policy).__name__} takes PIL images and clips of uint8: put it before ToTensor")


class AutoAugment(_Policy):
    """A pair of operations of the policy that `AutoAugment <https://arxiv.org/abs/1805.09501>`__ found for a data set.

    Args:
        policy: ``"imagenet"``, ``"cifar10"`` or ``"svhn"``.
        interpolation: how pixels are interpolated where they move.
        fill: level in 0..255 of what comes from outside the image, one for all channels or one each.

    Raises:
        ValueError: there is no such policy.
    """

    BINS = 10

    def __init__(
        self,
        policy: str = "imagenet",
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        fill: Fill = 0,
    ) -> None:
        super().__init__(interpolation, fill)
        self.policy = str(getattr(policy, "value", policy)).lower()
        if self.policy not in POLICIES:
            raise ValueError(f"there is no policy {policy!r}: expected one of {', '.join(POLICIES)}")

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Operation, ...]:
        return tuple(
            _drawn(AUTO, name, place or 0, self.BINS, sample, rng)
            for name, p, place in rng.choice(POLICIES[self.policy])
            if rng.random() < p
        )


class RandAugment(_Policy):
    """Operations of one strength, drawn anew for each image: `RandAugment <https://arxiv.org/abs/1909.13719>`__.

    Args:
        num_ops: how many, one after the other.
        magnitude: place of the strength in the row of magnitudes, from 0 on.
        num_magnitude_bins: length of that row.
        interpolation: how pixels are interpolated where they move.
        fill: level in 0..255 of what comes from outside the image, one for all channels or one each.

    Raises:
        ValueError: ``magnitude`` is not in ``range(num_magnitude_bins)``.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        fill: Fill = 0,
    ) -> None:
        super().__init__(interpolation, fill)
        if not 0 <= magnitude < num_magnitude_bins:
            raise ValueError(f"magnitude must lie in 0..{num_magnitude_bins - 1}, got {magnitude}")
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Operation, ...]:
        names = rng.choices(tuple(RAND), k=self.num_ops)
        return tuple(_drawn(RAND, name, self.magnitude, self.num_magnitude_bins, sample, rng) for name in names)


class TrivialAugmentWide(_Policy):
    """One operation of a strength drawn at random: `TrivialAugment <https://arxiv.org/abs/2103.10158>`__, wide.

    Args:
        num_magnitude_bins: length of the row of magnitudes.
        interpolation: how pixels are interpolated where they move.
        fill: level in 0..255 of what comes from outside the image, one for all channels or one each.
    """

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        fill: Fill = 0,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def draw(self, sample: Sample, rng: random.Random) -> tuple[Operation, ...]:
        name = rng.choice(tuple(TRIVIAL_WIDE))
        place = rng.randrange(self.num_magnitude_bins)
        return (_drawn(TRIVIAL_WIDE, name, place, self.num_magnitude_bins, sample, rng),)


class Mixture(NamedTuple):
    """Chains of operations, and how much of each their mix has.

    Args:
        original: weight of the image itself.
        chains: weight of a chain, and its operations; the weights add up to 1 with ``original``.
    """

    original: float
    chains: tuple[tuple[float, tuple[Operation, ...]], ...]


class AugMix(Transform[Mixture]):
    """The mix of an image with several chains of operations on it: `AugMix <https://arxiv.org/abs/1912.02781>`__.

    Args:
        severity: strength of the operations, 1 to 10: their magnitudes lie below this place in a row of ten.
        mixture_width: how many chains.
        chain_depth: operations in a chain; -1 for one to three at random.
        alpha: parameter of the distributions, Dirichlet's and Beta, that weights are drawn from.
        all_ops: whether brightness, saturation, contrast and sharpness are among the operations. The paper leaves them
            out, as its benchmark of corruptions has the like.
        interpolation: how pixels are interpolated where they move.
        fill: level in 0..255 of what comes from outside the image, one for all channels or one each.

    Raises:
        ValueError: ``severity`` is not in 1..10.
    """

    BINS = 10

    def __init__(
        self,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        fill: Fill = 0,
    ) -> None:
        if not 1 <= severity <= self.BINS:
            raise ValueError(f"severity must lie in 1..{self.BINS}, got {severity}")
        if mixture_width < 1 or alpha <= 0:
            raise ValueError(f"mixture_width and alpha must be positive, got {mixture_width} and {alpha}")
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        self.interpolation = resampling(interpolation)
        self.fill = fill

    def draw(self, sample: Sample, rng: random.Random) -> Mixture:
        space = AUGMIX_ALL if self.all_ops else AUGMIX
        parts = [rng.gammavariate(self.alpha, 1.0) for _ in range(self.mixture_width)]
        mixed = rng.betavariate(self.alpha, self.alpha)
        chains = []
        for part in parts:
            depth = self.chain_depth if self.chain_depth > 0 else rng.randint(1, 3)
            operations = tuple(
                _drawn(space, name, rng.randrange(self.severity), self.BINS, sample, rng)
                for name in rng.choices(tuple(space), k=depth)
            )
            chains.append((mixed * part / sum(parts), operations))
        return Mixture(1 - mixed, tuple(chains))

    def apply(self, sample: Sample, parameters: Mixture) -> Sample:
        _check(self, sample)

        def mixed(frame: Image.Image) -> Image.Image:
            mix = _levels(frame) * parameters.original
            for weight, operations in parameters.chains:
                changed = frame
                for operation in operations:
                    changed = apply_operation(changed, operation, self.interpolation, self.fill)
                mix.add_(_levels(changed), alpha=weight)
            levels = mix.round_().clamp_(0, 255).to(torch.uint8)
            return Image.frombytes(frame.mode, frame.size, tensor_bytes(levels))

        return sample.replace(image=color.on_frames(sample.image, mixed))


def _levels(image: Image.Image) -> torch.Tensor:
    """The levels of all channels in the order in which Pillow has them."""
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float()
