"""Reference boxes that detectors predict offsets from, for every location of every feature map.

- Anchors: `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__, section 3.1.1
- Default boxes: `SSD <https://arxiv.org/abs/1512.02325>`__, section 2.2
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo_core.value_cache import ValueCache
from zoo_detection.image_list import ImageList
from zoo_detection.precision import single_or_better

__all__ = ["AnchorGenerator", "DefaultBoxGenerator"]

_KEPT_LAYOUTS = 4  # shapes of batch and feature maps whose boxes are kept


class AnchorGenerator(nn.Module):
    """Anchors of given sizes and aspect ratios around the locations of each feature map.

    The size 4 at the ratios 1/4 and 1 gives boxes 8 wide and 2 high, and of 4x4 pixels. A map of one row and two
    columns, of an image of 8x20 pixels, has its locations 10 pixels apart, the first at the origin:

    >>> generator = AnchorGenerator(sizes=((4,),), aspect_ratios=((0.25, 1.0),))
    >>> images = ImageList(torch.zeros(1, 3, 8, 20), [(8, 20)])
    >>> generator(images, [torch.zeros(1, 256, 1, 2)])[0]
    tensor([[-4., -1.,  4.,  1.],
            [-2., -2.,  2.,  2.],
            [ 6., -1., 14.,  1.],
            [ 8., -2., 12.,  2.]])

    Args:
        sizes: for each feature map, the square roots of the anchors' areas in pixels of the image.
        aspect_ratios: for each feature map, heights over widths. Every size goes with every ratio.

    Raises:
        ValueError: there are not as many ``aspect_ratios`` as ``sizes``.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]] = ((128, 256, 512),),
        aspect_ratios: Sequence[Sequence[float]] = ((0.5, 1.0, 2.0),),
    ) -> None:
        super().__init__()
        if not isinstance(sizes[0], Sequence):
            sizes = tuple((size,) for size in cast(Sequence[float], sizes))
        if not isinstance(aspect_ratios[0], Sequence):
            aspect_ratios = (cast(Sequence[float], aspect_ratios),) * len(sizes)
        if len(sizes) != len(aspect_ratios):
            raise ValueError(
                f"there must be sizes and aspect ratios for each feature map, but there are {len(sizes)} sizes and "
                f"{len(aspect_ratios)} aspect ratios"
            )
        self.sizes = sizes
        self.aspect_ratios = aspect_ratios
        self._cache = ValueCache(_KEPT_LAYOUTS)
        self.cell_anchors = [
            self.generate_anchors(level_sizes, ratios) for level_sizes, ratios in zip(sizes, aspect_ratios, strict=True)
        ]

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The anchors of a feature map around the origin. A subclass may make others.

        Args:
            scales: square roots of the areas.
            aspect_ratios: heights over widths.
            dtype, device: of the result.

        Returns:
            Tensor[A, 4] in whole pixels, ratio by ratio.
        """
        cells = []
        for ratio in aspect_ratios:
            for size in scales:
                half_height, half_width = size * math.sqrt(ratio) / 2, size / math.sqrt(ratio) / 2
                x, y = float(round(half_width)), float(round(half_height))
                cells.append([-x, -y, x, y])
        return torch.tensor(cells, dtype=dtype, device=device).reshape(-1, 4)

    @property
    def cell_anchors(self) -> list[Tensor]:
        """For each feature map the anchors around the origin, Tensor[A, 4] in pixels of the batch. May be set."""
        return [torch.tensor(cells, device="cpu").reshape(-1, 4) for cells in self._cells]

    @cell_anchors.setter
    def cell_anchors(self, cells: Sequence[Tensor]) -> None:
        # Plain numbers: no device to follow, no tensor that an exported program would have to hold.
        self._cells = tuple(tuple(map(tuple, level.tolist())) for level in cells)

    def num_anchors_per_location(self) -> list[int]:
        """For each feature map, how many anchors there are around each of its locations."""
        return [len(cells) for cells in self._cells]

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Makes the anchors of a batch.

        Args:
            image_list: the batch.
            feature_maps: each Tensor[N, C, H, W].

        Returns:
            For each image Tensor[sum of H * W * A, 4], ``x1, y1, x2, y2`` in pixels of the batch: map by map, row by
            row. All images share one tensor, which must not be changed.

        Raises:
            ValueError: there are not as many feature maps as sizes.
        """
        if len(feature_maps) != len(self._cells):
            raise ValueError(
                f"the anchor generator has sizes and aspect ratios for {len(self._cells)} feature maps, but got "
                f"{len(feature_maps)}; give it one tuple of each for every map of the backbone"
            )
        height, width = image_list.tensors.shape[-2:]
        grids = tuple((feature_map.shape[-2], feature_map.shape[-1]) for feature_map in feature_maps)
        dtype, device = single_or_better(feature_maps[0].dtype), feature_maps[0].device
        cells_of_levels = self._cells

        def make() -> Tensor:
            levels = []
            for (rows, columns), cells in zip(grids, cells_of_levels, strict=True):
                y = torch.arange(rows, dtype=dtype, device=device) * (height // rows)
                x = torch.arange(columns, dtype=dtype, device=device) * (width // columns)
                y, x = torch.meshgrid(y, x, indexing="ij")
                shifts = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4)
                levels.append((shifts + torch.tensor(cells, dtype=dtype, device=device)).reshape(-1, 4))
            return torch.cat(levels)

        anchors = self._cache.get(make, key=(height, width, grids, cells_of_levels, dtype, device))
        return [anchors] * len(image_list.image_sizes)

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}, aspect_ratios={self.aspect_ratios}"


class DefaultBoxGenerator(nn.Module):
    """SSD's default boxes: for each feature map a scale, at several aspect ratios.

    Around the centre of each location stand a square of the map's scale, one of the geometric mean of this scale and
    the next, and for each ratio r two boxes of the square's area, r times as wide as high and r times as high as wide.
    A map of a single location, scales of 0.25 and 0.36 (mean 0.3), the ratio 4, and an image of 100x100 pixels:

    >>> generator = DefaultBoxGenerator([[4]], scales=[0.25, 0.36])
    >>> images = ImageList(torch.zeros(1, 3, 100, 100), [(100, 100)])
    >>> generator(images, [torch.zeros(1, 512, 1, 1)])[0]
    tensor([[37.5000, 37.5000, 62.5000, 62.5000],
            [35.0000, 35.0000, 65.0000, 65.0000],
            [25.0000, 43.7500, 75.0000, 56.2500],
            [43.7500, 25.0000, 56.2500, 75.0000]])

    Args:
        aspect_ratios: for each feature map the ratios beside 1; each stands also for its reciprocal.
        min_ratio: scale of the first feature map, relative to the image, where ``scales`` are not given.
        max_ratio: scale of the last one.
        scales: scales of the feature maps, and one more that follows the last.
        steps: for each feature map, the pixels of the image between its locations; by default
            the image's size over the map's.
        clip: limit widths and heights to the image's; boxes near its border still reach over it.

    Raises:
        ValueError: ``scales`` or ``steps`` do not fit the number of feature maps.
    """

    def __init__(
        self,
        aspect_ratios: list[list[int]],
        min_ratio: float = 0.15,
        max_ratio: float = 0.9,
        scales: list[float] | None = None,
        steps: list[int] | None = None,
        clip: bool = True,
    ) -> None:
        super().__init__()
        count = len(aspect_ratios)
        if steps is not None and len(steps) != count:
            raise ValueError(f"there must be one step for each of the {count} feature maps, but steps is {steps}")
        if scales is None:
            spread = max_ratio - min_ratio
            scales = [min_ratio + spread * k / (count - 1) for k in range(count)] if count > 1 else [min_ratio]
            scales.append(1.0 if count > 1 else max_ratio)
        if len(scales) != count + 1:
            raise ValueError(
                f"there must be a scale for each of the {count} feature maps and one more, but scales is {scales}"
            )
        self.aspect_ratios = aspect_ratios
        self.steps = steps
        self.clip = clip
        self.scales = scales
        self._sides = tuple(tuple(self._level_sides(k)) for k in range(count))
        self._cache = ValueCache(_KEPT_LAYOUTS)

    def _level_sides(self, level: int) -> list[tuple[float, float]]:
        """Width and height of each box of a level, relative to the image's."""
        scale, between = self.scales[level], math.sqrt(self.scales[level] * self.scales[level + 1])
        sides = [(scale, scale), (between, between)]
        for ratio in self.aspect_ratios[level]:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            sides += [(long, short), (short, long)]
        if not self.clip:
            return sides
        return [(min(max(width, 0.0), 1.0), min(max(height, 0.0), 1.0)) for width, height in sides]

    def num_anchors_per_location(self) -> list[int]:
        """For each feature map, how many boxes there are around each of its locations."""
        return [len(sides) for sides in self._sides]

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Makes the default boxes of a batch. Arguments and result are as for :class:`AnchorGenerator`."""
        if len(feature_maps) != len(self._sides):
            raise ValueError(
                f"the default boxes are defined for {len(self._sides)} feature maps, but got {len(feature_maps)}; give "
                "aspect ratios for every map of the backbone"
            )
        height, width = image_list.tensors.shape[-2:]
        grids = tuple((feature_map.shape[-2], feature_map.shape[-1]) for feature_map in feature_maps)
        dtype, device = single_or_better(feature_maps[0].dtype), feature_maps[0].device
        sides_of_levels, steps = self._sides, None if self.steps is None else tuple(self.steps)

        def make() -> Tensor:
            size = torch.tensor([width, height], dtype=dtype, device=device)
            levels = []
            for level, ((rows, columns), sides) in enumerate(zip(grids, sides_of_levels, strict=True)):
                rows_in_image: float = rows
                columns_in_image: float = columns
                if steps is not None:
                    rows_in_image, columns_in_image = height / steps[level], width / steps[level]
                y = (torch.arange(rows, dtype=dtype, device=device) + 0.5) / rows_in_image
                x = (torch.arange(columns, dtype=dtype, device=device) + 0.5) / columns_in_image
                y, x = torch.meshgrid(y, x, indexing="ij")
                centres = torch.stack((x, y), -1).reshape(-1, 1, 2)
                half = torch.tensor(sides, dtype=dtype, device=device) / 2
                corners = torch.stack((centres - half, centres + half), -2) * size
                levels.append(corners.reshape(-1, 4))
            return torch.cat(levels)

        boxes = self._cache.get(make, key=(height, width, grids, sides_of_levels, steps, dtype, device))
        return [boxes] * len(image_list.image_sizes)

    def extra_repr(self) -> str:
        return f"aspect_ratios={self.aspect_ratios}, scales={self.scales}, steps={self.steps}, clip={self.clip}"


def pyramid_anchors() -> AnchorGenerator:
    """Those of Faster R-CNN on a feature pyramid: a size for each of five levels, from 32 to 512, at three ratios."""
    return AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)


def anchors_per_location(anchor_generator: Any) -> int:
    """How many anchors there are around each location, for a head that is shared by all feature maps.

    Args:
        anchor_generator: an :class:`AnchorGenerator`, or somebody's own with ``num_anchors_per_location()``.

    Raises:
        TypeError: it cannot say.
        ValueError: there is not one number for all feature maps.
    """
    count = getattr(anchor_generator, "num_anchors_per_location", None)
    if not callable(count):
        raise TypeError(
            "anchor_generator must be an AnchorGenerator, or a module with a method num_anchors_per_location() that "
            f"lists the number of anchors for each feature map; {type(anchor_generator).__name__} is neither"
        )
    counts = list(count())
    if len(set(counts)) != 1:
        raise ValueError(
            f"a head takes one number of anchors for all feature maps, but the anchor generator makes {counts} around "
            "each location of them; give each map as many sizes times aspect ratios, or a head of your own"
        )
    return counts[0]


def check_predictions(predictions: int, anchors: Sequence[Tensor]) -> None:
    """Checks that a head has predicted for as many anchors as there are.

    Args:
        predictions: for how many anchors of an image it has.
        anchors: for each image Tensor[A, 4].

    Raises:
        ValueError: for more or fewer.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if predictions != len(anchors[0]):
        raise ValueError(
            f"the head predicts for {predictions} anchors of an image, but the anchor generator makes "
            f"{len(anchors[0])}; a head takes one number of anchors for all feature maps, that it was built with"
        )


def anchors_last(prediction: Tensor, values: int) -> Tensor:
    """Tensor[N, A * values, H, W] -> Tensor[N, H * W * A, values]: in the order of the anchors."""
    count, _, height, width = prediction.shape
    by_anchor = prediction.reshape(count, -1, values, height, width)
    return by_anchor.permute(0, 3, 4, 1, 2).reshape(count, -1, values)
