"""Objects on an image as people read them: boxes with labels, masks, skeletons."""

import statistics
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zoo_core.drawing.canvas import FAR, extent, line_width, text_size
from zoo_core.drawing.colors import RGB, class_color, ink
from zoo_core.drawing.fonts import Lettering
from zoo_core.drawing.placement import place_labels
from zoo_core.images import to_pil_image

__all__ = ["draw_objects"]

_MASK_OPACITY = 115  # of 255
_HALO = (0, 0, 0, 110)
# Of skeletons: what is on the left, on the right and in the middle of a body.
_LEFT, _RIGHT, _MIDDLE = (255, 160, 40), (60, 190, 255), (120, 235, 120)
# Fine skeletons are drawn larger and reduced, which smooths their lines.
_SMOOTHED = 4  # pixels of a line's width
_SMOOTHING = 3


def draw_objects(
    image: Image.Image,
    boxes: Tensor,
    classes: Sequence[int],
    labels: Sequence[str],
    *,
    masks: Tensor | Sequence[tuple[int, int, Tensor]] | None = None,
    keypoints: Tensor | None = None,
    visible: Tensor | None = None,
    keypoint_names: Sequence[str] = (),
    skeleton: Sequence[tuple[int, int]] = (),
) -> Image.Image:
    """Draws objects with their labels, the best on top, in a colour for each class.

    Lines and letters fit the image's size and that of the objects. Labels lie beside their boxes or in them, where room
    is, inside the image and not over each other where that can be avoided; see
    :func:`~zoo_core.drawing.placement.place_labels`.

    Args:
        image: RGB.
        boxes: Tensor[N, 4], ``x1, y1, x2, y2`` in pixels, the best object first.
        classes: of each object, 0 or more.
        labels: text for each object; an empty one is left out.
        masks: bool Tensor[N, H, W]; or of each object the column and row of a part of the image, and bool Tensor[h, w]
            of it; or ``None``. They do not mix: the best hides the others. Objects of one class get shades of its
            colour, from left to right.
        keypoints: Tensor[N, K, 2], x and y in pixels, or ``None``.
        visible: bool Tensor[N, K]: which keypoints are drawn; by default all.
        keypoint_names: of the K keypoints; what begins with ``left`` or ``right`` has a colour for its side.
        skeleton: pairs of keypoints, by index, that limbs connect.

    Returns:
        A new RGB image of the same size.
    """
    image = image.copy()
    if not len(boxes):
        return image
    corners = boxes.float().nan_to_num().clamp(-FAR, FAR)
    sides = (corners[:, 2:] - corners[:, :2]).clamp(min=1)
    # Small objects in a large image: finer lines, smaller letters.
    typical = statistics.median(sides.prod(1).sqrt().tolist())
    line = min(line_width(image.size), max(line_width(image.size) / 3, 0.06 * typical))
    letters = min(text_size(image.size), max(text_size(image.size) / 2, 0.22 * typical))
    line, letters = max(round(line), 1), max(round(letters), 10)

    colors = _colors(corners, classes, shaded=masks is not None)
    if masks is not None:
        _paint_masks(image, masks, colors, line)
        line = max(1, round(line / 2))
    draw = ImageDraw.Draw(image, "RGBA")
    whole = corners.round().to(torch.int64).tolist()
    for box, color in reversed(list(zip(whole, colors, strict=True))):
        _draw_box(draw, box, color, line)
    if keypoints is not None:
        shown = torch.ones(keypoints.shape[:2], dtype=torch.bool) if visible is None else visible
        for index in reversed(range(len(keypoints))):
            reach = max(line, min(round(0.012 * float(sides[index].max())), 2 * line))
            _draw_skeleton(image, keypoints[index], shown[index], keypoint_names, skeleton, reach)
    _draw_labels(image, whole, labels, colors, letters)
    return image


def _colors(boxes: Tensor, classes: Sequence[int], shaded: bool) -> list[RGB]:
    variants = [0] * len(classes)
    if shaded:
        # Not by score, which changes from frame to frame; and neighbours get shades that differ.
        taken: dict[int, int] = {}
        for index in (boxes[:, 0] + boxes[:, 2]).argsort(stable=True).tolist():
            variants[index] = taken.get(classes[index], 0)
            taken[classes[index]] = variants[index] + 1
    return [class_color(index, variant) for index, variant in zip(classes, variants, strict=True)]


def _draw_box(draw: ImageDraw.ImageDraw, box: Sequence[int], color: RGB, line: int) -> None:
    x1, y1, x2, y2 = box
    draw.rectangle((x1 - 1, y1 - 1, max(x1, x2) + 1, max(y1, y2) + 1), outline=_HALO)
    inner = x1 + line, y1 + line, x2 - line, y2 - line
    if inner[0] < inner[2] and inner[1] < inner[3]:
        draw.rectangle(inner, outline=_HALO)
    draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=line)


def _paint_masks(
    image: Image.Image, masks: Tensor | Sequence[tuple[int, int, Tensor]], colors: Sequence[RGB], line: int
) -> None:
    """Paints masks with an outline, the best on top; looks only where they are."""
    if isinstance(masks, Tensor):
        masks = [(0, 0, mask) for mask in masks]
    free = torch.ones((image.height, image.width), dtype=torch.bool)
    for (column, row, mask), color in zip(masks, colors, strict=True):
        place = extent(mask) if mask.numel() else None
        if place is None:
            continue
        part = mask[place[1] : place[3], place[0] : place[2]]
        left, top = column + place[0], row + place[1]
        room = free[top : top + part.shape[0], left : left + part.shape[1]]
        opacity = (part & room).to(torch.uint8) * _MASK_OPACITY
        opacity[_outline(part, line) & room] = 255
        room &= ~part
        image.paste(color, (left, top), to_pil_image(opacity, mode="L"))


def _outline(mask: Tensor, line: int) -> Tensor:
    """What of a mask lies at most so many pixels from its edge, bool Tensor[H, W] likewise; the border is none."""
    inner = mask.clone()
    inner[line:] &= mask[:-line]
    inner[:-line] &= mask[line:]
    inner[:, line:] &= mask[:, :-line]
    inner[:, :-line] &= mask[:, line:]
    # Beyond the part that is looked at, there is no mask.
    inner[:line] = inner[-line:] = False
    inner[:, :line] = inner[:, -line:] = False
    return mask & ~inner


def _draw_skeleton(
    image: Image.Image,
    points: Tensor,
    visible: Tensor,
    names: Sequence[str],
    skeleton: Sequence[tuple[int, int]],
    line: int,
) -> None:
    """Draws limbs with a dark rim, and joints over them."""
    shown = visible & points.isfinite().all(1)
    if not shown.any():
        return
    radius = 1.6 * line
    margin = round(2 * radius) + 2
    places = points.nan_to_num().clamp(-FAR, FAR)
    # Only the part of the image where there are some.
    left, top = (int(value) - margin for value in places[shown].amin(0))
    right, bottom = (int(value) + margin for value in places[shown].amax(0))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
    if left >= right or top >= bottom:
        return
    part = image.crop((left, top, right, bottom))
    scale = _SMOOTHING if line <= _SMOOTHED else 1
    if scale > 1:
        part = part.resize((scale * part.width, scale * part.height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(part)
    centres = ((places - torch.tensor([left, top]) + 0.5) * scale).tolist()
    limbs = [(a, b) for a, b in skeleton if shown[a] and shown[b]]
    for rim in (True, False):
        for a, b in limbs:
            color = (20, 20, 20) if rim else _side(names, a, b)
            width = scale * (line + 2) if rim else scale * line
            draw.line((*centres[a], *centres[b]), fill=color, width=round(width))
    for index, (x, y) in enumerate(centres):
        if shown[index]:
            draw.circle((x, y), scale * radius, fill=_side(names, index), outline=(20, 20, 20), width=scale)
            draw.circle((x, y), scale * radius * 0.45, fill=(255, 255, 255))
    image.paste(part.reduce(scale) if scale > 1 else part, (left, top))


def _side(names: Sequence[str], *joints: int) -> RGB:
    """The colour of a joint, or of the limb between two."""
    sides = {names[joint].lower().partition("_")[0] if joint < len(names) else "" for joint in joints}
    return _LEFT if sides == {"left"} else _RIGHT if sides == {"right"} else _MIDDLE


def _draw_labels(
    image: Image.Image, boxes: Sequence[Sequence[int]], labels: Sequence[str], colors: Sequence[RGB], letters: int
) -> None:
    padding = max(2, round(0.25 * letters))
    written = [
        (Lettering.of(label, letters, max(image.width - 2 * padding, 1)), box, color)
        for label, box, color in zip(labels, boxes, colors, strict=True)
        if label.strip()
    ]
    sizes = [(round(text.width) + 2 * padding, text.height + padding // 2) for text, _, _ in written]
    # With the line and its halo.
    areas = [(x1 - 1, y1 - 1, x2 + 2, y2 + 2) for _, (x1, y1, x2, y2), _ in written]
    places = place_labels(areas, sizes, image.size).tolist()
    draw = ImageDraw.Draw(image)
    for (_, _, color), place, area in zip(written, places, areas, strict=True):
        if leader := _leader(place, area):
            draw.line(leader, fill=color, width=max(1, letters // 10))
    for (text, _, color), (x1, y1, x2, y2) in reversed(list(zip(written, places, strict=True))):
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
        text.draw(draw, x1 + padding, y1 + padding // 4 + text.ascent, ink(color))


def _leader(label: Sequence[int], box: Sequence[int]) -> tuple[int, int, int, int] | None:
    """A line from a label to its box, from middle or corner to the nearest point; ``None`` where they touch."""
    x1, y1, x2, y2 = label
    left, top, right, bottom = box
    if x1 <= right and x2 >= left and y1 <= bottom and y2 >= top:
        return None
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return x, y, min(max(x, left), right), min(max(y, top), bottom)
