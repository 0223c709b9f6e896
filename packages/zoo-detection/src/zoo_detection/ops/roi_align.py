"""RoIAlign: features of a fixed size for regions of any size, from one feature map or from a pyramid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo_core.tracing import one_node
from zoo_detection.ops import _fallback, _library  # noqa: F401  (_library defines torch.ops.zoo)
from zoo_detection.ops._checks import require_floating, require_same_device, shape_of


def _check_rois(rois: Tensor, input: Tensor) -> None:
    if rois.dim() != 2 or rois.shape[1] != 5:
        raise ValueError(f"boxes as a tensor must have shape (K, 5), but the shape is {shape_of(rois)}")
    require_floating("boxes", rois)
    require_same_device("input", input, "boxes", rois)
    half = input.dtype in (torch.float16, torch.bfloat16)
    fits = rois.dtype == input.dtype or (half and rois.dtype == torch.float32)
    if not fits and not torch.is_autocast_enabled(input.device.type):
        raise TypeError(
            f"boxes must have the dtype of the features ({input.dtype}){', or float32' if half else ''}, "
            f"but their dtype is {rois.dtype}; convert one of them"
        )


def _check_features(name: str, features: Tensor) -> None:
    if features.dim() != 4:
        raise ValueError(f"{name} must have shape (N, C, H, W), but its shape is {shape_of(features)}")
    require_floating(name, features)


def _boxes_to_rois(boxes: Sequence[Tensor], batch: int, like: Tensor) -> Tensor:
    """(K, 5) from one (L, 4) per image: the image's index, then the box."""
    if len(boxes) != batch:
        raise ValueError(f"there must be one tensor of boxes per image, but there are {len(boxes)} for {batch} images")
    for i, image_boxes in enumerate(boxes):
        if image_boxes.dim() != 2 or image_boxes.shape[1] != 4:
            raise ValueError(f"boxes[{i}] must have shape (L, 4), but its shape is {shape_of(image_boxes)}")
    if not boxes:
        return like.new_zeros((0, 5))
    images = [torch.full_like(image_boxes[:, :1], i) for i, image_boxes in enumerate(boxes)]
    return torch.cat((torch.cat(images), torch.cat(list(boxes))), 1)


def _check_options(output_size: tuple[int, int], sampling_ratio: int, spatial_scale: float) -> None:
    """Limits of the kernels, in the words of the functions."""
    height, width = output_size
    if isinstance(height, int) and isinstance(width, int):
        most, longest = _fallback.MOST_BINS, _fallback.LONGEST_OUTPUT
        if height > longest or width > longest or height * width > most:
            raise ValueError(
                f"output_size may be {longest} along each axis and {most} in all, but it is {height}x{width}"
            )
    if sampling_ratio > _fallback.MOST_SAMPLES:
        raise ValueError(
            f"sampling_ratio must be at most {_fallback.MOST_SAMPLES}, but it is {sampling_ratio}; -1 takes as "
            "many samples of a bin as it has pixels"
        )
    if not abs(spatial_scale) <= torch.finfo(torch.float32).max:
        raise ValueError(f"spatial_scale must be a finite number, but it is {spatial_scale}")


def _pair(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(size, Sequence | torch.Size) and len(size) != 2:
        raise ValueError(f"{name} must be one number or a height and a width, but it is {size}")
    height, width = size if isinstance(size, Sequence | torch.Size) else (size, size)
    if height < 1 or width < 1:
        raise ValueError(f"{name} must be positive, but it is {size}")
    return height, width


@one_node
def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Pools the features of regions with bilinear interpolation, from `Mask R-CNN
    <https://arxiv.org/abs/1703.06870>`__.

    The region ``0, 0, 4, 2`` in two bins of one sample each, of a map whose values are their own x::

        0  1  2  3      bins from x = 0 to 2 and 2 to 4, with their samples in the middle, at x = 1 and x = 3
        0  1  2  3      aligned=False  x = 1 is the second pixel itself                       1.0  3.0
                        aligned=True   x = 1 is the border of the first two, whose centres
                                       are at 0.5 and 1.5                                     0.5  2.5

    >>> map, region = torch.arange(4.0).expand(1, 1, 2, 4), torch.tensor([[0.0, 0.0, 4.0, 2.0]])
    >>> roi_align(map, [region], output_size=(1, 2), sampling_ratio=1)
    tensor([[[[1., 3.]]]])
    >>> roi_align(map, [region], output_size=(1, 2), sampling_ratio=1, aligned=True)
    tensor([[[[0.5000, 2.5000]]]])

    Args:
        input: feature map, Tensor[N, C, H, W]: float32, float64, float16 or bfloat16 (half precision is accumulated
            in float32), any strides. Or quantized per tensor; then the result is quantized alike, and boxes may be
            quantized too.
        boxes: regions ``x1, y1, x2, y2`` in the coordinates of the image. Either one Tensor[L, 4] per image,
            or a Tensor[K, 5] whose first column is the index of the image in the batch. Of the dtype of the
            input, or float32 for half-precision input. A region with a NaN or infinite coordinate gives zeros.
        output_size: height and width of the result, or one number for both; at most 2**15 along each axis, and 2**22
            in all.
        spatial_scale: pixels of the feature map per pixel of the image; finite.
        sampling_ratio: samples per output bin and axis, at most 256. If zero or negative, as many as the bin has
            pixels, rounded up, and of a region that reaches far outside of the map only those near it.
        aligned: take pixel centres at half-integer coordinates, which is the exact alignment. False is what Mask
            R-CNN's first implementation and the published checkpoints use, and makes each region at least one pixel
            large.

    Returns:
        Tensor[K, C, output height, output width], channels-last if the input is.

    Raises:
        ValueError: a wrong shape, number or output size, an option beyond its limit, or tensors on different devices.
        TypeError: a wrong dtype.
        RuntimeError: an image index that is not in the batch (on CUDA such a region gives NaN instead).
    """
    if input.is_quantized:
        return _quantized_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)
    _check_features("input", input)
    height, width = _pair("output_size", output_size)
    _check_options((height, width), sampling_ratio, spatial_scale)
    rois = boxes if isinstance(boxes, Tensor) else _boxes_to_rois(boxes, input.shape[0], input)
    _check_rois(rois, input)
    return torch.ops.zoo.roi_align(input, rois, spatial_scale, height, width, sampling_ratio, aligned)


def _quantized_roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """As for the values that the tensors stand for, quantized as the input is."""
    if input.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        raise TypeError(f"a quantized input must be quantized per tensor, but it is {input.qscheme()}")
    plain = [t.dequantize() if t.is_quantized else t for t in ([boxes] if isinstance(boxes, Tensor) else boxes)]
    rois = plain[0] if isinstance(boxes, Tensor) else plain
    pooled = roi_align(input.dequantize(), rois, output_size, spatial_scale, sampling_ratio, aligned)
    return torch.quantize_per_tensor(pooled, input.q_scale(), input.q_zero_point(), input.dtype)


class RoIAlign(nn.Module):
    """:func:`roi_align` as a module.

    Args:
        output_size: height and width of the result, or one number for both.
        spatial_scale: pixels of the feature map per pixel of the image.
        sampling_ratio: samples per output bin and axis; zero or negative for an adaptive number.
        aligned: take pixel centres at half-integer coordinates.
    """

    def __init__(
        self, output_size: int | Sequence[int], spatial_scale: float, sampling_ratio: int, aligned: bool = False
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


class MultiScaleRoIAlign(nn.Module):
    """RoIAlign over the levels of a feature pyramid, each region on the level that suits its size, by equation 1 of
    `Feature Pyramid Networks <https://arxiv.org/abs/1612.03144>`__.

    A region of 224x224 pixels is pooled from level 4, the map of 1/16 of the image's resolution; one of half the side,
    from 112 to just below 224, from level 3, and one of 448 from level 5. Where there is no map of that level, the
    nearest is taken.

    Args:
        featmap_names: which of the feature maps to use, finest first.
        output_size: height and width of the result, or one number for both.
        sampling_ratio: samples per output bin and axis; zero or negative for an adaptive number.
        canonical_scale: the square root of the area, in pixels of the image, of a region that belongs to
            ``canonical_level``.
        canonical_level: the level for those regions; level k has 1 / 2**k of the image's resolution.
    """

    def __init__(
        self,
        featmap_names: list[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.featmap_names = featmap_names
        self.output_size = _pair("output_size", output_size)
        _check_options(self.output_size, sampling_ratio, 1.0)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        # Of the levels, as the last eager call found them; for whoever looks. Calls compute them anew.
        self.scales: list[float] | None = None

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Pools the regions of each image.

        Args:
            x: feature maps by name, each Tensor[N, C, H, W] with N and C in common.
            boxes: for each image a Tensor[L, 4], ``x1, y1, x2, y2`` in pixels of the image.
            image_shapes: height and width of each image, before they were padded to a batch.

        Returns:
            Tensor[sum of L, C, output height, output width], the regions in the order of ``boxes``.
        """
        scales = _scales(x, self.featmap_names, image_shapes)
        if isinstance(scales, list) and not torch.compiler.is_compiling():
            self.scales = scales
        levels = (self.canonical_scale, self.canonical_level)
        return _multiscale_roi_align(
            x, boxes, self.featmap_names, scales, self.output_size, self.sampling_ratio, *levels
        )

    def extra_repr(self) -> str:
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, sampling_ratio={self.sampling_ratio}"
        )


def _chosen(x: dict[str, Tensor], names: list[str]) -> list[Tensor]:
    features = [x[name] for name in names if name in x]
    if not features:
        raise ValueError(f"none of the feature maps {names} is among {list(x)}")
    for i, feature in enumerate(features):
        _check_features(f"feature map {i}", feature)
    return features


@one_node
def _scales(x: dict[str, Tensor], names: list[str], image_shapes: list[tuple[int, int]]) -> list[float]:
    return _pyramid_scales(_chosen(x, names), image_shapes)


@one_node
def _multiscale_roi_align(
    x: dict[str, Tensor],
    boxes: list[Tensor],
    names: list[str],
    scales: list[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    canonical_scale: int,
    canonical_level: int,
) -> Tensor:
    features = _chosen(x, names)
    rois = _boxes_to_rois(boxes, features[0].shape[0], features[0])
    _check_rois(rois, features[0])
    if len(features) == 1:
        return torch.ops.zoo.roi_align(features[0], rois, scales[0], *output_size, sampling_ratio, False)
    levels = levels_of(rois, scales, canonical_scale, canonical_level)
    return torch.ops.zoo.multiscale_roi_align(features, rois, levels, scales, *output_size, sampling_ratio, False)


def levels_of(rois: Tensor, scales: list[float], canonical_scale: int, canonical_level: int) -> Tensor:
    """Index of the level of each region: int64 Tensor[K].

    Regions with sides of 28, 112, 224 and 448 pixels, on maps of 1/4 to 1/32 of the image's resolution:

    >>> rois = torch.tensor([[0.0, 0, 0, side, side] for side in (28, 112, 224, 448)])
    >>> levels_of(rois, [1 / 4, 1 / 8, 1 / 16, 1 / 32], canonical_scale=224, canonical_level=4)
    tensor([0, 1, 2, 3])

    Args:
        rois: Tensor[K, 5]: index of the image, and the box in pixels of the image.
        scales: pixels of each feature map per pixel of the image, finest map first.
        canonical_scale, canonical_level: see :class:`MultiScaleRoIAlign`.
    """
    finest, coarsest = (-math.log2(scale) for scale in (scales[0], scales[-1]))
    side = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    level = torch.floor(canonical_level + torch.log2(side / canonical_scale) + 1e-6)
    return (level.nan_to_num(finest).clamp(finest, coarsest) - finest).long()


def _traced_size(size: int) -> int:
    """The size of the example that a program is traced with, without restricting the program to it."""
    if not isinstance(size, torch.SymInt):
        return size
    from torch.fx.experimental import symbolic_shapes

    # Its name before torch 2.13 was hint_int.
    hint = getattr(symbolic_shapes, "optimization_hint", None) or symbolic_shapes.hint_int
    return int(hint(size))


_MOST_PADDING = 128  # pixels on the right and at the bottom of a batch


def _pyramid_scales(features: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]) -> list[float]:
    """The scale of each feature map beside the images: the nearest power of two.

    The longer side tells it. Of a long thin image the shorter one need not: padding can more than double it. Nor need a
    map be as large as its scale says, where convolutions without padding made it.
    """
    if not image_shapes:
        raise ValueError("image_shapes is empty; expected the (height, width) of each image")
    sides = [max(_traced_size(shape[dim]) for shape in image_shapes) for dim in (0, 1)]
    longer = sides.index(max(sides))
    shorter = 1 - longer
    scales = []
    for feature in features:
        sizes = [_traced_size(size) for size in feature.shape[2:]]
        level = round(math.log2(sizes[longer] / sides[longer]))
        scale = 2.0**level
        padding = sizes[shorter] / scale - sides[shorter]
        is_padded = -1 / scale <= padding <= _MOST_PADDING + 1 / scale
        if not is_padded and level != round(math.log2(sizes[shorter] / sides[shorter])):
            raise ValueError(
                f"a feature map of {tuple(sizes)} does not have one scale beside images of {tuple(sides)}: "
                f"it has 1/{1 / scale:g} of the {('height', 'width')[longer]}, but {sizes[shorter] / sides[shorter]:g} "
                f"of the {('height', 'width')[shorter]}"
            )
        scales.append(scale)
    return scales
