"""The augmentation of each task as recipes name it: by the keys that users of torchvision's reference scripts know."""

from collections.abc import Callable, Sequence

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms.color import ColorJitter, PhotometricDistort
from zoo_core.training.transforms.crops import IoUCrop, RandomCrop, RandomResizedCrop, Sanitize, ZoomOut
from zoo_core.training.transforms.flips import RandomHorizontalFlip, RandomVerticalFlip
from zoo_core.training.transforms.geometry import Fill
from zoo_core.training.transforms.pairs import AsymmetricColorJitter, EraseSecond, FlowResizeCrop
from zoo_core.training.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from zoo_core.training.transforms.policy_tables import POLICIES
from zoo_core.training.transforms.sample import Compose, Sample, Transform
from zoo_core.training.transforms.sizes import LargeScaleJitter, RandomResizeAndCrop, RandomShortestSize, Resize
from zoo_core.training.transforms.tensors import RandomErasing, ToTensor

__all__ = [
    "AUTO_AUGMENTS",
    "DATA_AUGMENTATIONS",
    "automatic",
    "classification",
    "detection",
    "flow",
    "segmentation",
    "video",
]

# The values of `auto_augment`.
AUTO_AUGMENTS = ("ta_wide", "ra", "augmix", *POLICIES)

# The values of `data_augmentation`.
DATA_AUGMENTATIONS = ("hflip", "lsj", "multiscale", "ssd", "ssdlite")

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_VIDEO_MEAN = (0.43216, 0.394666, 0.37645)
_VIDEO_STD = (0.22803, 0.22145, 0.216989)
# ImageNet's mean in 0..255: what detectors are shown where there is no image.
_FILL = (123, 117, 104)


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
    ra_num_ops: int = 2,
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
        ra_magnitude, ra_num_ops: magnitude of ``"ra"``, and how many operations it applies.
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
    steps += _jitter(color_jitter)
    if auto_augment is not None:
        steps.append(automatic(auto_augment, interpolation, ra_magnitude, ra_num_ops, augmix_severity))
    steps.append(ToTensor(mean, std))
    if random_erase > 0:
        steps.append(RandomErasing(random_erase))
    return Compose(steps)


def automatic(
    name: str,
    interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    ra_magnitude: int = 9,
    ra_num_ops: int = 2,
    augmix_severity: int = 3,
) -> Transform:
    """The policy of a name.

    Args:
        name: one of ``AUTO_AUGMENTS``.
        interpolation: how pixels are interpolated where they move.
        ra_magnitude, ra_num_ops: magnitude of ``"ra"``, and how many operations it applies.
        augmix_severity: severity of ``"augmix"``.

    Raises:
        ValueError: there is no such policy.
    """
    match name:
        case "ta_wide":
            return TrivialAugmentWide(interpolation=interpolation)
        case "ra":
            return RandAugment(ra_num_ops, ra_magnitude, interpolation=interpolation)
        case "augmix":
            return AugMix(severity=augmix_severity, interpolation=interpolation)
    if name in POLICIES:
        return AutoAugment(name, interpolation)
    raise ValueError(f"auto_augment: there is no policy {name!r}: expected one of {', '.join(AUTO_AUGMENTS)}")


def detection(
    *,
    data_augmentation: str = "hflip",
    hflip_prob: float = 0.5,
    train_size: int | Sequence[int] = 1024,
    scale_range: Sequence[float] = (0.1, 2.0),
    min_size: int | Sequence[int] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    max_size: int = 1333,
    fill: Fill = _FILL,
    keypoint_pairs: Sequence[tuple[int, int]] = (),
) -> Compose:
    """Augmentation for detection, instance segmentation and keypoints.

    - ``"hflip"``: a horizontal flip, as in all others.
    - ``"lsj"``: large scale jittering. :class:`CopyPaste` may follow on the batch.
    - ``"multiscale"``: a shorter side of one of several lengths.
    - ``"ssd"``: photometric distortion, zooming out, and the crop around objects.
    - ``"ssdlite"``: the crop around objects.

    Args:
        data_augmentation: one of these.
        hflip_prob: probability of the flip.
        train_size: of ``"lsj"``, height and width of the result, or one number for both.
        scale_range: of ``"lsj"``, see :class:`ScaleJitter`.
        min_size, max_size: of ``"multiscale"``, see :class:`RandomShortestSize`.
        fill: level in 0..255 where there is no image, one for all channels or one each.
        keypoint_pairs: numbers of the keypoints that a flip swaps, as ``COCO_KEYPOINT_PAIRS``.

    Returns:
        A function of a sample and a generator, which gives the image as float32 Tensor[C, H, W] in [0, 1]: detectors
        normalise by themselves. Boxes lie in the image, and are at least a pixel wide and high.

    Raises:
        ValueError: there is no such augmentation, or a range is none.
    """
    steps: list[Callable[..., Sample]]
    match data_augmentation:
        case "hflip":
            steps = []
        case "lsj":
            steps = [LargeScaleJitter(train_size, scale_range, fill)]
        case "multiscale":
            steps = [RandomShortestSize(min_size, max_size)]
        case "ssd":
            steps = [PhotometricDistort(), ZoomOut(fill), IoUCrop()]
        case "ssdlite":
            steps = [IoUCrop()]
        case _:
            raise ValueError(
                f"data_augmentation: there is no {data_augmentation!r}: expected one of {', '.join(DATA_AUGMENTATIONS)}"
            )
    return Compose([*steps, RandomHorizontalFlip(hflip_prob, keypoint_pairs), Sanitize(), ToTensor()])


def segmentation(
    *,
    base_size: int = 520,
    crop_size: int | Sequence[int] = 480,
    scale: Sequence[float] = (0.5, 2.0),
    hflip_prob: float = 0.5,
    color_jitter: float | Sequence[float] = 0.0,
    mean: Sequence[float] | None = _MEAN,
    std: Sequence[float] | None = _STD,
    fill: Fill = 0,
) -> Compose:
    """Augmentation for semantic segmentation: random size, crop with padding, flip, colours, normalised tensor.

    Args:
        base_size: length of the shorter side at a scale of 1.
        crop_size: height and width of the result, or one number for both.
        scale: range of the factor of ``base_size``.
        hflip_prob: probability of a horizontal flip.
        color_jitter: as for :func:`classification`.
        mean, std: of each channel, for levels in [0, 1]; ``None`` for levels in [0, 1] as they are.
        fill: level in 0..255 of the padding; labels there are 255.

    Returns:
        A function of a sample and a generator, which gives the image as float32 Tensor[C, H, W], and its label map.

    Raises:
        ValueError: a range is none.
    """
    sizes = int(scale[0] * base_size), int(scale[1] * base_size)
    steps: list[Callable[..., Sample]] = [
        RandomResizeAndCrop(*sizes, crop_size, fill),
        RandomHorizontalFlip(hflip_prob),
        *_jitter(color_jitter),
        ToTensor(mean, std),
    ]
    return Compose(steps)


def video(
    *,
    train_resize_size: int | Sequence[int] = (128, 171),
    train_crop_size: int | Sequence[int] = 112,
    hflip_prob: float = 0.5,
    color_jitter: float | Sequence[float] = 0.0,
    scale: Sequence[float] | None = None,
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    auto_augment: str | None = None,
    ra_magnitude: int = 9,
    ra_num_ops: int = 2,
    augmix_severity: int = 3,
    random_erase: float = 0.0,
    mean: Sequence[float] | None = _VIDEO_MEAN,
    std: Sequence[float] | None = _VIDEO_STD,
) -> Compose:
    """Augmentation for clips: size, crop, flip and colours, alike for all frames; normalised tensor.

    Which frames make a clip is drawn before they are decoded, by :func:`draw_frames`.

    Args:
        train_resize_size: length of the shorter side, or height and width.
        train_crop_size: height and width of the result, or one number for both.
        hflip_prob: probability of a horizontal flip.
        color_jitter: as for :func:`classification`.
        scale, ratio: area and aspect ratio of a crop as :class:`RandomResizedCrop` takes it, as MViT and Video Swin are
            trained; ``train_resize_size`` then has no effect. ``None``: a crop of the resized clip.
        auto_augment, ra_magnitude, ra_num_ops, augmix_severity, random_erase: as for :func:`classification`.
        mean, std: of each channel, for levels in [0, 1]; ``None`` for levels in [0, 1] as they are.

    Returns:
        A function of a sample (uint8 Tensor[T, C, H, W]) and a generator, which gives the clip as float32
        Tensor[C, T, H, W].

    Raises:
        ValueError: a value is none of these; the message says what is expected.
    """
    steps: list[Callable[..., Sample]]
    if scale is None:
        steps = [Resize(train_resize_size), RandomCrop(train_crop_size)]
    else:
        steps = [RandomResizedCrop(train_crop_size, scale, ratio)]
    steps += [RandomHorizontalFlip(hflip_prob), *_jitter(color_jitter)]
    if auto_augment is not None:
        steps.append(
            automatic(auto_augment, ra_magnitude=ra_magnitude, ra_num_ops=ra_num_ops, augmix_severity=augmix_severity)
        )
    steps.append(ToTensor(mean, std))
    if random_erase > 0:
        steps.append(RandomErasing(random_erase))
    return Compose(steps)


def flow(
    *,
    crop_size: int | Sequence[int],
    min_scale: float = -0.2,
    max_scale: float = 0.5,
    stretch_prob: float = 0.8,
    do_flip: bool = True,
    color_jitter: Sequence[float] = (0.4, 0.4, 0.4, 0.5 / 3.14),
    asymmetric_jitter_prob: float = 0.2,
    erase_prob: float = 0.5,
) -> Compose:
    """Augmentation for pairs of images with their flow, as for `RAFT <https://arxiv.org/abs/2003.12039>`__.

    Args:
        crop_size: height and width of the result, or one number for both.
        min_scale, max_scale, stretch_prob: see :class:`FlowResizeCrop`.
        do_flip: whether left and right are swapped in half of the samples, top and bottom in a tenth. Not for scenes
            that are seen from a car.
        color_jitter: brightness, contrast, saturation and hue of :class:`AsymmetricColorJitter`.
        asymmetric_jitter_prob: probability that both images have colours of their own.
        erase_prob: probability of :class:`EraseSecond`.

    Returns:
        A function of a sample and a generator, which gives both images as float32 Tensor[C, H, W] in [-1, 1], and their
        flow, NaN where it is not known.

    Raises:
        ValueError: a range is none.
    """
    brightness, contrast, saturation, hue = color_jitter
    steps: list[Callable[..., Sample]] = [
        AsymmetricColorJitter(brightness, contrast, saturation, hue, asymmetric_jitter_prob),
        EraseSecond(erase_prob),
        FlowResizeCrop(crop_size, min_scale, max_scale, stretch_prob),
    ]
    if do_flip:
        steps += [RandomHorizontalFlip(0.5), RandomVerticalFlip(0.1)]
    return Compose([*steps, ToTensor((0.5,) * 3, (0.5,) * 3)])


def _jitter(values: float | Sequence[float]) -> list[ColorJitter]:
    """Brightness, contrast and saturation by one number, or up to four with the hue; nothing for zeros."""
    numbers = tuple(values) if isinstance(values, Sequence) else (values,) * 3
    return [ColorJitter(*numbers)] if any(numbers) else []
