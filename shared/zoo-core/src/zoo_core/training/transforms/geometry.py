"""Flipping, cropping and resizing an image with all that has a place in it.

These are functions of their arguments; the transforms draw the arguments. A box is given by its edges, so that flipped
in an image of width 100 the edge at 0 goes to 100; a keypoint by the number of its pixel, and 0 goes to 99.

**What happens to instances that leave the image** is settled here, in :func:`crop`: boxes are clipped to what is shown,
an instance of whose box less than a pixel of width or height is left goes, with its label, mask and keypoints; a
keypoint outside becomes unknown (all zeros). A mask does not decide: an instance whose box is inside stays, even where
no pixel of its mask does.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoo_core.presets import RESAMPLING, InterpolationMode, interpolation_mode
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
    "resize_and_crop",
    "resize_nearest",
    "vertical_flip",
]

# The class of pixels that do not count.
IGNORED = 255

Fill = float | Sequence[float]


def resampling(interpolation: InterpolationMode | str) -> Image.Resampling:
    """Pillow's name of an interpolation.

    Raises:
        ValueError: there is no such one; the message lists those there are.
    """
    return RESAMPLING[interpolation_mode(interpolation)]


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
        points[..., 0] = torch.where(points[..., 2] > 0, (width - 1 - points[..., 0]).clamp(min=0), points[..., 0])
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
        points[..., 1] = torch.where(points[..., 2] > 0, (height - 1 - points[..., 1]).clamp(min=0), points[..., 1])
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
            changes[name] = _flipped(value, dimension) if isinstance(value, Tensor) else value.transpose(method)
    return changes


def _flipped(tensor: Tensor, dimension: int) -> Tensor:
    if tensor.dtype == torch.uint16:  # which torch flips as other integers of 16 bits only
        return tensor.view(torch.int16).flip(dimension).view(torch.uint16)
    return tensor.flip(dimension)


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
    return clean(sample.replace(**changes))


def clean(sample: Sample, min_size: float = 1.0) -> Sample:
    """The sample with boxes clipped to the image, and without instances that are not to be seen in it.

    Args:
        sample: of instances; another is returned as it is.
        min_size: instances go whose clipped box is narrower or lower than this, in pixels.
    """
    height, width = sample.size
    if sample.keypoints is not None:
        x, y, seen = sample.keypoints.unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (seen > 0)
        sample = sample.replace(keypoints=torch.where(inside[..., None], sample.keypoints, 0.0))
    if sample.boxes is None:
        return sample
    boxes = sample.boxes.clamp(min=0).minimum(sample.boxes.new_tensor([width, height, width, height]))
    sizes = boxes[:, 2:] - boxes[:, :2]
    return sample.replace(boxes=boxes).keep((sizes >= min_size).all(1))


def _cropped_image(image: Picture, top: int, left: int, height: int, width: int, fill: Fill) -> Picture:
    if isinstance(image, Tensor):
        levels = torch.as_tensor(fill, dtype=torch.float32 if image.is_floating_point() else image.dtype)
        if image.is_floating_point():  # of bands, in [0, 1]
            levels = levels.mean() / 255
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
    # Torch interpolates integers in fixed point, which is several times as fast; most so where channels come last in
    # memory, as decoders write them.
    frames = image.reshape(-1, *image.shape[-3:])
    smooth = image.is_floating_point()  # an image of bands, smoothed as PIL images are
    resized = F.interpolate(frames, size=(height, width), mode=modes[resample], align_corners=False, antialias=smooth)
    return resized.reshape(*image.shape[:-2], height, width)


def resize_and_crop(
    sample: Sample,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    fill: Fill = 0,
) -> Sample:
    """As :func:`resize` and then :func:`crop`, but only what the window shows is computed.

    Levels of PIL images differ from those of the two steps by one here and there, as Pillow takes windows in single
    precision.

    Args:
        sample: of any kind.
        size: height and width that the whole is resized to.
        window: top, left, height and width in the resized image.
        resample: how the images are interpolated.
        fill: level outside the image, in 0..255, one for all channels or one each.
    """
    top, left, height, width = window
    first_row, last_row = max(top, 0), min(top + height, size[0])
    first_column, last_column = max(left, 0), min(left + width, size[1])
    shown = (last_row - first_row) * (last_column - first_column) if last_row > first_row else 0
    if size == sample.size or isinstance(sample.image, Tensor) or not 0 < shown < size[0] * size[1]:
        return crop(resize(sample, *size, resample), *window, fill)
    y, x = sample.size[0] / size[0], sample.size[1] / size[1]
    box = first_column * x, first_row * y, min(last_column * x, sample.size[1]), min(last_row * y, sample.size[0])
    part = last_row - first_row, last_column - first_column

    def resized(image: Any) -> Picture:
        return image.resize(part[::-1], resample, box)

    changes: dict[str, Any] = {"image": resized(sample.image)}
    if sample.second is not None:
        changes["second"] = resized(sample.second)
    window_of_part = slice(first_row, last_row), slice(first_column, last_column)
    for name in ("masks", "label_map"):
        tensor = getattr(sample, name)
        if tensor is not None:
            changes[name] = resize_nearest(tensor, *size, *window_of_part)
    if sample.flow is not None:
        changes["flow"] = _resized_flow(sample.flow, *size, *window_of_part)
    offsets = (first_column, first_row)
    if sample.boxes is not None:
        scale, offset = sample.boxes.new_tensor([1 / x, 1 / y] * 2), sample.boxes.new_tensor(offsets * 2)
        changes["boxes"] = sample.boxes * scale - offset
    if sample.keypoints is not None:
        scale, offset = sample.keypoints.new_tensor([1 / x, 1 / y, 1]), sample.keypoints.new_tensor((*offsets, 0))
        changes["keypoints"] = sample.keypoints * scale - offset
    cut = clean(sample.replace(**changes))
    return crop(cut, top - first_row, left - first_column, height, width, fill)


_ALL = slice(None)


def resize_nearest(tensor: Tensor, height: int, width: int, rows: slice = _ALL, columns: slice = _ALL) -> Tensor:
    """Every pixel of the result is one of the tensor's, as ``torch.nn.functional.interpolate`` with ``mode="nearest"``.

    Args:
        tensor: Tensor[..., H, W] of any dtype.
        height, width: of the result.
        rows, columns: those of the result that are wanted.
    """
    from_rows = _nearest(tensor.shape[-2], height)[rows]
    from_columns = _nearest(tensor.shape[-1], width)[columns]
    if len(from_rows) < tensor.shape[-2]:
        return _columns(tensor.index_select(-2, from_rows), from_columns)
    return _columns(tensor, from_columns).index_select(-2, from_rows)


def _columns(tensor: Tensor, places: Tensor) -> Tensor:
    """The columns at some places. Along the last dimension, torch gathers faster than it selects."""
    if tensor.dtype == torch.uint16:  # which torch gathers as other integers of 16 bits only
        return _columns(tensor.view(torch.int16), places).view(torch.uint16)
    return tensor.gather(-1, places.expand(*tensor.shape[:-1], len(places)))


def _nearest(old: int, new: int) -> Tensor:
    """The place of each of ``new`` pixels among ``old`` ones."""
    scale = torch.tensor(old, dtype=torch.float32) / new
    return (torch.arange(new, dtype=torch.float32) * scale).long().clamp_(max=old - 1)


def _resized_flow(flow: Tensor, height: int, width: int, rows: slice = _ALL, columns: slice = _ALL) -> Tensor:
    old_height, old_width = flow.shape[-2:]
    scale = flow.new_tensor([width / old_width, height / old_height]).view(2, 1, 1)
    known = ~flow.isnan().any(0)
    if bool(known.all()):
        return _bilinear(_bilinear(flow, height, rows, -2), width, columns, -1).mul_(scale)
    y, x = known.nonzero(as_tuple=True)
    displacements = flow[:, y, x] * scale[..., 0]
    # The centre of a pixel goes to where it lies in the new image.
    y = ((y + 0.5) * (height / old_height)).long().clamp_(max=height - 1)
    x = ((x + 0.5) * (width / old_width)).long().clamp_(max=width - 1)
    # Where several meet, the last in reading order stays: named, so that it is the same on every machine.
    last = torch.full((height * width,), -1, dtype=torch.int64)
    last.scatter_reduce_(0, y * width + x, torch.arange(len(y)), "amax")
    result = flow.new_full((2, height * width), float("nan"))
    filled = last >= 0
    result[:, filled] = displacements[:, last[filled]]
    return result.view(2, height, width)[:, rows, columns]


def _bilinear(tensor: Tensor, new: int, wanted: slice, dimension: int) -> Tensor:
    """Some rows or columns of a tensor that is interpolated linearly along one dimension, edges repeated."""
    old = tensor.shape[dimension]
    places = ((torch.arange(new)[wanted] + 0.5) * (old / new) - 0.5).clamp_(min=0)
    first = places.long().clamp_(max=old - 1)
    share = (places - first).to(tensor.dtype)
    share = share.unsqueeze(-1) if dimension == -2 else share
    second = (first + 1).clamp_(max=old - 1)
    return torch.lerp(tensor.index_select(dimension, first), tensor.index_select(dimension, second), share)
