"""The operators in pure torch: for devices without kernels and installations without compiled libraries.

They compute what the kernels compute: the same suppression decisions, the same samples with the same weights.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo_detection.precision import in_single_or_better, single_or_better

_ELEMENTS_AT_ONCE = 1 << 22  # bounds the memory of one step
_MAX_GRID = 1 << 24  # as in csrc/common/roi_geometry.h
LONGEST_OUTPUT = 1 << 15  # these three as in csrc/common/maps.h
MOST_BINS = 1 << 22
MOST_SAMPLES = 256


# What the kernels check too, with and without values: the implementations without values call these as well.


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


def check_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> None:
    _require(boxes.dim() == 2 and boxes.shape[1] == 4, "zoo::nms: boxes must have shape (N, 4)")
    _require(scores.dim() == 1, "zoo::nms: scores must have shape (N,), N as for boxes")
    _require(
        boxes.is_floating_point() and boxes.dtype == scores.dtype,
        "zoo::nms: boxes and scores must have one floating dtype",
    )
    _require(0 <= iou_threshold <= 1, f"zoo::nms: iou_threshold must be in [0, 1], got {iou_threshold}")


def check_pooling(pooled_height: int, pooled_width: int, sampling_ratio: int, scales: Sequence[float]) -> None:
    size = (pooled_height, pooled_width)
    if all(isinstance(side, int) for side in size):  # others are symbols
        _require(
            all(0 < side <= LONGEST_OUTPUT for side in size) and math.prod(size) <= MOST_BINS,
            f"zoo::roi_align: the output size must be in [1, {LONGEST_OUTPUT}] and have at most {MOST_BINS} bins, "
            f"got {size}",
        )
    _require(
        sampling_ratio <= MOST_SAMPLES,
        f"zoo::roi_align: sampling_ratio must be at most {MOST_SAMPLES}, got {sampling_ratio}",
    )
    for scale in scales:
        _require(
            abs(scale) <= torch.finfo(torch.float32).max,
            f"zoo::roi_align: spatial_scale must be a finite float32, got {scale}",
        )


# Non-maximum suppression


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    check_nms(boxes, scores, iou_threshold)
    order = scores.argsort(descending=True, stable=True)
    return order[_suppress(in_single_or_better(boxes)[order], None, iou_threshold)]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    check_nms(boxes, scores, iou_threshold)
    order = scores.argsort(descending=True, stable=True)
    return order[_suppress(in_single_or_better(boxes)[order], idxs[order], iou_threshold)]


def round_down(value: float, dtype: torch.dtype) -> float:
    """The largest number of ``dtype`` that is not above ``value``: comparing with either decides alike."""
    rounded = torch.tensor(value, dtype=dtype)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.tensor(-math.inf, dtype=dtype))
    return float(rounded)


def _suppress(boxes: Tensor, idxs: Tensor | None, iou_threshold: float) -> Tensor:
    """Which of the boxes, which come by decreasing score, stay: bool Tensor[N]."""
    threshold = round_down(iou_threshold, boxes.dtype)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def suppresses(first: slice, second: slice) -> Tensor:
        a, b = boxes[first, None], boxes[None, second]
        sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
        inter = sides.clamp(min=0).prod(-1)
        result = inter / (areas[first, None] + areas[None, second] - inter) > threshold
        if idxs is not None:
            result &= idxs[first, None] == idxs[None, second]
        return result

    count = len(boxes)
    block = 256
    keep = torch.ones(count, dtype=torch.bool, device=boxes.device)
    if iou_threshold >= 1:
        return keep  # no IoU is larger, however it is rounded
    for begin in range(0, count, block):
        here = slice(begin, min(begin + block, count))
        among = suppresses(here, here).tolist()
        kept = keep[here].tolist()
        for i, row in enumerate(among):
            if kept[i]:
                kept[i + 1 :] = [k and not s for k, s in zip(kept[i + 1 :], row[i + 1 :], strict=True)]
        keep[here] = torch.tensor(kept, device=boxes.device)
        step = max(block, _ELEMENTS_AT_ONCE // (4 * block))
        for rest in range(here.stop, count, step):
            there = slice(rest, min(rest + step, count))
            keep[there] &= ~(suppresses(here, there) & keep[here, None]).any(0)
    return keep


# RoIAlign


def is_channels_last(map: Tensor) -> bool:
    """Whether what is computed from a feature map goes channels-last; the kernels decide by the same rule."""
    return map.shape[1] > 1 and map.stride(1) == 1 and map.stride(3) == map.shape[1]


def empty_map(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An uninitialised (N, C, H, W) tensor, channels-last if ``like`` is."""
    memory_format = torch.channels_last if is_channels_last(like) else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


@dataclass(frozen=True)
class _Axis:
    """The samples of some regions along one axis, for each bin ``samples`` of them.

    low, high: int64 (K, bins * samples), the pixels to interpolate between. low_weight, high_weight: their weights.
    inside: bool, false for samples that count as zero.
    """

    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor
    inside: Tensor
    samples: int


def _axis_geometry(
    low: Tensor, high: Tensor, scale: float, bins: int, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Start and bin size (K,), and the number of samples per bin, int64 (K,); 0 for an empty region."""
    offset = 0.5 if aligned else 0.0
    start = low * scale - offset
    size = (high * scale - offset) - start
    finite = size.isfinite()
    start, size = start.where(finite, 0), size.where(finite, 0)
    if not aligned:
        size = size.clamp(min=1)
    bin_size = size / bins
    grid = torch.full_like(bin_size, sampling_ratio) if sampling_ratio > 0 else bin_size.ceil().clamp(0, _MAX_GRID)
    return start, bin_size, grid.where(finite, 0).long()


def _axis_samples(start: Tensor, bin_size: Tensor, grid: int, bins: int, size: int) -> _Axis:
    """The samples of regions that have the same grid. Of a huge grid only the samples near the map are looked at."""
    index = torch.arange(bins, device=start.device, dtype=start.dtype)
    bin_start = start[:, None] + index * bin_size[:, None]
    samples = grid
    first = torch.zeros_like(bin_start)
    step = bin_size.double()[:, None] / grid
    if grid > 1024 and bool((step != 0).all()):
        ends = torch.stack(((-1 - bin_start.double()) / step, (size - bin_start.double()) / step))
        magnitude = bin_start.double().abs() + bin_size.double().abs()[:, None] + size
        slack = 2 + 8 * torch.finfo(start.dtype).eps * magnitude / step.abs()
        low = (ends.amin(0) - slack).clamp(0, grid).floor()
        high = (ends.amax(0) + slack).clamp(0, grid).ceil()
        first = low.to(start.dtype)
        samples = int((high - low).max()) if high.numel() else 0
    sample = first[..., None] + torch.arange(samples, device=start.device, dtype=start.dtype)
    position = bin_start[..., None] + (sample + 0.5) * bin_size[:, None, None] / grid
    inside = (position >= -1) & (position <= size) & (sample < grid)
    position = position.where(inside, 0).clamp(min=0)
    low_index = position.long().clamp(max=size - 1)
    high_index = (low_index + 1).clamp(max=size - 1)
    fraction = (position - low_index).where(low_index < size - 1, 0)
    return _Axis(
        low_index.flatten(1),
        high_index.flatten(1),
        (1 - fraction).flatten(1),
        fraction.flatten(1),
        inside.flatten(1),
        samples,
    )


def _check_images(rois: Tensor, batch: int) -> None:
    images = rois[:, 0]
    wrong = ~((images >= 0) & (images < batch))
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0])
        raise RuntimeError(
            f"zoo::roi_align: rois[{i}] names image {float(images[i])}, but the batch has {batch} images"
        )


@dataclass(frozen=True)
class _Samples:
    """Everything that some regions sample.

    rois: int64 (K,), which regions.
    index: int64 (K, bins and samples, 4), rows of the (N * H * W + 1, C) features, whose last row is zero.
    weight: as index.
    shape: (K, bins, samples, bins, samples).
    count: (K,), the divisor.
    """

    rois: Tensor
    index: Tensor
    weight: Tensor
    shape: tuple[int, int, int, int, int]
    count: Tensor


def _samples(
    rois: Tensor,
    spatial_scale: float,
    pooled: tuple[int, int],
    map_shape: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[_Samples]:
    batch, channels, height, width = map_shape
    y_start, y_bin, y_grid = _axis_geometry(rois[:, 2], rois[:, 4], spatial_scale, pooled[0], sampling_ratio, aligned)
    x_start, x_bin, x_grid = _axis_geometry(rois[:, 1], rois[:, 3], spatial_scale, pooled[1], sampling_ratio, aligned)
    grids = torch.stack((y_grid, x_grid), 1)
    for grid in grids.unique(dim=0).tolist():
        if 0 in grid:
            continue
        group = (grids == torch.tensor(grid, device=rois.device)).all(1).nonzero()[:, 0]
        per_roi = math.prod(pooled) * min(grid[0], 4 * height + 64) * min(grid[1], 4 * width + 64) * max(channels, 1)
        for chunk in group.split(max(1, _ELEMENTS_AT_ONCE // per_roi)):
            y = _axis_samples(y_start[chunk], y_bin[chunk], grid[0], pooled[0], height)
            x = _axis_samples(x_start[chunk], x_bin[chunk], grid[1], pooled[1], width)
            image = rois[chunk, 0].long()[:, None, None] * height
            corners = [
                (
                    (image + row[:, :, None]) * width + column[:, None, :],
                    row_weight[:, :, None] * column_weight[:, None],
                )
                for row, row_weight in ((y.low, y.low_weight), (y.high, y.high_weight))
                for column, column_weight in ((x.low, x.low_weight), (x.high, x.high_weight))
            ]
            inside = (y.inside[:, :, None] & x.inside[:, None, :])[..., None]
            index = torch.stack([index for index, _ in corners], -1).where(inside, batch * height * width)
            weight = torch.stack([weight for _, weight in corners], -1).where(inside, 0)
            yield _Samples(
                chunk,
                index.flatten(1, 2),
                weight.flatten(1, 2),
                (len(chunk), pooled[0], y.samples, pooled[1], x.samples),
                torch.full((len(chunk),), max(grid[0] * grid[1], 1), dtype=weight.dtype, device=rois.device),
            )


def _channel_blocks(samples: _Samples, channels: int) -> list[slice]:
    """So many channels at once that a region of very many samples takes no more memory than others."""
    step = max(1, 4 * _ELEMENTS_AT_ONCE // max(samples.index.numel(), 1))
    return [slice(first, min(first + step, channels)) for first in range(0, channels, step)]


def roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    check_pooling(pooled_height, pooled_width, sampling_ratio, (spatial_scale,))
    output = empty_map(input, (len(rois), input.shape[1], pooled_height, pooled_width)).zero_()
    if output.numel() == 0:
        return output
    _check_images(rois, input.shape[0])
    dtype = single_or_better(input.dtype)
    pixels = input.to(dtype).permute(0, 2, 3, 1).flatten(0, 2)
    pixels = torch.cat((pixels, pixels.new_zeros(1, input.shape[1])))
    pooled = (pooled_height, pooled_width)
    for samples in _samples(rois.to(dtype), spatial_scale, pooled, input.shape, sampling_ratio, aligned):
        for channels in _channel_blocks(samples, input.shape[1]):
            corners = pixels[:, channels][samples.index] * samples.weight[..., None]
            bins = corners.sum(2).unflatten(1, samples.shape[1:]).sum((2, 4)) / samples.count[:, None, None, None]
            output[samples.rois, channels] = bins.permute(0, 3, 1, 2).to(input.dtype)
    return output


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    check_pooling(pooled_height, pooled_width, sampling_ratio, (spatial_scale,))
    dtype = single_or_better(grad.dtype)
    shape = (batch, channels, height, width)
    pixels = torch.zeros(batch * height * width + 1, channels, dtype=dtype, device=grad.device)
    if pixels.numel() and len(rois):
        pooled = (pooled_height, pooled_width)
        for samples in _samples(rois.to(dtype), spatial_scale, pooled, shape, sampling_ratio, aligned):
            bins = grad[samples.rois].to(dtype).permute(0, 2, 3, 1) / samples.count[:, None, None, None]
            for block in _channel_blocks(samples, channels):
                part = bins[..., block]
                per_sample = part[:, :, None, :, None].expand(*samples.shape, part.shape[-1]).flatten(1, 4)
                corners = per_sample[:, :, None] * samples.weight[..., None]
                pixels[:, block].index_add_(0, samples.index.flatten(), corners.flatten(0, 2))
    result = pixels[:-1].unflatten(0, (batch, height, width)) if batch * height * width else pixels.new_zeros(shape)
    output = empty_map(grad, shape)
    return output.copy_(result.permute(0, 3, 1, 2)) if output.numel() else output


def multiscale_roi_align(
    inputs: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _check_levels(levels, len(inputs))
    output = empty_map(inputs[0], (len(rois), inputs[0].shape[1], pooled_height, pooled_width))
    for level, (map, scale) in enumerate(zip(inputs, spatial_scales, strict=True)):
        here = (levels == level).nonzero()[:, 0]
        output[here] = roi_align(map, rois[here], scale, pooled_height, pooled_width, sampling_ratio, aligned)
    return output


def multiscale_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    levels: Tensor,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    batch: int,
    channels: int,
    heights: Sequence[int],
    widths: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    results = []
    for level, (height, width) in enumerate(zip(heights, widths, strict=True)):
        here = (levels == level).nonzero()[:, 0]
        part = roi_align_backward(
            grad[here],
            rois[here],
            spatial_scales[level],
            pooled_height,
            pooled_width,
            batch,
            channels,
            height,
            width,
            sampling_ratio,
            aligned,
        )
        results.append(empty_map(grad, part.shape).copy_(part))
    return results


def _check_levels(levels: Tensor, count: int) -> None:
    if bool(((levels < 0) | (levels >= count)).any()):
        raise RuntimeError(f"zoo::multiscale_roi_align: levels must be in [0, {count}), as there are {count} levels")
