"""Masks of objects between the fixed size that the network works with and the size of the image.

`Mask R-CNN <https://arxiv.org/abs/1703.06870>`__, section 3.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_core.layers import without_autocast
from zoo_core.tracing import is_recorded
from zoo_detection.mask_crops import MaskCrops
from zoo_detection.ops import roi_align
from zoo_detection.precision import in_single_or_better

__all__ = ["crop_masks", "maskrcnn_inference", "maskrcnn_loss", "paste_masks_in_image", "project_masks_on_boxes"]


def maskrcnn_inference(x: Tensor, labels: list[Tensor]) -> list[Tensor]:
    """The masks of the detected classes.

    Args:
        x: logits, Tensor[N, C, M, M], for all C classes.
        labels: for each image the classes of its detections, N in all.

    Returns:
        For each image the probabilities, Tensor[n, 1, M, M], of at least single precision.
    """
    label = torch.cat(labels)
    x = in_single_or_better(x)
    of_class = x.gather(1, label[:, None, None, None].expand(-1, 1, *x.shape[2:])).sigmoid()
    return [of_class] if len(labels) == 1 else list(of_class.split([image.shape[0] for image in labels]))


def project_masks_on_boxes(gt_masks: Tensor, boxes: Tensor, matched_idxs: Tensor, size: int) -> Tensor:
    """What masks look like in boxes.

    A mask of the two right columns of four, seen in a box of the whole image at 2x2: the left half is sampled at
    x = 0.5 and 1.5, and 1.5 lies between a pixel that is out and one that is in.

    >>> mask = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 4, 4)
    >>> project_masks_on_boxes(mask, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0]), size=2)
    tensor([[[0.2500, 1.0000],
             [0.2500, 1.0000]]])

    Args:
        gt_masks: masks of the objects of an image, Tensor[K, H, W].
        boxes: Tensor[N, 4].
        matched_idxs: int64 Tensor[N], the object of each box.
        size: height and width to sample a box at.

    Returns:
        Tensor[N, size, size] in [0, 1].
    """
    rois = torch.cat((matched_idxs[:, None].to(boxes), boxes), 1)
    return roi_align(gt_masks[:, None].to(rois), rois, (size, size), 1.0)[:, 0]


def maskrcnn_loss(
    mask_logits: Tensor,
    proposals: list[Tensor],
    gt_masks: list[Tensor],
    gt_labels: list[Tensor],
    mask_matched_idxs: list[Tensor],
) -> Tensor:
    """Binary cross entropy of the masks of the true classes.

    Args:
        mask_logits: Tensor[N, C, M, M].
        proposals: for each image the boxes, N in all.
        gt_masks: for each image the masks of its objects, Tensor[K, H, W].
        gt_labels: for each image the classes of its objects, int64 Tensor[K].
        mask_matched_idxs: for each image the object of each box.

    Returns:
        A scalar; zero if there is no box.
    """
    size = mask_logits.shape[-1]
    labels = torch.cat([gt[idxs] for gt, idxs in zip(gt_labels, mask_matched_idxs, strict=True)])
    if labels.numel() == 0:
        return mask_logits[:0].sum()  # zero, with a gradient
    with torch.no_grad():
        truth = torch.cat(
            [
                project_masks_on_boxes(masks, boxes, idxs, size)
                for masks, boxes, idxs in zip(gt_masks, proposals, mask_matched_idxs, strict=True)
            ]
        )
    rows = torch.arange(len(labels), device=labels.device)
    logits = mask_logits[rows, labels]
    return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))


def paste_masks_in_image(masks: Tensor, boxes: Tensor, img_shape: tuple[int, int], padding: int = 1) -> Tensor:
    """Puts masks, interpolated bilinearly, where their boxes are.

    Two columns, 0 and 1, on the four pixels from x = 1 to 4: the pixels' centres are at -0.25, 0.25, 0.75 and 1.25
    columns, and those beyond the outer columns take their values.

    >>> mask = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> paste_masks_in_image(mask, torch.tensor([[1.0, 0.0, 4.0, 1.0]]), (2, 6), padding=0)[0, 0]
    tensor([[0.0000, 0.0000, 0.2500, 0.7500, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.2500, 0.7500, 1.0000, 0.0000]])

    Args:
        masks: probabilities, Tensor[N, 1, M, M].
        boxes: Tensor[N, 4] in pixels of the image. Each covers whole pixels, from the one that its first corner lies in
            to the one of its last corner.
        img_shape: height and width of the image.
        padding: pixels of zeros put around the masks, so that they end softly.

    Returns:
        Tensor[N, 1, H, W], zero outside of the boxes.
    """
    if not _one_by_one(masks, boxes):
        return _paste_together(masks, boxes, img_shape, padding)
    pasted = masks.new_zeros(len(masks), 1, *img_shape)
    for index, (left, top, crop) in enumerate(_crops(masks, boxes, img_shape, padding)):
        pasted[index, 0, top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return pasted


def crop_masks(
    masks: Tensor, boxes: Tensor, img_shape: tuple[int, int], padding: int = 1, threshold: float = 0.5
) -> MaskCrops:
    """What is above a threshold in :func:`paste_masks_in_image`, without an image for each mask.

    Args:
        masks, boxes, img_shape, padding: as there.
        threshold: of the probability. On the CPU the pixels are exactly those that are above it there.
    """
    places, crops = [], []
    for left, top, crop in _crops(masks, boxes, img_shape, padding):
        places.append((left, top))
        crops.append(crop > threshold)
    return MaskCrops((int(img_shape[0]), int(img_shape[1])), places, crops)


def _one_by_one(masks: Tensor, boxes: Tensor) -> bool:
    """Whether each mask may be computed apart, in its box alone: by numbers that a recorded program cannot have."""
    if is_recorded(masks) or is_recorded(boxes) or type(masks) is not Tensor or masks.requires_grad:
        return False
    return masks.device.type == "cpu" and boxes.device.type == "cpu"


def _covered(masks: Tensor, boxes: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """The masks with their padding, Tensor[N, M, M], and the first and last pixel (x, y) that each covers."""
    masks = F.pad(masks[:, 0], (padding,) * 4)
    size = masks.shape[-1]
    grown = size / (size - 2 * padding)
    half = 0.5 * (boxes[:, 2:] - boxes[:, :2]) * grown
    centres = 0.5 * (boxes[:, 2:] + boxes[:, :2])
    return masks, (centres - half).to(torch.int64), (centres + half).to(torch.int64)


def _crops(masks: Tensor, boxes: Tensor, img_shape: tuple[int, int], padding: int) -> Iterator[tuple[int, int, Tensor]]:
    """Column and row of the first pixel of each mask inside the image, and its probabilities, Tensor[h, w]."""
    masks, first, last = _covered(masks, boxes, padding)
    size = masks.shape[-1]
    covered = (last - first + 1).clamp(min=1)
    begins = first.clamp(min=0)
    limits = torch.tensor([img_shape[1], img_shape[0]], device=first.device)
    ends = torch.maximum(torch.minimum(first + covered, limits), begins)
    with without_autocast(masks.device.type):
        for mask, start, count, begin, end in zip(masks, first, covered, begins.tolist(), ends.tolist(), strict=True):
            columns, rows = (
                _weights(torch.arange(begin[a], end[a], device=masks.device) - start[a], count[a], size, masks.dtype)
                for a in (0, 1)
            )
            yield begin[0], begin[1], rows @ mask @ columns.T


def _paste_together(masks: Tensor, boxes: Tensor, img_shape: tuple[int, int], padding: int) -> Tensor:
    masks, first, last = _covered(masks, boxes, padding)
    # Interpolation is linear in the rows, and then in the columns: two products with weights that are mostly zero.
    columns, rows = (
        _interpolation(first[:, axis], last[:, axis], masks.shape[-1], pixels, masks)
        for axis, pixels in enumerate(img_shape[::-1])
    )
    with without_autocast(masks.device.type):
        return (rows @ masks @ columns.transpose(1, 2))[:, None]


def _interpolation(first: Tensor, last: Tensor, size: int, pixels: int, like: Tensor) -> Tensor:
    """How much each of a mask's ``size`` values counts at each pixel of an image: Tensor[N, pixels, size]."""
    pixel = torch.arange(pixels, device=like.device)
    covered = (last - first + 1).clamp(min=1)
    inside = (pixel >= first[:, None]) & (pixel < (first + covered)[:, None])
    return _weights(pixel - first[:, None], covered[:, None], size, like.dtype) * inside[..., None]


def _weights(offset: Tensor, covered: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """How much each of ``size`` values counts so many pixels from the first one covered: Tensor[..., size]."""
    precise = torch.promote_types(dtype, torch.float32)
    position = (offset.to(precise) + 0.5) * (size / covered.to(precise)) - 0.5
    values = torch.arange(size, device=offset.device)
    return (1 - (position.clamp(0, size - 1)[..., None] - values).abs()).clamp(min=0).to(dtype)
