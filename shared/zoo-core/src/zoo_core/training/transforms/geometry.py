"""Flipping, cropping and resizing an image with all that has a place in it.

These are functions of their arguments; the transforms draw the arguments. **What happens to instances that leave the
image** is settled here, in :func:`crop`: boxes are clipped to what is shown, an instance of whose box less than a pixel
of width or height is left goes, with its label, mask and keypoints; a keypoint outside becomes unknown (all zeros). A
mask does not decide: an instance whose box is inside stays, even where no pixel of its mask does.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoo_core.presets import InterpolationMode
from zoo_core.training.transforms.sample import Picture, Sample

__all__ = [
    "IGNORED",
    "Fill",
    "clean",
    "crop",
    "fill_color",
    "horizontal_flip",
    "resampling",
    "resize",
    "resize_nearest",
    "vertical_flip",
]

# The class of pixels that do not count.
IGNORED = 255

_RESAMPLING = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.NEAREST_EXACT: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
    InterpolationMode.BOX: Image.Resampling.BOX,
    InterpolationMode.HAMMING: Image.Resampling.HAMMING,
    InterpolationMode.LANCZOS: Image.Resampling.LANCZOS,
}

Fill = float | Sequence[float]


def resampling(interpolation: InterpolationMode | str) -> Image.Resampling:
    """Pillow's name of an interpolation.

    Raises:
        ValueError: there is no such one; the message lists those there are.
    """
    try:
        return _RESAMPLING[InterpolationMode(interpolation)]
    except ValueError:
        values = ", ".join(member.value for member in InterpolationMode)
        raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {values}") from None


# Flips ---------------------------------------------------------------------------------------------------------------


def horizontal_flip(sample: Sample, pairs: Sequence[tuple[int, int]] = ()) -> Sample:
    """Left and right swapped.

    Args:
        sample: of any kind.
        pairs: numbers of the keypoints that change places, left with right.
    """
    changes = _flipped_maps(sample, -1)
    width = sample.size[1]
    if sample.boxes is not None:
        left, top, right, bottom = sample.boxes.unbind(1)
        changes["boxes"] = torch.stack((width - right, top, width - left, bottom), 1)
    if sample.keypoints is not None:
        points = sample.keypoints.clone()
        points[..., 0] = torch.where(points[..., 2] > 0, width - points[..., 0], points[..., 0])
        changes["keypoints"] = points[:, _swapped(pairs, points.shape[1])] if pairs else points
    if sample.flow is not None:
        changes["flow"] = sample.flow.flip(-1) * sample.flow.new_tensor([-1.0, 1.0]).view(2, 1, 1)
    return sample.replace(**changes)


def vertical_flip(sample: Sample) -> Sample:
    """Top and bottom swapped.

    Args:
        sample: of any kind.
    """
    changes = _flipped_maps(sample, -2)
    height = sample.size[0]
    if sample.boxes is not None:
        left, top, right, bottom = sample.boxes.unbind(1)
        changes["boxes"] = torch.stack((left, height - bottom, right, height - top), 1)
    if sample.keypoints is not None:
        points = sample.keypoints.clone()
        points[..., 1] = torch.where(points[..., 2] > 0, height - points[..., 1], points[..., 1])
        changes["keypoints"] = points
    if sample.flow is not None:
        changes["flow"] = sample.flow.flip(-2) * sample.flow.new_tensor([1.0, -1.0]).view(2, 1, 1)
    return sample.replace(**changes)


def _flipped_maps(sample: Sample, dimension: int) -> dict[str, Any]:
    """The images, masks and label map."""
    method = Image.Transpose.FLIP_LEFT_RIGHT if dimension == -1 else Image.Transpose.FLIP_TOP_BOTTOM
    changes: dict[str, Any] = {}
    for name in ("image", "second", "masks", "label_map"):
        value = getattr(sample, name)
        if value is not None:
            changes[name] = value.flip(dimension) if isinstance(value, Tensor) else value.transpose(method)
    return changes


def _swapped(pairs: Sequence[tuple[int, int]], count: int) -> list[int]:
    order = list(range(count))
    for first, second in pairs:
        if not (0 <= first < count and 0 <= second < count):
            raise ValueError(f"the pair of keypoints ({first}, {second}) is not among the {count} of the sample")
        order[first], order[second] = order[second], order[first]
    return order


# Windows -------------------------------------------------------------------------------------------------------------


def crop(sample: Sample, top: int, left: int, height: int, width: int, fill: Fill = 0) -> Sample:
    """What a window shows. It may reach over the edges: there is ``fill``, no instance, and no pixel that counts.

    Args:
        sample: of any kind.
        top, left: the window's first row and column in the image.
        height, width: of the window.
        fill: level outside the image, in 0..255, one for all channels or one each.
    """
    if (top, left, height, width) == (0, 0, *sample.size):
        return sample
    changes: dict[str, Any] = {"image": _cropped_image(sample.image, top, left, height, width, fill)}
    if sample.second is not None:
        changes["second"] = _cropped_image(sample.second, top, left, height, width, fill)
    for name, value in (("masks", 0), ("label_map", IGNORED), ("flow", float("nan"))):
        tensor = getattr(sample, name)
        if tensor is not None:
            changes[name] = _window(tensor, top, left, height, width, value)
    if sample.boxes is not None:
        changes["boxes"] = sample.boxes - sample.boxes.new_tensor([left, top, left, top])
    if sample.keypoints is not None:
        changes["keypoints"] = sample.keypoints - sample.keypoints.new_tensor([left, top, 0])
    return (
        clean(sample.replace(**changes))
        if sample.boxes is not None or sample.keypoints is not None
        else (sample.replace(**changes))
    )


def clean(sample: Sample, min_size: float = 1.0) -> Sample:
    """The sample with boxes clipped to the image, and without instances that are not to be seen in it.

    Args:
        sample: of instances; another is returned as it is.
        min_size: instances go whose clipped box is narrower or lower than this, in pixels.
    """
    height, width = sample.size
    if sample.keypoints is not None:
        x, y, seen = sample.keypoints.unbind(-1)
        inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height) & (seen > 0)
        sample = sample.replace(keypoints=torch.where(inside[..., None], sample.keypoints, 0.0))
    if sample.boxes is None:
        return sample
    boxes = sample.boxes.clamp(min=0).minimum(sample.boxes.new_tensor([width, height, width, height]))
    sizes = boxes[:, 2:] - boxes[:, :2]
    return sample.replace(boxes=boxes).keep((sizes >= min_size).all(1))


def _cropped_image(image: Picture, top: int, left: int, height: int, width: int, fill: Fill) -> Picture:
    if isinstance(image, Tensor):
        levels = torch.as_tensor(fill, dtype=image.dtype)
        return _window(image, top, left, height, width, levels.view(-1, 1, 1) if levels.ndim else levels)
    color = fill_color(fill, image.mode)
    inside = top >= 0 and left >= 0 and left + width <= image.width and top + height <= image.height
    if inside or not any(color if isinstance(color, tuple) else (color,)):
        return image.crop((left, top, left + width, top + height))  # black outside
    canvas = Image.new(image.mode, (width, height), color)
    shown = (max(left, 0), max(top, 0), min(left + width, image.width), min(top + height, image.height))
    if shown[0] < shown[2] and shown[1] < shown[3]:
        canvas.paste(image.crop(shown) if shown != (0, 0, *image.size) else image, (shown[0] - left, shown[1] - top))
    return canvas


def fill_color(fill: Fill, mode: str) -> int | tuple[int, ...]:
    """A level for each channel, as Pillow takes it."""
    channels = 1 if mode == "L" else 3
    levels = tuple(fill) if isinstance(fill, Sequence) else (fill,) * channels
    if len(levels) != channels:
        if len(set(levels)) > 1 and channels == 1:  # a colour for a grey image: its brightness
            levels = (sum(weight * level for weight, level in zip((0.299, 0.587, 0.114), levels, strict=True)),)
        else:
            levels = (levels[0],) * channels
    numbers = tuple(int(level) for level in levels)
    return numbers[0] if channels == 1 else numbers


def _window(tensor: Tensor, top: int, left: int, height: int, width: int, fill: float | Tensor) -> Tensor:
    rows, columns = tensor.shape[-2:]
    first_row, first_column = max(top, 0), max(left, 0)
    last_row, last_column = min(top + height, rows), min(left + width, columns)
    if (last_row - first_row, last_column - first_column) == (height, width):
        return tensor[..., first_row:last_row, first_column:last_column]
    result = tensor.new_empty((*tensor.shape[:-2], height, width))
    result[:] = fill
    if first_row < last_row and first_column < last_column:
        shown = tensor[..., first_row:last_row, first_column:last_column]
        result[..., first_row - top : last_row - top, first_column - left : last_column - left] = shown
    return result


# Sizes ---------------------------------------------------------------------------------------------------------------


def resize(sample: Sample, height: int, width: int, resample: Image.Resampling = Image.Resampling.BILINEAR) -> Sample:
    """Another size, whatever the aspect ratio.

    PIL images are smoothed when they get smaller. Frames of a clip are not, as for the published weights of videos.
    Masks and label maps take the nearest pixel; a flow field without gaps is interpolated, and of one with gaps every
    known displacement goes to the pixel that its own becomes. Displacements are scaled along.

    Args:
        sample: of any kind.
        height, width: of the result.
        resample: how the images are interpolated.
    """
    old_height, old_width = sample.size
    if (height, width) == (old_height, old_width):
        return sample
    changes: dict[str, Any] = {"image": _resized_image(sample.image, height, width, resample)}
    if sample.second is not None:
        changes["second"] = _resized_image(sample.second, height, width, resample)
    for name in ("masks", "label_map"):
        tensor = getattr(sample, name)
        if tensor is not None:
            changes[name] = resize_nearest(tensor, height, width)
    x, y = width / old_width, height / old_height
    if sample.boxes is not None:
        changes["boxes"] = sample.boxes * sample.boxes.new_tensor([x, y, x, y])
    if sample.keypoints is not None:
        changes["keypoints"] = sample.keypoints * sample.keypoints.new_tensor([x, y, 1])
    if sample.flow is not None:
        changes["flow"] = _resized_flow(sample.flow, height, width)
    return sample.replace(**changes)


def _resized_image(image: Picture, height: int, width: int, resample: Image.Resampling) -> Picture:
    if not isinstance(image, Tensor):
        return image.resize((width, height), resample)
    if resample == Image.Resampling.NEAREST:
        return resize_nearest(image, height, width)
    modes = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
    if resample not in modes:
        raise ValueError(
            f"frames of a clip can be resized by nearest, bilinear or bicubic, not {resample.name.lower()}"
        )
    frames = image.reshape(-1, *image.shape[-3:])
    resized = F.interpolate(frames.float(), size=(height, width), mode=modes[resample], align_corners=False)
    resized = resized.reshape(*image.shape[:-2], height, width)
    return resized if image.is_floating_point() else resized.round_().clamp_(0, 255).to(image.dtype)


def resize_nearest(tensor: Tensor, height: int, width: int) -> Tensor:
    """Every pixel of the result is one of the tensor's, as ``torch.nn.functional.interpolate`` with ``mode="nearest"``.

    Args:
        tensor: Tensor[..., H, W] of any dtype.
        height, width: of the result.
    """
    rows, columns = (
        (torch.arange(new, dtype=torch.float32) * (torch.tensor(old, dtype=torch.float32) / new))
        .long()
        .clamp_(max=old - 1)
        for new, old in ((height, tensor.shape[-2]), (width, tensor.shape[-1]))
    )
    if height < tensor.shape[-2]:
        return tensor.index_select(-2, rows).index_select(-1, columns)
    return tensor.index_select(-1, columns).index_select(-2, rows)


def _resized_flow(flow: Tensor, height: int, width: int) -> Tensor:
    old_height, old_width = flow.shape[-2:]
    scale = flow.new_tensor([width / old_width, height / old_height])
    known = ~flow.isnan().any(0)
    if bool(known.all()):
        resized = F.interpolate(flow[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        return resized.mul_(scale.view(2, 1, 1))
    rows, columns = known.nonzero(as_tuple=True)
    # The centre of a pixel goes to where it lies in the new image.
    new_rows = ((rows + 0.5) * (height / old_height)).long().clamp_(max=height - 1)
    new_columns = ((columns + 0.5) * (width / old_width)).long().clamp_(max=width - 1)
    result = flow.new_full((2, height * width), float("nan"))
    # Where several meet, the last in reading order stays: named, so that it is the same on every machine.
    places = new_rows * width + new_columns
    last = torch.full((height * width,), -1, dtype=torch.int64)
    last.scatter_reduce_(0, places, torch.arange(len(places)), "amax")
    filled = last >= 0
    result[:, filled] = (flow[:, rows, columns] * scale.view(2, 1))[:, last[filled]]
    return result.view(2, height, width)
