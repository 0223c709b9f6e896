"""A panel of text under an image, or on it: what a classifier says of it."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.drawing.canvas import enlarged, text_size
from zoo_core.drawing.colors import Colors, parse_colors
from zoo_core.drawing.fonts import Lettering
from zoo_core.images import convert_mode, to_pil_image

__all__ = ["draw_labels", "overlay_labels"]

# Colours of the panel.
_PANEL = (24, 26, 31)
_INK = (240, 242, 245)
_FAINT_INK = (170, 176, 186)
_BAR = (64, 140, 255)
_BAR_GROUND = (46, 50, 58)
_VEIL = (*_PANEL, 190)  # the panel, where the image shines through

Line = str | tuple[str, float]


def draw_labels(
    image: Tensor | Image.Image,
    lines: Sequence[Line],
    min_size: int = 320,
    colors: Colors | None = None,
) -> Image.Image:
    """Puts a panel of text under an image: one line for each label, with its score as number and bar.

    The image itself stays unobstructed. Small images are enlarged (icons pixel by pixel, photographs smoothly), so that
    the text beside them is readable; the text grows with large ones. Labels that are too long are cut.

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
    picture = enlarged(picture, min_size)
    if not lines:
        return picture.copy()

    width = max(picture.width, min_size)
    font_size = max(14, round(min(width / 46, picture.height / (4 * len(lines)))))
    margin, bar_height, row_height = font_size, max(3, font_size // 5), round(1.8 * font_size)
    # One copy of the image, with room at its sides and below.
    left = -((width - picture.width) // 2)
    canvas = picture.crop((left, 0, left + width, picture.height + len(lines) * row_height + margin))
    canvas.paste(_PANEL, (0, picture.height, width, canvas.height))
    if width > picture.width:
        canvas.paste(_PANEL, (0, 0, -left, picture.height))
        canvas.paste(_PANEL, (picture.width - left, 0, width, picture.height))

    draw = ImageDraw.Draw(canvas)
    right = width - margin
    marks = None if colors is None else parse_colors(colors, len(lines))
    for index, line in enumerate(lines):
        text, score = (line, None) if isinstance(line, str) else line
        baseline = picture.height + index * row_height + round(1.35 * font_size)
        room = float(right - margin)
        if score is not None:
            percentage = Lettering.of(f"{score:.1%}", font_size)
            percentage.draw(draw, right - percentage.width, baseline, _INK if index == 0 else _FAINT_INK)
            room -= percentage.width + margin
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
        written = Lettering.of(text, font_size, max(room, 1))
        written.draw(draw, left, baseline, _INK if index == 0 else _FAINT_INK)
    return canvas


def overlay_labels(image: Image.Image, lines: Sequence[Line], colors: Colors | None = None) -> Image.Image:
    """Puts lines of text on an image, in its lower left corner, on a dark ground that shines through.

    Args:
        image: RGB.
        lines: from top to bottom, texts or pairs of a text and a score in [0, 1]; those that find no room are left out.
        colors: for a legend: one colour for each line, shown before its text. Default: no such mark.

    Returns:
        A new RGB image of the same size.
    """
    image = image.copy()
    letters = text_size(image.size)
    margin, row = round(0.5 * letters), round(1.35 * letters)
    shown = lines[: max(1, (image.height - 2 * margin) // row)]
    marks = None if colors is None else parse_colors(colors, len(lines))
    indent = margin + (0 if marks is None else round(1.2 * letters))
    texts = [line if isinstance(line, str) else f"{line[0]}  {line[1]:.0%}" for line in shown]
    written = [Lettering.of(text, letters, max(image.width - indent - margin, 1)) for text in texts]
    if not written:
        return image
    width = indent + max(round(text.width) for text in written) + margin
    top = image.height - len(written) * row - margin
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((0, top, width - 1, image.height - 1), fill=_VEIL)
    for index, text in enumerate(written):
        baseline = top + margin // 2 + index * row + letters
        if marks is not None:
            side = round(0.75 * letters)
            draw.rectangle((margin, baseline - side, margin + side, baseline), fill=marks[index], outline=_FAINT_INK)
        text.draw(draw, indent, baseline, _INK if index == 0 or marks is not None else _FAINT_INK)
    return image
