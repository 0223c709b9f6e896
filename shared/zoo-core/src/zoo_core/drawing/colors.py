"""Colours as users spell them, and a palette for those who do not care."""

import colorsys
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from PIL import ImageColor

__all__ = ["Color", "Colors", "class_color", "color_palette"]

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
    """One colour for each of ``count`` objects.

    Raises:
        TypeError: a colour is none.
        ValueError: there are fewer colours than objects, or a name is unknown.
    """
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
    """Black or white, whichever has more contrast to the background, by its luminance."""
    red, green, blue = map(_linear, background)
    # Contrast is the ratio of luminances, with 0.05 added to each; at 0.179 black and white have the same.
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else (255, 255, 255)


def _linear(level: int) -> float:
    """The luminance, in [0, 1], of a level of sRGB in 0..255."""
    value = level / 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def class_color(index: int, variant: int = 0) -> RGB:
    """The colour of a class, the same wherever the class is drawn.

    Consecutive classes differ by the golden angle in hue, and in lightness. The hues are as far apart for the eye, by
    `Oklab <https://bottosson.github.io/posts/oklab/>`__, and about as light, so that no class looks more important.

    Args:
        index: of the class, 0 or more.
        variant: a shade, to tell neighbours of one class apart: 0 is the colour itself, the others are darker and
            lighter in turn. There are five, after which they begin again.

    Returns:
        RGB triple in 0..255.
    """
    lightness, chroma = ((0.73, 0.17), (0.81, 0.14), (0.66, 0.19))[index % 3]
    lighter, turned = ((0.0, 0), (-0.15, 10), (0.11, -12), (-0.08, -24), (0.05, 24))[variant % 5]
    return _oklch(min(lightness + lighter, 0.9), chroma, 250 + 137.508 * index + turned)


def _oklch(lightness: float, chroma: float, hue: float) -> RGB:
    """A colour of lightness in [0, 1], chroma in [0, 0.3] and hue in degrees; less colourful where sRGB ends."""
    angle = math.radians(hue)
    while True:
        a, b = chroma * math.cos(angle), chroma * math.sin(angle)
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        levels = (
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        )
        if all(0 <= level <= 1 for level in levels) or chroma <= 0:
            red, green, blue = (_gamma(min(max(level, 0.0), 1.0)) for level in levels)
            return red, green, blue
        chroma -= 0.005


def _gamma(luminance: float) -> int:
    """The level of sRGB in 0..255 of a luminance in [0, 1]."""
    value = 12.92 * luminance if luminance <= 0.0031308 else 1.055 * luminance ** (1 / 2.4) - 0.055
    return round(255 * value)
