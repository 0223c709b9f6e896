"""A panel of text under an image: what a classifier says of it."""

import bisect
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.drawing.canvas import Font, load_font
from zoo_core.drawing.colors import Colors, parse_colors
from zoo_core.images import convert_mode, to_pil_image

__all__ = ["draw_labels"]

# Colours of the panel.
_PANEL = (24, 26, 31)
_INK = (240, 242, 245)
_FAINT_INK = (170, 176, 186)
_BAR = (64, 140, 255)
_BAR_GROUND = (46, 50, 58)


def draw_labels(
    image: Tensor | Image.Image,
    lines: Sequence[str | tuple[str, float]],
    min_size: int = 320,
    colors: Colors | None = None,
) -> Image.Image:
    """Puts a panel of text under an image: one line for each label, with its score as number and bar.

    The image itself stays unobstructed. Small images are enlarged, pixel by pixel, so that the text beside them is
    readable; the text grows with large ones. Labels that are too long are cut.

    Args:
        image: A PIL image of any mode, or a Tensor[C, H, W] as for :func:`~zoo_core.images.to_pil_image`.
        lines: From top to bottom, texts or pairs of a text and a score in [0, 1].
        min_size: Length in pixels that the longer side of small images is brought near to, and the least width of
            the result.
        colors: For a legend: one colour for each line, shown before its text. Default: no such mark.

    Returns:
        A new RGB image.

    Raises:
        TypeError: ``image`` is neither a PIL image nor a tensor, or a colour is none.
        ValueError: The image is empty or has an impossible shape, or there are fewer colours than lines.
    """
    picture = convert_mode(image if isinstance(image, Image.Image) else to_pil_image(image), "RGB")
    if picture.width == 0 or picture.height == 0:
        raise ValueError(f"the image is empty: {picture.width} x {picture.height} pixels")
    enlargement = round(min_size / max(picture.size))
    if enlargement > 1:
        picture = picture.resize((picture.width * enlargement, picture.height * enlargement), Image.Resampling.NEAREST)
    if not lines:
        return picture.copy()

    width = max(picture.width, min_size)
    font_size = max(14, round(min(width / 26, picture.height / (4 * len(lines)))))
    font = load_font(None, font_size, [line if isinstance(line, str) else line[0] for line in lines])
    margin, bar_height, row_height = font_size, max(3, font_size // 5), round(1.9 * font_size)
    canvas = Image.new("RGB", (width, picture.height + len(lines) * row_height + margin), _PANEL)
    canvas.paste(picture, ((width - picture.width) // 2, 0))

    draw = ImageDraw.Draw(canvas)
    right = width - margin
    marks = None if colors is None else parse_colors(colors, len(lines))
    for index, line in enumerate(lines):
        text, score = (line, None) if isinstance(line, str) else line
        baseline = picture.height + index * row_height + round(1.35 * font_size)
        room = float(right - margin)
        if score is not None:
            percentage = f"{score:.1%}"
            draw.text((right, baseline), percentage, fill=_INK if index == 0 else _FAINT_INK, font=font, anchor="rs")
            room -= draw.textlength(percentage, font=font) + margin
            top = baseline + round(0.3 * font_size)
            draw.rectangle((margin, top, right - 1, top + bar_height - 1), fill=_BAR_GROUND)
            length = round((right - margin) * min(max(score, 0.0), 1.0)) if math.isfinite(score) else 0
            if length > 0:
                draw.rectangle((margin, top, margin + length - 1, top + bar_height - 1), fill=_BAR)
        left = margin
        if marks is not None:
            square = (margin, baseline - round(0.75 * font_size), margin + round(0.75 * font_size), baseline)
            draw.rectangle(square, fill=marks[index], outline=_FAINT_INK)
            left += round(1.25 * font_size)
            room -= left - margin
        text = _cut(draw, " ".join(text.split()), font, room)
        draw.text((left, baseline), text, fill=_INK if index == 0 else _FAINT_INK, font=font, anchor="ls")
    return canvas


def _cut(draw: ImageDraw.ImageDraw, text: str, font: Font, room: float) -> str:
    """The text, shortened until it fits into so many pixels."""
    if draw.textlength(text, font=font) <= room:
        return text
    fits = bisect.bisect_right(
        range(1, len(text)), room, key=lambda length: draw.textlength(text[:length].rstrip() + "...", font=font)
    )
    return text[:fits].rstrip() + "..."
