"""The figures of a run as curves: an image, and a page that needs nothing else."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

__all__ = ["as_html", "as_image"]

_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 30, 26
_COLUMNS = 3
_INK, _GRID, _CURVE = "#333333", "#dddddd", "#1f6fb2"

Point = tuple[float, float]


@dataclass
class _Panel:
    """One figure over the epochs: lines and texts in pixels, from the top left corner."""

    title: str
    lines: list[tuple[list[Point], str, float]] = field(default_factory=list)
    texts: list[tuple[Point, str, str]] = field(default_factory=list)  # point, text, anchor as in Pillow


def _panels(history: Sequence[Mapping[str, float]]) -> Iterator[_Panel]:
    names = dict.fromkeys(name for record in history for name in record)
    for name in names:
        if name not in ("epoch", "step"):
            points = [
                (record["epoch"], record[name]) for record in history if math.isfinite(record.get(name, math.nan))
            ]
            if points:
                yield _panel(name, points)


def _panel(name: str, points: Sequence[Point]) -> _Panel:
    """Draws one figure.

    Args:
        name: of the figure.
        points: epoch and value of each, in order.
    """
    panel = _Panel(name)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), whole=True), _ticks(min(ys), max(ys))
    low_x, high_x = min(xs[0], x_ticks[0]), max(xs[-1], x_ticks[-1])
    low_y, high_y = min(*ys, y_ticks[0]), max(*ys, y_ticks[-1])

    def place(x: float, y: float) -> Point:
        across = (x - low_x) / ((high_x - low_x) or 1)
        up = (y - low_y) / ((high_y - low_y) or 1)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    for y in y_ticks:
        left = place(low_x, y)
        panel.lines.append(([left, (_WIDTH - _RIGHT, left[1])], _GRID, 1))
        panel.texts.append(((left[0] - 6, left[1]), f"{y:.6g}", "rm"))
    for x in x_ticks:
        panel.texts.append(((place(x, low_y)[0], _HEIGHT - _BOTTOM + 12), f"{x:.6g}", "mm"))
    curve = [place(x, y) for x, y in points]
    if len(curve) == 1:
        curve = [(curve[0][0] - 3, curve[0][1]), (curve[0][0] + 3, curve[0][1])]
    panel.lines.append((curve, _CURVE, 2))
    panel.texts.append(((_LEFT, _TOP / 2), f"{name}: {ys[-1]:.5g}", "lm"))
    return panel


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round values between two others, some of them.

    >>> _ticks(0.13, 0.92)
    [0.2, 0.4, 0.6, 0.8]
    """
    span = high - low
    if not span:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 5)
    if whole:
        step = max(1.0, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)] or [low]


def as_image(history: Sequence[Mapping[str, float]]) -> Image.Image:
    """The curves of all figures, in RGB.

    Args:
        history: the figures of each epoch by name, with its number under ``"epoch"``.
    """
    panels = list(_panels(history))
    columns = min(_COLUMNS, max(len(panels), 1))
    rows = max(math.ceil(len(panels) / columns), 1)
    image = Image.new("RGB", (columns * _WIDTH, rows * _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    for number, panel in enumerate(panels):
        left, top = number % columns * _WIDTH, number // columns * _HEIGHT
        for points, colour, width in panel.lines:
            draw.line([(left + x, top + y) for x, y in points], fill=colour, width=round(width))
        for (x, y), text, anchor in panel.texts:
            draw.text((left + x, top + y), text, fill=_INK, font=font, anchor=anchor)
    return image


def as_html(title: str, history: Sequence[Mapping[str, float]]) -> str:
    """The same as a page that loads nothing, with a table of the figures below."""
    figures = "\n".join(_svg(panel) for panel in _panels(history))
    names = list(dict.fromkeys(name for record in history for name in record))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{record[n]:.6g}</td>" if n in record else "<td></td>" for n in names) + "</tr>"
        for record in history
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        "<style>body{font:14px sans-serif;color:#333;margin:2em}svg{font:11px sans-serif}"
        "td,th{padding:2px 12px;text-align:right}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{figures}\n<table><tr>{head}</tr>\n{rows}\n</table></body></html>\n"
    )


def _svg(panel: _Panel) -> str:
    parts = [f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{html.escape(panel.title)}">']
    for points, colour, width in panel.lines:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    for (x, y), text, anchor in panel.texts:
        side = {"l": "start", "m": "middle", "r": "end"}[anchor[0]]
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{side}" dominant-baseline="middle">{html.escape(text)}</text>'
        )
    return "".join([*parts, "</svg>"])
