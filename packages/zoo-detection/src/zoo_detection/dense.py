"""What single-stage detectors have in common: the frame, and how they choose detections."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.sizes import smaller
from zoo_detection.anchors import check_predictions
from zoo_detection.backbones import feature_maps_of
from zoo_detection.detector import Detector
from zoo_detection.image_list import ImageList
from zoo_detection.ops import batched_nms
from zoo_detection.targets import check_images, check_labels, checked_targets, sizes_of
from zoo_detection.transform import GeneralizedRCNNTransform
from zoo_detection.transform import normalized_transform as normalized_transform


class DenseDetector(Detector):
    """A detector that predicts classes and offsets for every anchor at once.

    Subclasses set ``head`` and define ``compute_loss`` and ``postprocess_detections``, with the arguments that
    :meth:`_matching` and :meth:`_for_postprocessing` give beside the first ones.

    Args:
        backbone: gives a feature map, or a dict of them, for Tensor[N, C, H, W].
        anchor_generator: makes the anchors.
        transform: makes a batch of images and carries results back.
        background: class 0 is the background.
    """

    head: Any
    anchor_generator: Any

    def __init__(
        self,
        backbone: nn.Module,
        anchor_generator: nn.Module,
        transform: GeneralizedRCNNTransform,
        background: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.anchor_generator = anchor_generator
        self.transform = transform
        self._background = background

    def _anchors_per_level(self, feature_maps: list[Tensor], anchors: list[Tensor]) -> list[int]:
        locations = [feature_map.shape[-2] * feature_map.shape[-1] for feature_map in feature_maps]
        counts = getattr(self.anchor_generator, "num_anchors_per_location", None)
        if counts is None:  # somebody's own generator: as many around each location
            return [len(anchors[0]) // sum(locations) * number for number in locations]
        return [number * count for number, count in zip(locations, counts(), strict=True)]

    compute_loss: Callable[..., dict[str, Tensor]]
    postprocess_detections: Callable[..., list[dict[str, Tensor]]]

    def _matching(
        self, targets: list[dict[str, Tensor]], anchors: list[Tensor], anchors_per_level: list[int]
    ) -> tuple[Any, ...]:
        """What ``compute_loss`` takes beside targets, outputs of the head, and anchors."""
        return ()

    def _for_postprocessing(
        self, head_outputs: dict[str, Tensor], anchors: list[Tensor], anchors_per_level: list[int]
    ) -> tuple[dict[str, Any], list[Any]]:
        """Outputs of the head and anchors as ``postprocess_detections`` takes them: by feature map."""
        by_level = {key: _parts(output, anchors_per_level, dim=1) for key, output in head_outputs.items()}
        return by_level, [_parts(image_anchors, anchors_per_level, dim=0) for image_anchors in anchors]

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        """Detects objects, or computes the losses in training mode.

        Args:
            images: each Tensor[C, H, W] with values in [0, 1], of any size.
            targets: in training mode, for each image a dict of ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2`` in pixels)
                and ``labels`` (integer Tensor[N]).

        Returns:
            In eval mode, for each image a dict of ``boxes`` (Tensor[N, 4]), ``scores`` (Tensor[N]) and ``labels``
            (int64 Tensor[N]), best first, in the coordinates of the image. In training mode the losses by name.

        Raises:
            ValueError, TypeError: an image or a target is not as it should be; the message names it.
        """
        check_images(images)
        if self.training:
            targets = checked_targets(images, targets)
        original_sizes = sizes_of(images)
        batch, batch_targets = self.transform(images, targets)
        predicted = self._predict(batch)
        if self.training:
            return self.eager_outputs(self._losses(batch_targets, *predicted), [])
        detections = self.postprocess_detections(*self._for_postprocessing(*predicted), batch.image_sizes)
        return self.eager_outputs({}, self.transform.postprocess(detections, batch.image_sizes, original_sizes))

    def _validate(
        self, images: Sequence[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """The detections of eval mode and the losses of training mode, from one pass of the model."""
        batch, batch_targets = self.transform(images, targets)
        predicted = self._predict(batch)
        losses = self._losses(batch_targets, *predicted)
        detections = self.postprocess_detections(*self._for_postprocessing(*predicted), batch.image_sizes)
        return self.transform.postprocess(detections, batch.image_sizes, sizes_of(images)), losses

    def _predict(self, batch: ImageList) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        """What the head gives, the anchors of each image, and how many of them each feature map has."""
        feature_maps = list(feature_maps_of(self.backbone, batch.tensors).values())
        head_outputs = self.head(feature_maps)
        anchors = self.anchor_generator(batch, feature_maps)
        check_predictions(head_outputs["cls_logits"].shape[1], anchors)
        return head_outputs, anchors, self._anchors_per_level(feature_maps, anchors)

    def _losses(
        self,
        targets: list[dict[str, Tensor]] | None,
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        assert targets is not None
        # The head may have been replaced by one for other classes.
        check_labels(targets, head_outputs["cls_logits"].shape[-1], background=self._background)
        matching = self._matching(targets, anchors, anchors_per_level)
        return self.compute_loss(targets, head_outputs, anchors, *matching)


def _parts(tensor: Tensor, lengths: Sequence[int], dim: int) -> list[Tensor]:
    """A tensor in parts of given lengths along a dimension."""
    begins = [sum(lengths[:index]) for index in range(len(lengths))]
    return [tensor.narrow(dim, begin, length) for begin, length in zip(begins, lengths, strict=True)]


def candidates_of_level(scores: Tensor, threshold: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best of the scores that are above a threshold.

    Of two anchors and two classes, three scores are above 0.5, and the best two are taken:

    >>> candidates_of_level(torch.tensor([[0.9, 0.1], [0.6, 0.8]]), threshold=0.5, limit=2)
    (tensor([0.9000, 0.8000]), tensor([0, 1]), tensor([0, 1]))

    Args:
        scores: Tensor[A, C], of A anchors and C classes.
        threshold: scores must be above it.
        limit: how many to take at most.

    Returns:
        The scores, best first, Tensor[n], and the indices of their anchors and classes, int64 Tensor[n] each.
    """
    classes = scores.shape[1]
    flat = scores.flatten()
    above = torch.where(flat > threshold)[0]
    best, order = flat[above].topk(smaller(above.shape[0], limit))
    index = above[order]
    return best, torch.div(index, classes, rounding_mode="floor"), index % classes


def best_detections(boxes: Tensor, scores: Tensor, labels: Tensor, nms_thresh: float, limit: int) -> dict[str, Tensor]:
    """The best detections of an image that no better one of their class overlaps.

    Args:
        boxes: Tensor[n, 4].
        scores: Tensor[n].
        labels: int64 Tensor[n].
        nms_thresh: IoU above which the better detection suppresses another of its class.
        limit: how many to keep at most.

    Returns:
        A dict of ``boxes``, ``scores`` and ``labels``, best first.
    """
    scores = scores.to(boxes.dtype)
    keep = batched_nms(boxes, scores, labels, nms_thresh)[:limit]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}
