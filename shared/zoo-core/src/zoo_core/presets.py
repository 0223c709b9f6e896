"""Preprocessing: what turns an image into the tensor that a model was trained on.

The presets are modules with the arguments and the values of torchvision's presets of the same names. They take a PIL
image or a tensor, on any device. ``weights.transforms()`` makes the one that belongs to a checkpoint.
"""

from collections.abc import Sequence
from enum import Enum

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core import preset_arguments
from zoo_core.images import convert_mode, pil_to_tensor
from zoo_core.input_channels import check_channels, per_channel
from zoo_core.text import type_name

__all__ = [
    "ImageClassification",
    "InterpolationMode",
    "ObjectDetection",
    "OpticalFlow",
    "SemanticSegmentation",
    "VideoClassification",
]


class InterpolationMode(Enum):
    """How pixels are interpolated when resizing. The presets take a member or its value.

    ``BOX``, ``HAMMING`` and ``LANCZOS`` exist for PIL images only.
    """

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"

    @classmethod
    def _missing_(cls, value: object) -> "InterpolationMode | None":
        name = getattr(value, "value", value)  # torchvision's own member carries the same value
        return next((member for member in cls if isinstance(name, str) and member.value == name.lower()), None)


RESAMPLING = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.NEAREST_EXACT: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
    InterpolationMode.BOX: Image.Resampling.BOX,
    InterpolationMode.HAMMING: Image.Resampling.HAMMING,
    InterpolationMode.LANCZOS: Image.Resampling.LANCZOS,
}
"""What Pillow calls them."""

_SMOOTH = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
_TENSOR_INTERPOLATIONS = (*_SMOOTH, InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT)

# Where an image would be resized to more pixels than these, only those that the crop shows are computed.
_MAX_RESIZED_PIXELS = 2**26

# The level that stands for 1.0 in an image of integers.
_FULL_SCALE = {torch.uint8: 255, torch.uint16: 65535}


class ImageClassification(nn.Module):
    """Resizes the shorter side, crops the centre, scales to [0, 1] and normalises.

    Args:
        crop_size: Height and width of the result, one number for both. Where the resized image is smaller, it is
            padded with black.
        resize_size: Length that the shorter side is resized to (the aspect ratio is kept), or ``(height, width)``.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel.
        interpolation: An :class:`InterpolationMode` or its value.
        antialias: Whether to smooth when a tensor is made smaller by bilinear or bicubic interpolation. PIL images
            are always smoothed.
        in_channels: How many channels the images have, where these are not RGB: mean and deviation are then made for
            them, see :mod:`zoo_core.input_channels`.
    """

    def __init__(
        self,
        *,
        crop_size: int | Sequence[int],
        resize_size: int | Sequence[int] = 256,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.crop_size = preset_arguments.size("crop_size", crop_size)
        self.resize_size = preset_arguments.size("resize_size", resize_size)
        self.mean, self.std = _statistics(mean, std, in_channels)
        self.interpolation = interpolation_mode(interpolation)
        self.antialias = antialias

    def forward(self, img: Tensor | Image.Image) -> Tensor:
        """Prepares an image, or a batch of tensors.

        Args:
            img: A PIL image of any mode (it is converted to RGB, or to grey for a ``mean`` of one channel), or a
                tensor ``[..., C, H, W]``, uint8 in 0..255, uint16 in 0..65535 or floating in [0, 1].

        Returns:
            float32 ``[..., C, crop_size, crop_size]``; a PIL image gives three dimensions.

        Raises:
            TypeError: ``img`` is neither a PIL image nor a tensor, or has another dtype.
            ValueError: ``img`` is empty, or its channels are not those of ``mean``.
        """
        return _preprocess(
            img, self.resize_size, self.crop_size, self.mean, self.std, self.interpolation, bool(self.antialias)
        )

    def extra_repr(self) -> str:
        return _repr(self, "crop_size", "resize_size", "mean", "std", "interpolation")

    def describe(self) -> str:
        """What the preset does, in a few sentences."""
        return (
            f"{_IMAGES} {_resize_text(self)}, followed by a central crop of ``crop_size={self.crop_size}``. "
            f"{_normalize_text(self)}"
        )


class SemanticSegmentation(nn.Module):
    """Resizes the shorter side, scales to [0, 1] and normalises.

    Args:
        resize_size: Length that the shorter side is resized to (the aspect ratio is kept), ``(height, width)``, or
            ``None`` to keep the size.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel.
        interpolation: An :class:`InterpolationMode` or its value.
        antialias: Whether to smooth when a tensor is made smaller by bilinear or bicubic interpolation. PIL images
            are always smoothed.
        in_channels: How many channels the images have, where these are not RGB: mean and deviation are then made for
            them, see :mod:`zoo_core.input_channels`.
    """

    def __init__(
        self,
        *,
        resize_size: int | Sequence[int] | None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.resize_size = None if resize_size is None else preset_arguments.size("resize_size", resize_size)
        self.mean, self.std = _statistics(mean, std, in_channels)
        self.interpolation = interpolation_mode(interpolation)
        self.antialias = antialias

    def forward(self, img: Tensor | Image.Image) -> Tensor:
        """Prepares an image, or a batch of tensors.

        Args:
            img: As for :class:`ImageClassification`.

        Returns:
            float32 ``[..., C, H, W]``, the shorter side of length ``resize_size``; a PIL image gives three
            dimensions.

        Raises:
            TypeError: ``img`` is neither a PIL image nor a tensor, or has another dtype.
            ValueError: ``img`` is empty, or its channels are not those of ``mean``.
        """
        return _preprocess(img, self.resize_size, None, self.mean, self.std, self.interpolation, bool(self.antialias))

    def extra_repr(self) -> str:
        return _repr(self, "resize_size", "mean", "std", "interpolation")

    def describe(self) -> str:
        """What the preset does, in a few sentences."""
        resize = "Their size is kept" if self.resize_size is None else _resize_text(self)
        return f"{_IMAGES} {resize}. {_normalize_text(self)}"


class ObjectDetection(nn.Module):
    """Scales to [0, 1]. Detection models resize, normalise and batch by themselves."""

    def forward(self, img: Tensor | Image.Image) -> Tensor:
        """Prepares an image, or a batch of tensors.

        Args:
            img: A PIL image of any mode (it is converted to RGB), or a tensor ``[..., C, H, W]``, uint8 in 0..255,
                uint16 in 0..65535 or floating in [0, 1].

        Returns:
            float32 ``[..., C, H, W]``; a PIL image gives three dimensions. A float32 tensor is returned as it is.

        Raises:
            TypeError: ``img`` is neither a PIL image nor a tensor, or has another dtype.
            ValueError: ``img`` is empty.
        """
        return _scale(_image_tensor(img))

    def describe(self) -> str:
        """What the preset does, in a few sentences."""
        return f"{_IMAGES} The images are rescaled to ``[0.0, 1.0]``."


class VideoClassification(nn.Module):
    """Resizes all frames, crops the centre, scales to [0, 1], normalises, and puts the channels before the frames.

    Args:
        crop_size: ``(height, width)`` of the result, or one number for both.
        resize_size: Length that the shorter side is resized to (the aspect ratio is kept), or ``(height, width)``.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel.
        interpolation: An :class:`InterpolationMode` or its value. Never antialiased: the published weights were
            trained without.
        in_channels: How many channels the images have, where these are not RGB: mean and deviation are then made for
            them, see :mod:`zoo_core.input_channels`.
    """

    def __init__(
        self,
        *,
        crop_size: int | Sequence[int],
        resize_size: int | Sequence[int],
        mean: Sequence[float] = (0.43216, 0.394666, 0.37645),
        std: Sequence[float] = (0.22803, 0.22145, 0.216989),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.crop_size = preset_arguments.size("crop_size", crop_size)
        self.resize_size = preset_arguments.size("resize_size", resize_size)
        self.mean, self.std = _statistics(mean, std, in_channels)
        self.interpolation = interpolation_mode(interpolation)

    def forward(self, vid: Tensor) -> Tensor:
        """Prepares a clip, or a batch of clips.

        Args:
            vid: Frames ``[..., T, C, H, W]``, uint8 in 0..255, uint16 in 0..65535 or floating in [0, 1].

        Returns:
            float32 ``[..., C, T, crop_height, crop_width]``.

        Raises:
            TypeError: ``vid`` is not a tensor, or has another dtype.
            ValueError: ``vid`` has fewer than four dimensions, is empty, or its channels are not those of ``mean``.
        """
        _check_tensor(vid, len(self.mean), layout="[..., T, C, H, W]")
        frames = _resize_tensor(vid, self.resize_size, self.crop_size, self.interpolation, antialias=False)
        return _normalize(_scale(frames, vid.dtype), self.mean, self.std).transpose(-4, -3)

    def extra_repr(self) -> str:
        return _repr(self, "crop_size", "resize_size", "mean", "std", "interpolation")

    def describe(self) -> str:
        """What the preset does, in a few sentences."""
        return (
            "Accepts batched ``(B, T, C, H, W)`` and single ``(T, C, H, W)`` video frame ``torch.Tensor`` objects. "
            f"{_resize_text(self, 'frames')}, followed by a central crop of ``crop_size={self.crop_size}``. "
            f"{_normalize_text(self)} The output dimensions are permuted to ``(..., C, T, H, W)``."
        )


class OpticalFlow(nn.Module):
    """Scales two images to [-1, 1]. Height and width must suit the model; see its documentation."""

    def forward(self, img1: Tensor | Image.Image, img2: Tensor | Image.Image) -> tuple[Tensor, Tensor]:
        """Prepares a pair of images, or batches of pairs.

        Args:
            img1: The first image, or a batch of them; as for :class:`ObjectDetection`.
            img2: The second image or batch, of the same shape.

        Returns:
            Both as float32 ``[..., C, H, W]`` in [-1, 1].

        Raises:
            TypeError: One of them is neither a PIL image nor a tensor, or has another dtype.
            ValueError: They are empty, or their shapes differ.
        """
        first, second = _image_tensor(img1), _image_tensor(img2)
        if first.shape != second.shape:
            raise ValueError(
                f"the two images must have the same shape, got {list(first.shape)} and {list(second.shape)}"
            )
        return (_scale(first) - 0.5) / 0.5, (_scale(second) - 0.5) / 0.5

    def describe(self) -> str:
        """What the preset does, in a few sentences."""
        return f"{_IMAGES} The images are rescaled to ``[-1.0, 1.0]``."


# Arguments and inputs ------------------------------------------------------------------------------------------------


def interpolation_mode(interpolation: InterpolationMode | str) -> InterpolationMode:
    """A member, or the member of a value.

    Raises:
        ValueError: there is no such one; the message lists those there are.
    """
    try:
        return InterpolationMode(interpolation)
    except ValueError:
        values = ", ".join(member.value for member in InterpolationMode)
        raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {values}") from None


def _statistics(
    mean: Sequence[float], std: Sequence[float], in_channels: int | None
) -> tuple[list[float], list[float]]:
    mean, std = preset_arguments.statistics(mean, std)
    if in_channels is None:
        return mean, std
    check_channels(in_channels)
    return per_channel(mean, in_channels), per_channel(std, in_channels)


def _picture(picture: Image.Image, channels: int) -> Image.Image:
    """The image in the mode with that many channels."""
    if picture.width == 0 or picture.height == 0:
        raise ValueError(f"the image is empty: {picture.width} x {picture.height} pixels")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise ValueError(f"a PIL image cannot have the {channels} channels of mean: pass a tensor")
    return convert_mode(picture, mode)


def _check_tensor(image: Tensor, channels: int | None, layout: str = "[..., C, H, W]") -> None:
    if not isinstance(image, Tensor):
        found = type_name(image)
        hint = "; convert an array with torch.from_numpy(array).permute(2, 0, 1)" if found.endswith(".ndarray") else ""
        expected = "a tensor" if layout.startswith("[..., T") else "a PIL image or a tensor"
        raise TypeError(f"expected {expected}, got {found}{hint}")
    if not (image.is_floating_point() or image.dtype in _FULL_SCALE):
        raise TypeError(
            f"expected uint8 in 0..255, uint16 in 0..65535 or floating values in [0, 1], got {image.dtype}: "
            "convert it first, e.g. with .to(torch.uint8)"
        )
    if image.ndim < layout.count(","):
        raise ValueError(f"expected a tensor of shape {layout}, got shape {list(image.shape)}")
    if image.shape[-1] == 0 or image.shape[-2] == 0:
        raise ValueError(f"the image is empty: shape {list(image.shape)}")
    if channels is not None and image.shape[-3] != channels:
        found = image.shape[-3]
        expected = f"expected {channels} channels in a tensor of shape {layout}, got {found} in {list(image.shape)}"
        if image.shape[-1] == channels:
            raise ValueError(f"{expected}: the channels come last, permute them with .movedim(-1, -3)")
        hints = {
            (1, 3): "repeat a grey image with .expand(*shape[:-3], 3, -1, -1), or read it as RGB; or, ",
            (4, 3): "drop the alpha channel with [..., :3, :, :], or read it as RGB; or, ",
        }
        hint = hints.get((found, channels), "")
        raise ValueError(f"{expected}: {hint}for a model of {found} channels, weights.transforms(in_channels={found})")


def _image_tensor(image: Tensor | Image.Image) -> Tensor:
    if isinstance(image, Image.Image):
        return pil_to_tensor(_picture(image, channels=3))
    _check_tensor(image, channels=None)
    return image


# Operations ----------------------------------------------------------------------------------------------------------


def _preprocess(
    img: Tensor | Image.Image,
    resize_size: list[int] | None,
    crop_size: list[int] | None,
    mean: list[float],
    std: list[float],
    interpolation: InterpolationMode,
    antialias: bool,
) -> Tensor:
    if isinstance(img, Image.Image):
        picture = _resize_picture(_picture(img, len(mean)), resize_size, crop_size, interpolation)
        return _normalize(_scale(pil_to_tensor(picture)), mean, std)
    _check_tensor(img, len(mean))
    values = _resize_tensor(img, resize_size, crop_size, interpolation, antialias)
    return _normalize(_scale(values, img.dtype), mean, std)


def _resized(height: int, width: int, size: list[int] | None) -> tuple[int, int]:
    """Height and width after resizing."""
    if size is None:
        return height, width
    if len(size) == 2:
        return size[0], size[1]
    short = size[0]
    return (short, short * width // height) if height <= width else (short * height // width, short)


def _crop_offset(length: int, crop: int) -> int:
    """Where a central crop starts; negative where it pads. Halves round to even when cropping, away when padding."""
    return round((length - crop) / 2) if crop <= length else -((crop - length) // 2)


def _resize_picture(
    picture: Image.Image, size: list[int] | None, crop: list[int] | None, interpolation: InterpolationMode
) -> Image.Image:
    """Resizes, and crops the centre."""
    height, width = _resized(picture.height, picture.width, size)
    crop_height, crop_width = (height, width) if crop is None else (crop[0], crop[-1])
    top, left = _crop_offset(height, crop_height), _crop_offset(width, crop_width)
    if (height, width) != (picture.height, picture.width):
        resampling = RESAMPLING[interpolation]
        if height * width <= _MAX_RESIZED_PIXELS:
            picture = picture.resize((width, height), resampling)
        else:
            # A long strip: compute only what the crop shows. Not always, as Pillow's levels then differ by a few.
            x0, x1 = max(left, 0), min(left + crop_width, width)
            y0, y1 = max(top, 0), min(top + crop_height, height)
            scale_x, scale_y = picture.width / width, picture.height / height
            box = (x0 * scale_x, y0 * scale_y, min(x1 * scale_x, picture.width), min(y1 * scale_y, picture.height))
            picture = picture.resize((x1 - x0, y1 - y0), resampling, box)
            left, top = min(left, 0), min(top, 0)
    if (left, top) == (0, 0) and picture.size == (crop_width, crop_height):
        return picture
    return picture.crop((left, top, left + crop_width, top + crop_height))  # black where it reaches outside


def _resize_tensor(
    image: Tensor, size: list[int] | None, crop: list[int] | None, interpolation: InterpolationMode, antialias: bool
) -> Tensor:
    """Resizes, and crops the centre. Integer images keep integer values, whatever the result's dtype."""
    height, width = _resized(image.shape[-2], image.shape[-1], size)
    resized = image
    if (height, width) != (image.shape[-2], image.shape[-1]):
        if interpolation not in _TENSOR_INTERPOLATIONS:
            raise ValueError(f"{interpolation} exists for PIL images only: convert the tensor with to_pil_image")
        smooth = interpolation in _SMOOTH
        resized = F.interpolate(
            (image if image.dtype == torch.float64 else image.float()).reshape(-1, *image.shape[-3:]),
            size=(height, width),
            mode=interpolation.value,
            align_corners=False if smooth else None,
            antialias=antialias and smooth,
        ).reshape(*image.shape[:-2], height, width)
    cropped = resized if crop is None else _center_crop(resized, crop[0], crop[-1])
    if resized is not image and image.dtype in _FULL_SCALE:
        # Bicubic interpolation overshoots.
        cropped = cropped.round_().clamp_(0, _FULL_SCALE[image.dtype])
    return cropped


def _center_crop(image: Tensor, crop_height: int, crop_width: int) -> Tensor:
    height, width = image.shape[-2:]
    top, left = _crop_offset(height, crop_height), _crop_offset(width, crop_width)
    image = image[..., max(top, 0) : max(top, 0) + crop_height, max(left, 0) : max(left, 0) + crop_width]
    if crop_height <= height and crop_width <= width:
        return image
    right, bottom = crop_width - width + left, crop_height - height + top
    return F.pad(image, [max(edge, 0) for edge in (-left, right, -top, bottom)])


def _scale(values: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """float32 in [0, 1], for levels of an image that had the given dtype (default: has)."""
    full_scale = _FULL_SCALE.get(dtype or values.dtype)
    floats = values.to(torch.float32)
    if full_scale is None:
        return floats
    return floats.div_(full_scale)  # in place: integers came here through a copy, by the line above or by resizing


def _normalize(image: Tensor, mean: list[float], std: list[float]) -> Tensor:
    statistics = torch.tensor((mean, std), dtype=image.dtype, device=image.device)[..., None, None]
    return (image - statistics[0]).div_(statistics[1])


# Texts ---------------------------------------------------------------------------------------------------------------

_IMAGES = "Accepts ``PIL.Image``, batched ``(B, C, H, W)`` and single ``(C, H, W)`` image ``torch.Tensor`` objects."


def _repr(preset: nn.Module, *names: str) -> str:
    return "\n".join(f"{name}={getattr(preset, name)}" for name in names)


def _resize_text(preset: ImageClassification | SemanticSegmentation | VideoClassification, what: str = "images") -> str:
    return (
        f"The {what} are resized to ``resize_size={preset.resize_size}`` using ``interpolation={preset.interpolation}``"
    )


def _normalize_text(preset: ImageClassification | SemanticSegmentation | VideoClassification) -> str:
    return (
        "Finally the values are first rescaled to ``[0.0, 1.0]`` and then normalized "
        f"using ``mean={preset.mean}`` and ``std={preset.std}``."
    )
