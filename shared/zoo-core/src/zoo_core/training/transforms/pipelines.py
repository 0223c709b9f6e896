"""The augmentation of each task as recipes name it: by the keys that users of torchvision's reference scripts know."""

from collections.abc import Callable, Sequence

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms.color import ColorJitter
from zoo_core.training.transforms.crops import RandomResizedCrop
from zoo_core.training.transforms.flips import RandomHorizontalFlip, RandomVerticalFlip
from zoo_core.training.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from zoo_core.training.transforms.policy_tables import POLICIES
from zoo_core.training.transforms.sample import Compose, Sample, Transform
from zoo_core.training.transforms.tensors import RandomErasing, ToTensor

__all__ = ["AUTO_AUGMENTS", "automatic", "classification"]

# The values of `auto_augment`.
AUTO_AUGMENTS = ("ta_wide", "ra", "augmix", *POLICIES)

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def classification(
    *,
    train_crop_size: int | Sequence[int] = 224,
    mean: Sequence[float] | None = _MEAN,
    std: Sequence[float] | None = _STD,
    interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] = 0.0,
    auto_augment: str | None = None,
    ra_magnitude: int = 9,
    augmix_severity: int = 3,
    random_erase: float = 0.0,
) -> Compose:
    """Augmentation for classification: crop, flips, colours, a policy, normalised tensor, erasing.

    Args:
        train_crop_size: of the result: height and width, or one number for both.
        mean, std: of each channel, for levels in [0, 1]; ``None`` for levels in [0, 1] as they are.
        interpolation: how images are resized, and rotated by the policy.
        scale, ratio: area and aspect ratio of the crop, see :class:`RandomResizedCrop`.
        hflip, vflip: probability of a horizontal and a vertical flip.
        color_jitter: brightness, contrast and saturation of :class:`ColorJitter`, one number for the three; or up to
            four, with the hue.
        auto_augment: ``"ta_wide"``, ``"ra"``, ``"augmix"``, or the policy ``"imagenet"``, ``"cifar10"`` or ``"svhn"``.
        ra_magnitude: magnitude of ``"ra"``.
        augmix_severity: severity of ``"augmix"``.
        random_erase: probability of :class:`RandomErasing`.

    Returns:
        A function of a sample and a generator, which gives the image as float32 Tensor[C, H, W].

    Raises:
        ValueError: a value is none of these; the message says what is expected.
    """
    steps: list[Callable[..., Sample]] = [RandomResizedCrop(train_crop_size, scale, ratio, interpolation)]
    if hflip > 0:
        steps.append(RandomHorizontalFlip(hflip))
    if vflip > 0:
        steps.append(RandomVerticalFlip(vflip))
    jitter = tuple(color_jitter) if isinstance(color_jitter, Sequence) else (color_jitter,) * 3
    if any(jitter):
        steps.append(ColorJitter(*jitter))
    if auto_augment is not None:
        steps.append(automatic(auto_augment, interpolation, ra_magnitude, augmix_severity))
    steps.append(ToTensor(mean, std))
    if random_erase > 0:
        steps.append(RandomErasing(random_erase))
    return Compose(steps)


def automatic(
    name: str,
    interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ra_magnitude: int = 9,
    augmix_severity: int = 3,
) -> Transform:
    """The policy of a name.

    Args:
        name: one of ``AUTO_AUGMENTS``.
        interpolation: how pixels are interpolated where they move.
        ra_magnitude: magnitude of ``"ra"``.
        augmix_severity: severity of ``"augmix"``.

    Raises:
        ValueError: there is no such policy.
    """
    match name:
        case "ta_wide":
            return TrivialAugmentWide(interpolation=interpolation)
        case "ra":
            return RandAugment(magnitude=ra_magnitude, interpolation=interpolation)
        case "augmix":
            return AugMix(severity=augmix_severity, interpolation=interpolation)
    if name in POLICIES:
        return AutoAugment(name, interpolation)
    raise ValueError(f"auto_augment: there is no policy {name!r}: expected one of {', '.join(AUTO_AUGMENTS)}")
