"""Keypoints as peaks of heatmaps over the box of a person.

`Mask R-CNN <https://arxiv.org/abs/1703.06870>`__, section 5.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_detection.precision import in_single_or_better

__all__ = ["heatmaps_to_keypoints", "keypointrcnn_inference", "keypointrcnn_loss", "keypoints_to_heatmap"]


def keypoints_to_heatmap(keypoints: Tensor, rois: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
    """The places of keypoints in heatmaps over boxes.

    A heatmap of 4x4 over a box of 8x8 pixels: (3, 5) lies in column 1 of row 2, which is the place 2 * 4 + 1; the far
    corner belongs to the last place; (9, 0) lies outside.

    >>> points = torch.tensor([[[3.0, 5.0, 1.0], [8.0, 8.0, 1.0], [9.0, 0.0, 1.0]]])
    >>> keypoints_to_heatmap(points, torch.tensor([[0.0, 0.0, 8.0, 8.0]]), heatmap_size=4)
    (tensor([[ 9, 15,  0]]), tensor([[ True,  True, False]]))

    Args:
        keypoints: Tensor[N, K, 3]: x, y, and visibility (above 0 if known).
        rois: Tensor[N, 4], the box of each row of ``keypoints``.
        heatmap_size: height and width of the heatmaps.

    Returns:
        int64 Tensor[N, K], index into the flattened heatmap, and bool Tensor[N, K]: whether the keypoint is visible and
        lies in the box. Where it does not, the index is 0.
    """
    low, high = rois[:, None, :2], rois[:, None, 2:]
    points = keypoints[..., :2]
    cells = ((points - low) * (heatmap_size / (high - low))).floor().long()
    # The far border belongs to the box.
    cells = torch.where(points == high, heatmap_size - 1, cells)
    valid = ((cells >= 0) & (cells < heatmap_size)).all(-1) & (keypoints[..., 2] > 0)
    return (cells[..., 1] * heatmap_size + cells[..., 0]) * valid, valid


def keypointrcnn_loss(
    keypoint_logits: Tensor, proposals: list[Tensor], gt_keypoints: list[Tensor], keypoint_matched_idxs: list[Tensor]
) -> Tensor:
    """Cross entropy over the places of each visible keypoint's heatmap.

    Args:
        keypoint_logits: Tensor[N, K, H, W] with H = W.
        proposals: for each image the boxes, N in all.
        gt_keypoints: for each image the keypoints of its people, Tensor[P, K, 3].
        keypoint_matched_idxs: for each image the person of each box.

    Returns:
        A scalar; zero if no keypoint is visible.

    Raises:
        ValueError: the heatmaps are not square, or their number is not that of the keypoints.
    """
    count, keypoints, height, width = keypoint_logits.shape
    if height != width:
        raise ValueError(f"heatmaps must be square, not {height}x{width}")
    places, valid = [], []
    for boxes, points, idxs in zip(proposals, gt_keypoints, keypoint_matched_idxs, strict=True):
        if points.shape[1] != keypoints:
            raise ValueError(
                f"the model has num_keypoints={keypoints}, but the targets have {points.shape[1]} keypoints; build the "
                "model with that number"
            )
        place, is_valid = keypoints_to_heatmap(points[idxs], boxes, height)
        places.append(place.flatten())
        valid.append(is_valid.flatten())
    chosen = torch.where(torch.cat(valid))[0]
    if chosen.numel() == 0:
        return keypoint_logits[:0].sum()  # zero, with a gradient
    logits = keypoint_logits.reshape(count * keypoints, height * width)
    return F.cross_entropy(logits[chosen], torch.cat(places)[chosen])


def _find_peaks(maps: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    points = maps.new_zeros(*maps.shape[:2], 3)
    scores = maps.new_zeros(maps.shape[:2])
    sides = (rois[:, 2:] - rois[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    correction = sides / pixels
    for index, (width, height) in enumerate(pixels.long().tolist()):
        enlarged = F.interpolate(maps[index, None], size=(height, width), mode="bicubic", align_corners=False)[0]
        scores[index], place = enlarged.flatten(1).max(dim=1)
        cells = torch.stack((place % width, place.div(width, rounding_mode="floor")), -1)
        points[index, :, :2] = (cells + 0.5) * correction[index] + rois[index, :2]
    points[..., 2] = 1
    return points, scores


# An operator of its own, because the size that each heatmap is enlarged to depends on the values of the boxes.
_peaks = torch.library.custom_op("zoo::heatmaps_to_keypoints", _find_peaks, mutates_args=())


@_peaks.register_fake
def _(maps: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    return maps.new_empty((maps.shape[0], maps.shape[1], 3)), maps.new_empty((maps.shape[0], maps.shape[1]))


def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """The peaks of heatmaps, enlarged bicubically to the boxes that they cover.

    A heatmap of 2x2 over a box of as many pixels needs no enlarging; its peak is the middle of the upper right pixel:

    >>> heatmap = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    >>> heatmaps_to_keypoints(heatmap, torch.tensor([[10.0, 20.0, 12.0, 22.0]]))
    (tensor([[[11.5000, 20.5000,  1.0000]]]), tensor([[1.]]))

    Args:
        maps: Tensor[N, K, H, W].
        rois: Tensor[N, 4] in pixels; a box is taken to be at least one pixel large.

    Returns:
        Keypoints, Tensor[N, K, 3] (x, y and 1), and the heights of the peaks, Tensor[N, K]; both of at least single
        precision, since half precision cannot tell pixels of large images apart.
    """
    maps = in_single_or_better(maps)
    # The operator has no gradient; torch finds that of its steps.
    needs_gradient = torch.is_grad_enabled() and (maps.requires_grad or rois.requires_grad)
    is_recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return _find_peaks(maps, rois) if needs_gradient and not is_recorded else _peaks(maps, rois)


def keypointrcnn_inference(x: Tensor, boxes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The keypoints of detections.

    Args:
        x: heatmaps, Tensor[N, K, H, W].
        boxes: for each image Tensor[n, 4], N in all.

    Returns:
        For each image the keypoints, Tensor[n, K, 3], and their scores, Tensor[n, K].
    """
    points, scores = heatmaps_to_keypoints(x, torch.cat(boxes))
    if len(boxes) == 1:
        return [points], [scores]
    counts = [image.shape[0] for image in boxes]
    return list(points.split(counts)), list(scores.split(counts))
