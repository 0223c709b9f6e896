"""Colours as users spell them, and a palette for those who do not care."""

import colorsys
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from PIL import ImageColor

__all__ = ["Color", "Colors", "color_palette"]

Color: TypeAlias = str | Sequence[int]
"""A name (``"red"``), a hexadecimal code (``"#ff00ff"``) or three numbers ``(red, green, blue)`` in 0..255."""

Colors: TypeAlias = Color | Sequence[Any]
"""One colour, or a sequence of them (whose spellings may differ, which type checkers cannot follow)."""

RGB = tuple[int, int, int]


def color_palette(count: int) -> list[RGB]:
    """Colours that are easy to tell apart; the first ones are the same whatever the count.

    Args:
        count: How many.

    Returns:
        RGB triples in 0..255.
    """
    golden_ratio = (math.sqrt(5) - 1) / 2
    shades = ((0.85, 1.0), (0.65, 0.85), (1.0, 0.75))
    palette = []
    for index in range(count):
        saturation, value = shades[index % len(shades)]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + index * golden_ratio) % 1, saturation, value)
        palette.append((round(red * 255), round(green * 255), round(blue * 255)))
    return palette


def _parse_color(color: Color) -> RGB:
    if isinstance(color, str):
        red, green, blue = ImageColor.getrgb(color)[:3]
        return red, green, blue
    if _is_rgb(color):
        red, green, blue = color
        return red, green, blue
    raise TypeError(f"expected a colour as a name, a hexadecimal code or three numbers in 0..255, got {color!r}")


def _is_rgb(color: object) -> bool:
    return (
        isinstance(color, Sequence)
        and len(color) == 3
        and all(isinstance(level, int) and 0 <= level <= 255 for level in color)
    )


def parse_colors(colors: Colors | None, count: int) -> list[RGB]:
    """One colour for each of ``count`` objects."""
    if colors is None:
        return color_palette(count)
    if isinstance(colors, str) or _is_rgb(colors):
        return [_parse_color(colors)] * count
    if not isinstance(colors, Sequence):
        raise TypeError(f"expected a colour or a list of colours, got {type(colors).__name__}")
    if len(colors) < count:
        raise ValueError(f"expected at least one colour for each of the {count} objects, got {len(colors)}")
    return [_parse_color(color) for color in colors[:count]]  # type: ignore[arg-type]


def ink(background: RGB) -> RGB:
    """Black or white, whichever is easier to read on the background."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)
