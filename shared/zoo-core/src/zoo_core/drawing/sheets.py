"""Contact sheets: many images with their captions, as one image and as one page."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from zoo_core.drawing.fonts import Lettering

__all__ = ["Section", "contact_page", "contact_sheet"]

# Of the sheet, in pixels.
_MARGIN = 24
_GAP = 12
_ROW = 280
_MOST_STRETCHED = 1.3
_TITLE, _SUBTITLE, _CAPTION = 26, 16, 14
_GROUND, _INK, _FAINT_INK = (248, 248, 250), (24, 26, 31), (96, 100, 110)

_EMBEDDED = 900  # pixels of the longer side of an image on a page
_PIXEL_ART = 100_000  # bytes of a PNG file, below which an image is one better than as JPEG

_STYLE = """
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; font: 16px/1.4 system-ui, sans-serif; color: #181a1f;
       background: #f8f8fa }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin: 2rem 0 0 } p { margin: 0 0 .8rem; color: #60646e }
section div { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0 }
figure img { display: block; height: 18rem; max-width: 100%; object-fit: contain; border-radius: 4px }
figcaption { font-size: .85rem; color: #60646e; white-space: pre-line }
@media (prefers-color-scheme: dark) { body { background: #14161a; color: #f0f2f5 } p, figcaption { color: #aab0ba } }
"""


@dataclass(frozen=True)
class Section:
    """Images that belong together.

    Args:
        title, subtitle: what is above them.
        images: RGB images, each with its caption.
    """

    title: str
    subtitle: str
    images: Sequence[tuple[str, Image.Image]]


def contact_sheet(sections: Sequence[Section], width: int = 1280) -> Image.Image:
    """Arranges images in rows, under the titles of their sections.

    Args:
        sections: from top to bottom.
        width: of the sheet, in pixels.

    Returns:
        A new RGB image of that width, as high as it takes.
    """
    rows = [(section, list(_rows(section.images, width - 2 * _MARGIN))) for section in sections]
    head = round(1.6 * _TITLE) + round(1.8 * _SUBTITLE)
    below = round(1.7 * _CAPTION) + _GAP
    height = _MARGIN + sum(head + sum(row[0][1].height + below for row in found) + _GAP for _, found in rows)
    sheet = Image.new("RGB", (width, height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for section, found in rows:
        Lettering.of(section.title, _TITLE, width - 2 * _MARGIN).draw(draw, _MARGIN, top + _TITLE, _INK)
        baseline = top + round(1.6 * _TITLE) + _SUBTITLE
        Lettering.of(section.subtitle, _SUBTITLE, width - 2 * _MARGIN).draw(draw, _MARGIN, baseline, _FAINT_INK)
        top += head
        for row in found:
            left = _MARGIN
            for caption, image in row:
                sheet.paste(image, (left, top))
                text = Lettering.of(caption, _CAPTION, image.width)
                text.draw(draw, left, top + image.height + round(1.2 * _CAPTION), _FAINT_INK)
                left += image.width + _GAP
            top += row[0][1].height + below
        top += _GAP
    return sheet


def _rows(images: Sequence[tuple[str, Image.Image]], width: int) -> Iterator[list[tuple[str, Image.Image]]]:
    """Rows of images of one height, which are at most so wide together; full ones reach from side to side."""
    row: list[tuple[str, Image.Image]] = []
    for caption, image in images:
        if row and _width([*row, (caption, image)], _ROW) > width:
            room = width - (len(row) - 1) * _GAP
            yield _scaled(row, min(_ROW * _MOST_STRETCHED, room / (_width(row, 1) - (len(row) - 1) * _GAP)))
            row = []
        row.append((caption, image))
    if row:
        yield _scaled(row, _ROW * min(1, width / _width(row, _ROW)))


def _width(row: Sequence[tuple[str, Image.Image]], height: float) -> float:
    """How wide a row is when its images have that height."""
    return sum(height * image.width / image.height for _, image in row) + (len(row) - 1) * _GAP


def _scaled(row: Sequence[tuple[str, Image.Image]], height: float) -> list[tuple[str, Image.Image]]:
    rows = max(int(height), 1)
    return [
        (caption, image.resize((max(int(rows * image.width / image.height), 1), rows), Image.Resampling.LANCZOS))
        for caption, image in row
    ]


def contact_page(title: str, sections: Sequence[Section]) -> str:
    """The same as a page in HTML, which has everything in itself.

    Args:
        title: of the page.
        sections: from top to bottom.
    """
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>",
    ]
    for section in sections:
        parts.append(f"<section>\n<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.subtitle)}</p>\n<div>")
        for caption, image in section.images:
            text = html.escape(caption)
            parts.append(f'<figure><img src="{_embedded(image)}" alt="{text}"><figcaption>{text}</figcaption></figure>')
        parts.append("</div>\n</section>")
    return "\n".join([*parts, "</html>\n"])


def _embedded(image: Image.Image) -> str:
    """An image as an address that holds it."""
    if max(image.size) > _EMBEDDED:
        image = image.copy()
        image.thumbnail((_EMBEDDED, _EMBEDDED), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    kind = "png"
    if buffer.tell() > _PIXEL_ART:
        buffer, kind = io.BytesIO(), "jpeg"
        image.save(buffer, "JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
