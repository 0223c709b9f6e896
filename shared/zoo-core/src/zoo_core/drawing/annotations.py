"""Boxes, masks and keypoints drawn on an image."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo_core.drawing.canvas import FAR, canvas, check_image, load_font, to_tensor_like
from zoo_core.drawing.colors import Color, Colors, ink, parse_colors

__all__ = ["draw_bounding_boxes", "draw_keypoints", "draw_segmentation_masks"]

_FILL_OPACITY = 100  # of 255


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
        image: Tensor[C, H, W] with 1 or 3 channels, uint8 in 0..255 or floating in [0, 1].
        boxes: Tensor[N, 4] of ``(x1, y1, x2, y2)`` in pixels with ``x1 <= x2`` and ``y1 <= y2``, or Tensor[N, 8] of
            four corners ``(x1, y1, ..., x4, y4)``. They may reach outside the image.
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
        The image Tensor[3, H, W] with the dtype of ``image``. Without boxes, ``image`` itself, with a warning.

    Raises:
        TypeError: ``image`` or ``boxes`` is not a tensor, or a colour is none.
        ValueError: A shape, a dtype, a box, a colour or the number of labels or colours is wrong.
    """
    check_image(image, channels=(1, 3))
    if not isinstance(boxes, Tensor):
        raise TypeError(f"expected boxes as a tensor, got {type(boxes).__name__}")
    if boxes.numel() == 0:
        warnings.warn("boxes doesn't contain any box. No box was drawn", stacklevel=2)
        return image
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 8):
        raise ValueError(f"expected boxes of shape [N, 4] or [N, 8], got {list(boxes.shape)}")
    boxes = boxes.detach().cpu().double()  # not every dtype can be compared
    if not boxes.isfinite().all():
        raise ValueError("boxes must be finite numbers, got NaN or infinity")
    if boxes.shape[1] == 4 and (boxes[:, :2] > boxes[:, 2:]).any():
        raise ValueError("boxes must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2: convert them from other formats")
    count = boxes.shape[0]
    if labels is not None and len(labels) != count:
        raise ValueError(f"expected one label for each of the {count} boxes, got {len(labels)}")

    box_colors = parse_colors(colors, count)
    backgrounds = box_colors if label_background_colors is None else parse_colors(label_background_colors, count)
    if label_colors is not None:
        text_colors = parse_colors(label_colors, count)
    else:
        text_colors = [ink(background) for background in backgrounds] if fill_labels else box_colors
    text_font = load_font(font, font_size, [label for label in labels or () if label is not None])

    picture, draw = canvas(image, "RGBA" if fill else "RGB")
    for index, box in enumerate(boxes.clamp(-FAR, FAR).to(torch.int64).tolist()):
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
    return to_tensor_like(picture, image)


def draw_segmentation_masks(
    image: Tensor,
    masks: Tensor,
    alpha: float = 0.8,
    colors: Colors | None = None,
) -> Tensor:
    """Paints masks over an image. Where masks overlap, the paint is black.

    Args:
        image: Tensor[3, H, W], uint8 in 0..255 or floating in [0, 1].
        masks: bool, Tensor[N, H, W] or Tensor[H, W].
        alpha: Opacity of the masks: 0 is invisible, 1 hides the image.
        colors: One colour for all masks, or at least one for each. Default: a palette.

    Returns:
        The image Tensor[3, H, W] with the dtype and on the device of ``image``. Without masks, ``image`` itself, with a
        warning.

    Raises:
        TypeError: ``image`` or ``masks`` is not a tensor, or a colour is none.
        ValueError: A shape, a dtype, a colour, the number of colours or ``alpha`` is wrong.
    """
    check_image(image, channels=(3,))
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
            f"the masks must have the image's height and width {list(image.shape[-2:])}, got {list(masks.shape[-2:])}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    if masks.shape[0] == 0:
        warnings.warn("masks doesn't contain any mask. No mask was drawn", stacklevel=2)
        return image

    palette = torch.tensor(parse_colors(colors, masks.shape[0]), dtype=torch.float32, device=image.device)
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
        image: Tensor[3, H, W], uint8 in 0..255 or floating in [0, 1].
        keypoints: Tensor[N, K, 2]: for each of N instances, K points ``(x, y)`` in pixels.
        connectivity: Pairs of indices of keypoints to connect by a line.
        colors: The colour of the points. Default: white.
        radius: Radius of a point in pixels.
        width: Width of the lines in pixels.
        visibility: Tensor[N, K]; points where it is false or 0 are not drawn, nor are their lines. Default: all are.

    Returns:
        The image Tensor[3, H, W] with the dtype of ``image``. Without keypoints, ``image`` itself.

    Raises:
        TypeError: ``image`` or ``keypoints`` is not a tensor, or the colour is none.
        ValueError: A shape, a dtype, a visible point or the colour is wrong.
    """
    check_image(image, channels=(3,))
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
    keypoints = keypoints.detach().cpu().double()
    if not keypoints[visible].isfinite().all():
        raise ValueError("visible keypoints must be finite numbers, got NaN or infinity: mask them with visibility")
    if keypoints.numel() == 0:
        return image
    color = (255, 255, 255) if colors is None else parse_colors(colors, 1)[0]

    picture, draw = canvas(image)
    places = keypoints.nan_to_num(0.0).clamp(-FAR, FAR).to(torch.int64).tolist()
    for instance, shown in zip(places, visible.tolist(), strict=True):
        for (x, y), is_visible in zip(instance, shown, strict=True):
            if is_visible:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        for first, second in connectivity or ():
            if shown[first] and shown[second]:
                draw.line((*instance[first], *instance[second]), fill=(255, 255, 255), width=width)
    return to_tensor_like(picture, image)
