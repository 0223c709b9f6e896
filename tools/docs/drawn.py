"""Charts and diagrams of the documentation: curves, bars, matrices, boxes with arrows between.

All are drawn at twice their size and reduced, on white, so that they read alike on a light and a dark page.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

GROUND, INK, FAINT, LINE = (255, 255, 255), (24, 26, 31), (120, 124, 134), (225, 227, 232)
COLORS = [(38, 98, 217), (214, 106, 22), (30, 140, 90)]
GAP = 12
_SCALE = 2
Color = tuple[int, int, int]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def beside(images: Sequence[Image.Image], width: int = 960) -> Image.Image:
    """Images of equal height beside each other."""
    height = min(image.height for image in images)
    scaled = [image.resize((round(image.width * height / image.height), height)) for image in images]
    total = sum(image.width for image in scaled) + GAP * (len(scaled) - 1)
    sheet = Image.new("RGB", (total, height), GROUND)
    left = 0
    for image in scaled:
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    return sheet.resize((width, round(height * width / total)), Image.Resampling.LANCZOS)


def below(images: Sequence[Image.Image]) -> Image.Image:
    """Images below each other, flush left."""
    height = sum(image.height for image in images) + GAP * (len(images) - 1)
    sheet = Image.new("RGB", (max(image.width for image in images), height), GROUND)
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + GAP
    return sheet


def captioned(image: Image.Image, text: str, size: int = 112) -> Image.Image:
    """A square of an image, with its caption below."""
    tile = Image.new("RGB", (size, size + 22), GROUND)
    tile.paste(image.convert("RGB").resize((size, size), Image.Resampling.NEAREST))
    ImageDraw.Draw(tile).text((size / 2, size + 4), text, INK, font(14), anchor="ma")
    return tile


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * _SCALE, height * _SCALE), GROUND)
    return image, ImageDraw.Draw(image)


def _reduced(image: Image.Image) -> Image.Image:
    return image.resize((image.width // _SCALE, image.height // _SCALE), Image.Resampling.LANCZOS)


def _legend(draw: ImageDraw.ImageDraw, end: tuple[float, float], colors: Mapping[str, Color]) -> None:
    """Names in their colours, side by side, up to a place at the right."""
    at, top = end
    letters = font(14 * _SCALE)
    for name, color in reversed(list(colors.items())):
        draw.text((at, top), name, color, letters, anchor="ra")
        at -= draw.textlength(name, letters) + 18 * _SCALE


def chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    horizontal: str,
    *,
    ticks: Sequence[float],
    power: bool = False,
) -> Image.Image:
    """Curves in one frame.

    Args:
        title: above, with the unit of the vertical axis.
        series: the points of each curve, by the name that the legend gives it.
        horizontal: what the horizontal axis counts.
        ticks: numbers at the vertical axis.
        power: whether the horizontal numbers are powers of two, which stand there in their place.
    """
    image, draw = _canvas(760, 300)
    left, top, right, bottom = (value * _SCALE for value in (60, 44, 20, 44))
    width, height, letters = image.width, image.height, font(14 * _SCALE)
    points = [point for curve in series.values() for point in curve]
    x_min, x_max = min(x for x, _ in points), max(x for x, _ in points)
    y_min, y_max = min(0.0, *(y for _, y in points)), max(*ticks, *(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_min) / (x_max - x_min) * (width - left - right),
            height - bottom - (y - y_min) / (y_max - y_min) * (height - top - bottom),
        )

    draw.text((left, 12 * _SCALE), title, INK, letters)
    for value in ticks:
        _, y = place(x_min, value)
        draw.line([(left, y), (width - right, y)], LINE, _SCALE)
        draw.text((left - 6 * _SCALE, y), f"{value:g}", FAINT, letters, anchor="rm")
    for value in sorted({x for x, _ in points}):
        shown = f"{2**value:g}" if power else f"{value:g}"
        draw.text((place(value, y_min)[0], height - bottom + 8 * _SCALE), shown, FAINT, letters, anchor="ma")
    draw.text((width - right, height - 4 * _SCALE), horizontal, FAINT, letters, anchor="rd")
    colors = dict(zip(series, COLORS, strict=False))
    _legend(draw, (width - right, 12 * _SCALE), colors)
    for name, curve in reversed(list(series.items())):  # the first lies on top
        color = colors[name]
        draw.line([place(*point) for point in curve], color, 3 * _SCALE, joint="curve")
        for point in curve:
            x, y = place(*point)
            draw.ellipse([x - 4 * _SCALE, y - 4 * _SCALE, x + 4 * _SCALE, y + 4 * _SCALE], color)
    return _reduced(image)


def bars(title: str, groups: Mapping[str, Mapping[str, float]], *, mark: float | None = None) -> Image.Image:
    """Bars from left to right, those of one group below each other.

    Args:
        title: above.
        groups: the values by the name of their bar, by that of their group. Bars of one name have one colour.
        mark: where a line goes through all bars.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    colors = dict(zip(names, COLORS, strict=False))
    bar, room, head = 15, 12, 44
    image, draw = _canvas(760, head + sum(bar * len(group) + room for group in groups.values()))
    letters, small = font(14 * _SCALE), font(12 * _SCALE)
    left = _SCALE * 12 + max(draw.textlength(name, letters) for name in groups)
    largest = max(value for group in groups.values() for value in group.values())
    step = (image.width - left - 64 * _SCALE) / largest
    draw.text((0, 8 * _SCALE), title, INK, letters)
    _legend(draw, (image.width, 8 * _SCALE), colors if len(names) > 1 else {})
    top = head * _SCALE
    for name, group in groups.items():
        draw.text((left - 8 * _SCALE, top + bar * len(group) * _SCALE / 2), name, INK, letters, anchor="rm")
        for kind, value in group.items():
            end = left + value * step
            draw.rectangle([left, top + _SCALE, end, top + (bar - 1) * _SCALE], colors[kind])
            middle = top + bar * _SCALE / 2
            draw.text((end + 5 * _SCALE, middle), f"{value:g}", FAINT, small, anchor="lm")
            top += bar * _SCALE
        top += room * _SCALE
    if mark is not None:
        draw.line([(left + mark * step, (head - 4) * _SCALE), (left + mark * step, image.height)], INK, _SCALE)
    return _reduced(image)


def matrix(title: str, names: Sequence[str], rows: Sequence[Sequence[int]]) -> Image.Image:
    """How often each row's class was taken for each column's, the darker the more often.

    Args:
        title: above.
        names: of the classes, in the order of the rows and columns.
        rows: counts; each row is coloured by its shares.
    """
    cell, row_height, left, head, foot = 60, 22, 96, 40, 24
    image, draw = _canvas(left + cell * len(names), head + row_height * len(names) + foot)
    letters, small = font(14 * _SCALE), font(11 * _SCALE)
    draw.text((0, 8 * _SCALE), title, INK, letters)
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = (head + y * row_height) * _SCALE
        draw.text(((left - 8) * _SCALE, top + row_height * _SCALE / 2), name, INK, letters, anchor="rm")
        for x, count in enumerate(row):
            share = (count / max(1, sum(row))) ** 0.5
            color = tuple(round(255 + (value - 255) * share) for value in COLORS[0 if x == y else 1])
            place = (left + x * cell) * _SCALE
            draw.rectangle([place, top, place + (cell - 1) * _SCALE, top + (row_height - 1) * _SCALE], color)
            if count:
                center = (place + cell * _SCALE / 2, top + row_height * _SCALE / 2)
                draw.text(center, str(count), GROUND if share > 0.6 else INK, small, anchor="mm")
    for x, name in enumerate(names):
        middle = (left + x * cell + cell / 2) * _SCALE
        draw.text((middle, image.height - 4 * _SCALE), name, FAINT, small, anchor="md")
    return _reduced(image)


class Node(NamedTuple):
    """A box of a diagram: its title, further lines below, and whether it stands out."""

    title: str
    lines: Sequence[str] = ()
    ours: bool = False


def diagram(columns: Sequence[Sequence[Node]], links: Sequence[tuple[str, str]]) -> Image.Image:
    """Boxes in columns, and arrows from left to right.

    Args:
        columns: the boxes of each column, from above. Titles are different.
        links: titles of two boxes, of which the second stands further right.
    """
    line, pad, between, gap = 18, 10, 14, 56
    title_font, line_font = font(14 * _SCALE), font(12 * _SCALE)
    _, measure = _canvas(1, 1)

    def size(node: Node) -> tuple[int, int]:
        widths = [
            measure.textlength(node.title, title_font),
            *(measure.textlength(text, line_font) for text in node.lines),
        ]
        return round(max(widths) / _SCALE) + 2 * pad, line * (1 + len(node.lines)) + 2 * pad - 4

    sizes = {node.title: size(node) for column in columns for node in column}
    widths = [max(sizes[node.title][0] for node in column) for column in columns]
    heights = [sum(sizes[node.title][1] + between for node in column) - between for column in columns]
    height = max(heights)
    image, draw = _canvas(sum(widths) + gap * (len(columns) - 1) + 2, height + 2)
    places: dict[str, tuple[float, float, float]] = {}
    bends: dict[str, float] = {}
    left = 1
    for column, width, tall in zip(columns, widths, heights, strict=True):
        top = 1 + (height - tall) // 2
        for node in column:
            _, high = sizes[node.title]
            box = [value * _SCALE for value in (left, top, left + width, top + high)]
            color: Color = COLORS[0] if node.ours else LINE
            draw.rounded_rectangle(box, 6 * _SCALE, (238, 243, 254) if node.ours else (248, 249, 251), color, _SCALE)
            draw.text((box[0] + pad * _SCALE, box[1] + (pad - 2) * _SCALE), node.title, INK, title_font)
            for number, text in enumerate(node.lines, 1):
                y = box[1] + (pad - 1 + number * line) * _SCALE
                draw.text((box[0] + pad * _SCALE, y), text, FAINT, line_font)
            places[node.title] = (box[0], box[2], (box[1] + box[3]) / 2)
            # Where several arrows leave a box, they bend at a place of their own, or they would lie on those of others.
            bends[node.title] = (column.index(node) - (len(column) - 1) / 2) * 8 * _SCALE
            top += high + between
        left += width + gap
    leaving = Counter(begin for begin, _ in links)
    for begin, end in links:
        _, x1, y1 = places[begin]
        x2, _, y2 = places[end]
        bend = x1 + gap * _SCALE / 2 + (bends[begin] if leaving[begin] > 1 else 0)
        draw.line([(x1, y1), (bend, y1), (bend, y2), (x2 - 4 * _SCALE, y2)], FAINT, _SCALE, joint="curve")
        draw.polygon([(x2, y2), (x2 - 8 * _SCALE, y2 - 4 * _SCALE), (x2 - 8 * _SCALE, y2 + 4 * _SCALE)], FAINT)
    return _reduced(image)
