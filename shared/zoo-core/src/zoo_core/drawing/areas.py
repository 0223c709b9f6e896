"""Classes of pixels, painted over an image."""

from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from zoo_core.drawing.canvas import extent, line_width
from zoo_core.drawing.colors import RGB
from zoo_core.images import pil_to_tensor, to_pil_image

__all__ = ["paint_classes"]

_EDGE = (255, 255, 255)
_EDGE_OPACITY = 150  # of 255
_MOST = 254  # classes that a byte tells apart, with what is not painted and the edges


def paint_classes(
    image: Image.Image, classes: Tensor, colors: Mapping[int, RGB], opacity: float = 0.5, *, edges: bool = True
) -> Image.Image:
    """Paints the class of each pixel over an image.

    Args:
        image: RGB.
        classes: of its pixels, Tensor[H, W] of integers.
        colors: of the classes that are painted; others are left as they are. At most 254.
        opacity: in [0, 1].
        edges: whether a light line shows where a painted class ends.

    Returns:
        A new RGB image.

    Raises:
        ValueError: the sizes differ, or there are too many colours.
    """
    if classes.shape != (image.height, image.width):
        raise ValueError(f"expected classes of shape {[image.height, image.width]}, got {list(classes.shape)}")
    if len(colors) > _MOST:
        raise ValueError(f"at most {_MOST} classes can be painted, not {len(colors)}")
    painted = image.copy()
    numbers = _numbered(classes, list(colors))
    if edges:
        numbers.masked_fill_(_edges(numbers, max(1, line_width(image.size) // 2)), _MOST + 1)
    place = extent(numbers)
    if place is None:
        return painted
    left, top, right, bottom = place
    part = numbers[top:bottom, left:right].contiguous()
    layer = to_pil_image(part, mode="P")
    palette = [(0, 0, 0), *colors.values(), *[_EDGE] * (_MOST + 1 - len(colors))]
    layer.putpalette([level for color in palette for level in color])
    strength = to_pil_image(part, mode="L").point([0, *[round(255 * opacity)] * _MOST, _EDGE_OPACITY])
    painted.paste(layer.convert("RGB"), (left, top), strength)
    return painted


def _numbered(classes: Tensor, painted: list[int]) -> Tensor:
    """The place of each pixel's class among the painted ones, from 1 on; 0 for others. uint8 Tensor[H, W]."""
    if classes.dtype == torch.uint8:
        table = [0] * 256
        for number, index in enumerate(painted, 1):
            table[index] = number
        return pil_to_tensor(to_pil_image(classes, mode="L").point(table))[0]
    numbers = torch.zeros(classes.shape, dtype=torch.uint8)
    for number, index in enumerate(painted, 1):
        numbers.masked_fill_(classes == index, number)
    return numbers


def _edges(numbers: Tensor, line: int) -> Tensor:
    """Where the pixels before are of another class, in a line of so many pixels: bool Tensor[H, W]."""
    edges = torch.zeros(numbers.shape, dtype=torch.bool)
    edges[line:] |= numbers[line:] != numbers[:-line]
    edges[:, line:] |= numbers[:, line:] != numbers[:, :-line]
    return edges
