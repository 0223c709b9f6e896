"""Pictures of what a model sees: boxes, masks, keypoints, flow and labels drawn on pictures, and grids of pictures.

The functions that torchvision's ``utils`` also has take the same arguments, and draw the same pixels on uint8 pictures,
except where no colour is given, and for boxes of four corners, whose lines have no gaps here. None changes its input.
"""

import bisect
import colorsys
import contextlib
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, TypeAlias

import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from zoo_core.images import convert_mode, pil_to_tensor, to_pil_image

__all__ = [
    "Color",
    "Colors",
    "color_palette",
    "draw_bounding_boxes",
    "draw_keypoints",
    "draw_labels",
    "draw_segmentation_masks",
    "flow_to_image",
    "make_grid",
    "save_image",
]

Color: TypeAlias = str | Sequence[int]
"""A name (``"red"``), a hexadecimal code (``"#ff00ff"``) or three numbers ``(red, green, blue)`` in 0..255."""

Colors: TypeAlias = Color | Sequence[Any]
"""One colour, or a sequence of them (whose spellings may differ, which type checkers cannot follow)."""

_RGB = tuple[int, int, int]
_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

# Pillow computes with 32-bit coordinates. Whatever lies farther outside cannot be seen.
_FAR = 2**20
_FILL_OPACITY = 100  # of 255

_SYSTEM_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")

# Colours of the panel that draw_labels adds.
_PANEL = (24, 26, 31)
_INK = (240, 242, 245)
_FAINT_INK = (170, 176, 186)
_BAR = (64, 140, 255)
_BAR_GROUND = (46, 50, 58)


def color_palette(count: int) -> list[_RGB]:
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


def draw_bounding_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str | None] | None = None,
    colors: Colors | None = None,
    fill: bool | None = False,
    width: int = 1,
    font: str | None = None,
    font_size: int | None = None,
    label_colors: Colors | None = None,
    label_background_colors: Colors | None = None,
    fill_labels: bool = False,
) -> Tensor:
    """Draws boxes, with labels if given.

    Args:
        image: ``[C, H, W]`` with 1 or 3 channels, uint8 in 0..255 or floating in [0, 1].
        boxes: ``[N, 4]`` of ``(x1, y1, x2, y2)`` in pixels with ``x1 <= x2`` and ``y1 <= y2``, or ``[N, 8]`` of four
            corners ``(x1, y1, ..., x4, y4)``. They may reach outside the picture.
        labels: One text for each box; ``None`` leaves a box without.
        colors: One colour for all boxes, or at least one for each. Default: a palette.
        fill: Whether to fill the boxes with their colour, transparently.
        width: Width of the lines in pixels.
        font: File name of a TrueType font. Default: Pillow's own, or one of the system's for labels beyond ASCII.
        font_size: Height of the text in pixels. Default: 10.
        label_colors: As ``colors``, for the text. Default: the box's colour; with ``fill_labels``, black or white,
            whichever is easier to read.
        label_background_colors: As ``colors``, for the background of the text. Default: the box's colour. Only used
            with ``fill_labels``.
        fill_labels: Whether the text gets a background.

    Returns:
        The picture ``[3, H, W]`` with the dtype of ``image``. Without boxes, ``image`` itself, with a warning.

    Raises:
        TypeError: ``image`` or ``boxes`` is not a tensor, or a colour is none.
        ValueError: A shape, a dtype, a box, a colour or the number of labels or colours is wrong.
    """
    _check_image(image, channels=(1, 3))
    if not isinstance(boxes, Tensor):
        raise TypeError(f"expected boxes as a tensor, got {type(boxes).__name__}")
    if boxes.numel() == 0:
        warnings.warn("boxes doesn't contain any box. No box was drawn", stacklevel=2)
        return image
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 8):
        raise ValueError(f"expected boxes of shape [N, 4] or [N, 8], got {list(boxes.shape)}")
    if not boxes.float().isfinite().all():
        raise ValueError("boxes must be finite numbers, got NaN or infinity")
    if boxes.shape[1] == 4 and (boxes[:, :2] > boxes[:, 2:]).any():
        raise ValueError("boxes must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2: convert them from other formats")
    count = boxes.shape[0]
    if labels is not None and len(labels) != count:
        raise ValueError(f"expected one label for each of the {count} boxes, got {len(labels)}")

    box_colors = _parse_colors(colors, count)
    backgrounds = box_colors if label_background_colors is None else _parse_colors(label_background_colors, count)
    if label_colors is not None:
        text_colors = _parse_colors(label_colors, count)
    else:
        text_colors = [_ink(background) for background in backgrounds] if fill_labels else box_colors
    text_font = _load_font(font, font_size, [label for label in labels or () if label is not None])

    picture, draw = _canvas(image, "RGBA" if fill else "RGB")
    for index, box in enumerate(boxes.clamp(-_FAR, _FAR).to(torch.int64).tolist()):
        color = box_colors[index]
        filling = (*color, _FILL_OPACITY) if fill else None
        if len(box) == 4:
            draw.rectangle(box, fill=filling, outline=color, width=width)
        else:
            if filling:
                draw.polygon(box, fill=filling)
            draw.line((*box, *box[:2]), fill=color, width=width, joint="curve")
        label = None if labels is None else labels[index]
        if label is not None:
            margin = width + 1
            corner = (box[0] + margin, box[1] + margin)
            if fill_labels:
                left, top, right, bottom = draw.textbbox(corner, label, font=text_font)
                draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=backgrounds[index])
            draw.text(corner, label, fill=text_colors[index], font=text_font)
    return _to_tensor_like(picture, image)


def draw_segmentation_masks(
    image: Tensor,
    masks: Tensor,
    alpha: float = 0.8,
    colors: Colors | None = None,
) -> Tensor:
    """Paints masks over a picture. Where masks overlap, the paint is black.

    Args:
        image: ``[3, H, W]``, uint8 in 0..255 or floating in [0, 1].
        masks: bool, ``[N, H, W]`` or ``[H, W]``.
        alpha: Opacity of the masks: 0 is invisible, 1 hides the picture.
        colors: One colour for all masks, or at least one for each. Default: a palette.

    Returns:
        The picture ``[3, H, W]`` with the dtype and on the device of ``image``. Without masks, ``image`` itself, with a
        warning.

    Raises:
        TypeError: ``image`` or ``masks`` is not a tensor, or a colour is none.
        ValueError: A shape, a dtype, a colour, the number of colours or ``alpha`` is wrong.
    """
    _check_image(image, channels=(3,))
    if not isinstance(masks, Tensor):
        raise TypeError(f"expected masks as a tensor, got {type(masks).__name__}")
    if masks.ndim == 2:
        masks = masks.unsqueeze(0)
    if masks.ndim != 3:
        raise ValueError(f"expected masks of shape [N, H, W] or [H, W], got {list(masks.shape)}")
    if masks.dtype != torch.bool:
        raise ValueError(f"expected masks of dtype bool, got {masks.dtype}: compare scores with a threshold first")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"the masks must have the picture's height and width {list(image.shape[-2:])}, got {list(masks.shape[-2:])}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    if masks.shape[0] == 0:
        warnings.warn("masks doesn't contain any mask. No mask was drawn", stacklevel=2)
        return image

    palette = torch.tensor(_parse_colors(colors, masks.shape[0]), dtype=torch.float32, device=image.device)
    if image.is_floating_point():
        palette /= 255
    painted = image.clone()
    masks = masks.to(image.device)
    for mask, color in zip(masks, palette.to(image.dtype), strict=True):
        painted = torch.where(mask, color[:, None, None], painted)
    painted = painted.masked_fill_(masks.sum(dim=0) > 1, 0)
    return (image * (1 - alpha) + painted * alpha).to(image.dtype)


def draw_keypoints(
    image: Tensor,
    keypoints: Tensor,
    connectivity: Sequence[tuple[int, int]] | None = None,
    colors: Color | None = None,
    radius: int = 2,
    width: int = 3,
    visibility: Tensor | None = None,
) -> Tensor:
    """Draws the keypoints of each instance, and white lines between them.

    Args:
        image: ``[3, H, W]``, uint8 in 0..255 or floating in [0, 1].
        keypoints: ``[N, K, 2]``: for each of N instances, K points ``(x, y)`` in pixels.
        connectivity: Pairs of indices of keypoints to connect by a line.
        colors: The colour of the points. Default: white.
        radius: Radius of a point in pixels.
        width: Width of the lines in pixels.
        visibility: ``[N, K]``; points where it is false or 0 are not drawn, nor are their lines. Default: all are.

    Returns:
        The picture ``[3, H, W]`` with the dtype of ``image``. Without keypoints, ``image`` itself.

    Raises:
        TypeError: ``image`` or ``keypoints`` is not a tensor, or the colour is none.
        ValueError: A shape, a dtype, a visible point or the colour is wrong.
    """
    _check_image(image, channels=(3,))
    if not isinstance(keypoints, Tensor):
        raise TypeError(f"expected keypoints as a tensor, got {type(keypoints).__name__}")
    if keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        raise ValueError(f"expected keypoints of shape [N, K, 2], got {list(keypoints.shape)}")
    instances, points = keypoints.shape[:2]
    if visibility is None:
        visible = torch.ones((instances, points), dtype=torch.bool)
    else:
        visible = visibility.bool().cpu()
        if visible.ndim == 3 and visible.shape[-1] == 1:
            visible = visible.squeeze(-1)
    if visible.shape != (instances, points):
        raise ValueError(f"expected visibility of shape {[instances, points]}, got {list(visible.shape)}")
    for first, second in connectivity or ():
        if not (0 <= first < points and 0 <= second < points):
            raise ValueError(f"connectivity names keypoints {(first, second)}, but there are only {points}")
    if not keypoints.float().cpu()[visible].isfinite().all():
        raise ValueError("visible keypoints must be finite numbers, got NaN or infinity: mask them with visibility")
    if keypoints.numel() == 0:
        return image
    color = (255, 255, 255) if colors is None else _parse_colors(colors, 1)[0]

    picture, draw = _canvas(image)
    coordinates = keypoints.nan_to_num(0.0) if keypoints.is_floating_point() else keypoints
    for instance, shown in zip(coordinates.clamp(-_FAR, _FAR).to(torch.int64).tolist(), visible.tolist(), strict=True):
        for (x, y), is_visible in zip(instance, shown, strict=True):
            if is_visible:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        for first, second in connectivity or ():
            if shown[first] and shown[second]:
                draw.line((*instance[first], *instance[second]), fill=(255, 255, 255), width=width)
    return _to_tensor_like(picture, image)


def flow_to_image(flow: Tensor) -> Tensor:
    """Shows optical flow as colours: the hue is the direction, the saturation the length.

    The colour wheel is that of `A Database and Evaluation Methodology for Optical Flow
    <https://vision.middlebury.edu/flow/flowEval-iccv07.pdf>`__. The longest vector of all in the batch is fully
    saturated; white is no motion.

    Args:
        flow: float32 ``[N, 2, H, W]`` or ``[2, H, W]``: displacements ``(x, y)`` in pixels.

    Returns:
        uint8 ``[N, 3, H, W]`` or ``[3, H, W]``.

    Raises:
        TypeError: ``flow`` is not a tensor.
        ValueError: The shape or dtype is wrong, or values are not finite.
    """
    if not isinstance(flow, Tensor):
        raise TypeError(f"expected flow as a tensor, got {type(flow).__name__}")
    if flow.dtype != torch.float32:
        raise ValueError(f"expected flow of dtype float32, got {flow.dtype}: convert it with .float()")
    if flow.ndim not in (3, 4) or flow.shape[-3] != 2:
        raise ValueError(f"expected flow of shape [N, 2, H, W] or [2, H, W], got {list(flow.shape)}")
    if not flow.isfinite().all():
        raise ValueError("flow must be finite, got NaN or infinity: replace unknown flow with .nan_to_num()")
    if flow.numel() == 0:
        return flow.new_empty((*flow.shape[:-3], 3, *flow.shape[-2:]), dtype=torch.uint8)

    longest = flow.square().sum(dim=-3).sqrt().max()
    x, y = (flow / (longest + torch.finfo(flow.dtype).eps)).unbind(dim=-3)
    length = (x.square() + y.square()).sqrt()
    wheel = _color_wheel(flow.device)
    position = (torch.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    below = position.floor().to(torch.int64)
    above = (below + 1) % len(wheel)
    fraction = (position - below).unsqueeze(-1)
    hue = (1 - fraction) * (wheel[below] / 255) + fraction * (wheel[above] / 255)
    color = 1 - length.unsqueeze(-1) * (1 - hue)
    return (color * 255).floor().to(torch.uint8).movedim(-1, -3).contiguous()


def _color_wheel(device: torch.device) -> Tensor:
    """The 55 colours ``[55, 3]`` in 0..255 from red over yellow, green, cyan, blue and magenta back to red."""
    corners = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
    wheel = []
    for start, end, steps in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6), strict=False):
        for step in range(steps):
            ramp = 255 * step // steps
            wheel.append([a if a == b else ramp if b > a else 255 - ramp for a, b in zip(start, end, strict=True)])
    return torch.tensor(wheel, dtype=torch.float32, device=device)


def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Arranges pictures of one size in a grid.

    Args:
        tensor: A batch ``[N, C, H, W]``, a list of pictures ``[C, H, W]`` of the same shape, or one picture
            ``[C, H, W]`` or ``[H, W]``. Grey pictures become RGB.
        nrow: The number of pictures in a row.
        padding: Pixels between and around the pictures.
        normalize: Whether to shift and scale the values to [0, 1].
        value_range: ``(min, max)`` that become 0 and 1; values beyond are clamped. Default: those of the pictures.
            Only used with ``normalize``.
        scale_each: Whether to normalise each picture by itself rather than all together.
        pad_value: The value between the pictures.

    Returns:
        ``[C, rows * (H + padding) + padding, columns * (W + padding) + padding]``; one picture alone is returned
        without padding.

    Raises:
        TypeError: ``tensor`` is neither a tensor nor a list of tensors, or whole numbers are to be normalised.
        ValueError: There are no pictures, their shapes differ, or an argument is out of range.
    """
    if isinstance(tensor, Tensor):
        images = tensor
    elif isinstance(tensor, Sequence) and all(isinstance(image, Tensor) for image in tensor) and not _is_text(tensor):
        shapes = {tuple(image.shape) for image in tensor}
        if len(shapes) != 1:
            raise ValueError(f"expected pictures of one shape, got {sorted(shapes) or 'none'}")
        images = torch.stack(list(tensor))
    else:
        raise TypeError(f"expected a tensor or a list of tensors, got {type(tensor).__name__}")
    if nrow < 1 or padding < 0:
        raise ValueError(f"nrow must be at least 1 and padding at least 0, got {nrow} and {padding}")
    if not 2 <= images.ndim <= 4:
        raise ValueError(f"expected pictures of shape [N, C, H, W], [C, H, W] or [H, W], got {list(images.shape)}")
    images = images[(None,) * (4 - images.ndim)]
    if images.shape[0] == 0:
        raise ValueError(f"expected at least one picture, got shape {list(images.shape)}")
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if normalize:
        if not images.is_floating_point():
            raise TypeError(f"only floating values can be normalised, got {images.dtype}: convert with .float()")
        images = _stretch(images, value_range, scale_each)
    elif value_range is not None and value_range[0] >= value_range[1]:
        raise ValueError(f"value_range must be (min, max) with min < max, got {value_range}")

    count, channels, height, width = images.shape
    if count == 1:
        return images.squeeze(0)
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    cell_height, cell_width = height + padding, width + padding
    grid = images.new_full((channels, rows * cell_height + padding, columns * cell_width + padding), pad_value)
    for index, image in enumerate(images):
        top = index // columns * cell_height + padding
        left = index % columns * cell_width + padding
        grid[:, top : top + height, left : left + width] = image
    return grid


def _is_text(value: object) -> bool:
    return isinstance(value, str | bytes)


def _stretch(images: Tensor, value_range: tuple[float, float] | None, scale_each: bool) -> Tensor:
    if value_range is not None:
        low, high = value_range
        if low >= high:
            raise ValueError(f"value_range must be (min, max) with min < max, got {value_range}")
        return (images.clamp(low, high) - low) / max(high - low, 1e-5)
    if images.numel() == 0:
        return images
    dims = (1, 2, 3) if scale_each else (0, 1, 2, 3)
    lows, highs = images.amin(dims, keepdim=True), images.amax(dims, keepdim=True)
    return (images - lows) / (highs - lows).clamp(min=1e-5)


def save_image(
    tensor: Tensor | Sequence[Tensor],
    fp: str | os.PathLike[str] | BinaryIO,
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Writes a picture, or a grid of pictures, to a file.

    Args:
        tensor: Floating in [0, 1] (values beyond are clamped), in the shapes of :func:`make_grid`.
        fp: A file name or a file opened for writing bytes.
        format: The format, such as ``"PNG"``. Default: by the extension of the file name; a file object needs it.
        **kwargs: Further arguments of :func:`make_grid`.

    Raises:
        TypeError: ``tensor`` does not hold floating values.
        ValueError: As for :func:`make_grid`, or the extension is unknown.
        OSError: The file cannot be written.
    """
    grid = make_grid(tensor, **kwargs)
    if not grid.is_floating_point():
        raise TypeError(f"expected floating values in [0, 1], got {grid.dtype}: use write_png, or divide by 255")
    to_pil_image((grid.detach().float() * 255 + 0.5).clamp(0, 255).to(torch.uint8)).save(fp, format=format)


def draw_labels(
    image: Tensor | Image.Image,
    lines: Sequence[str | tuple[str, float]],
    min_size: int = 320,
    colors: Colors | None = None,
) -> Image.Image:
    """Puts a panel of text under a picture: one line for each label, with its score as number and bar.

    The picture itself stays unobstructed. Small pictures are enlarged, pixel by pixel, so that the text beside them is
    readable; the text grows with large ones. Labels that are too long are cut.

    Args:
        image: A PIL picture of any mode, or a tensor ``[C, H, W]`` as for :func:`~zoo_core.images.to_pil_image`.
        lines: From top to bottom, texts or pairs of a text and a score in [0, 1].
        min_size: Length in pixels that the longer side of small pictures is brought near to, and the least width of
            the result.
        colors: For a legend: one colour for each line, shown before its text. Default: no such mark.

    Returns:
        A new RGB picture.

    Raises:
        TypeError: ``image`` is neither a PIL picture nor a tensor, or a colour is none.
        ValueError: The picture is empty or has an impossible shape, or there are fewer colours than lines.
    """
    picture = convert_mode(image if isinstance(image, Image.Image) else to_pil_image(image), "RGB")
    if picture.width == 0 or picture.height == 0:
        raise ValueError(f"the picture is empty: {picture.width} x {picture.height} pixels")
    enlargement = round(min_size / max(picture.size))
    if enlargement > 1:
        picture = picture.resize((picture.width * enlargement, picture.height * enlargement), Image.Resampling.NEAREST)
    if not lines:
        return picture.copy()

    width = max(picture.width, min_size)
    font_size = max(14, round(min(width / 26, picture.height / (4 * len(lines)))))
    font = _load_font(None, font_size, [line if isinstance(line, str) else line[0] for line in lines])
    margin, bar_height, row_height = font_size, max(3, font_size // 5), round(1.9 * font_size)
    canvas = Image.new("RGB", (width, picture.height + len(lines) * row_height + margin), _PANEL)
    canvas.paste(picture, ((width - picture.width) // 2, 0))

    draw = ImageDraw.Draw(canvas)
    right = width - margin
    marks = None if colors is None else _parse_colors(colors, len(lines))
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


def _cut(draw: ImageDraw.ImageDraw, text: str, font: _Font, room: float) -> str:
    """The text, shortened until it fits into so many pixels."""
    if draw.textlength(text, font=font) <= room:
        return text
    fits = bisect.bisect_right(
        range(1, len(text)), room, key=lambda length: draw.textlength(text[:length].rstrip() + "...", font=font)
    )
    return text[:fits].rstrip() + "..."


# Arguments, pixels and colours --------------------------------------------------------------------------------------


def _check_image(image: Tensor, channels: tuple[int, ...]) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"expected the picture as a tensor, got {type(image).__name__}: convert it with pil_to_tensor")
    if not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise ValueError(f"expected a picture of dtype uint8 in 0..255 or floating in [0, 1], got {image.dtype}")
    if image.ndim != 3:
        raise ValueError(
            f"expected one picture of shape [C, H, W], got {list(image.shape)}: draw on a batch one by one"
        )
    if image.shape[0] not in channels:
        raise ValueError(
            f"expected a picture with {' or '.join(map(str, channels))} channels, got shape {list(image.shape)}"
        )
    if image.numel() == 0:
        raise ValueError(f"the picture is empty: shape {list(image.shape)}")


def _canvas(image: Tensor, mode: str = "RGB") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = to_pil_image(image.expand(3, -1, -1))
    return picture, ImageDraw.Draw(picture, mode)


def _to_tensor_like(picture: Image.Image, image: Tensor) -> Tensor:
    values = pil_to_tensor(picture).to(image.device)
    return values if image.dtype == torch.uint8 else (values.float() / 255).to(image.dtype)


def _parse_color(color: Color) -> _RGB:
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


def _parse_colors(colors: Colors | None, count: int) -> list[_RGB]:
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


def _ink(background: _RGB) -> _RGB:
    """Black or white, whichever is easier to read on the background."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def _load_font(font: str | None, font_size: int | None, texts: Iterable[str]) -> _Font:
    """The named font, or Pillow's own; for texts that its few glyphs cannot show, a common one of the system's."""
    if font is not None:
        try:
            return ImageFont.truetype(font, font_size or 10)
        except OSError as error:
            raise ValueError(f"no TrueType font {font!r} was found: pass the path of a .ttf file") from error
    if not all(text.isascii() for text in texts):
        for name in _SYSTEM_FONTS:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, font_size or 10)
    return ImageFont.load_default() if font_size is None else ImageFont.load_default(font_size)
