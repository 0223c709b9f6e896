"""What a two-stage detector predicts for each proposed region: class and box, and mask or keypoints.

- `Fast R-CNN <https://arxiv.org/abs/1504.08083>`__
- `Mask R-CNN <https://arxiv.org/abs/1703.06870>`__
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_detection.box_coding import BoxCoder
from zoo_detection.keypoints import heatmaps_to_keypoints as heatmaps_to_keypoints
from zoo_detection.keypoints import keypointrcnn_inference, keypointrcnn_loss
from zoo_detection.keypoints import keypoints_to_heatmap as keypoints_to_heatmap
from zoo_detection.masks import maskrcnn_inference, maskrcnn_loss
from zoo_detection.masks import paste_masks_in_image as paste_masks_in_image
from zoo_detection.masks import project_masks_on_boxes as project_masks_on_boxes
from zoo_detection.matching import BalancedPositiveNegativeSampler, Matcher
from zoo_detection.ops import batched_nms, box_iou, clip_boxes_to_image
from zoo_detection.precision import in_single_or_better
from zoo_detection.targets import check_labels

__all__ = ["RoIHeads", "fastrcnn_loss"]


def fastrcnn_loss(
    class_logits: Tensor, box_regression: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Equation 1 of Fast R-CNN.

    Args:
        class_logits: Tensor[N, C].
        box_regression: offsets for each class, Tensor[N, 4 * C].
        labels: for each image int64 Tensor[n], 0 for the background; N in all.
        regression_targets: for each image Tensor[n, 4].

    Returns:
        The loss of the classes and that of the boxes.
    """
    label, truth = torch.cat(labels), torch.cat(regression_targets)
    objects = torch.where(label > 0)[0]
    offsets = box_regression.unflatten(1, (-1, 4))[objects, label[objects]]
    box_loss = F.smooth_l1_loss(offsets, truth[objects].to(offsets.dtype), beta=1 / 9, reduction="sum")
    count = max(label.numel(), 1)
    return F.cross_entropy(class_logits, label, reduction="sum") / count, box_loss / count


class RoIHeads(nn.Module):
    """Classifies regions and refines their boxes; optionally predicts masks or keypoints of what it found.

    Args:
        box_roi_pool: features of a fixed size for each region, as
            :class:`~zoo_detection.ops.MultiScaleRoIAlign` gives them.
        box_head: turns these into a representation.
        box_predictor: class logits, Tensor[N, C], and offsets, Tensor[N, 4 * C], from the representation.
        fg_iou_thresh: from this IoU with an object on, a region learns to be one.
        bg_iou_thresh: below this IoU with all objects, it learns to be background.
        batch_size_per_image: regions that a training step looks at.
        positive_fraction: share of objects among them.
        bbox_reg_weights: factors for the offsets; (10, 10, 5, 5) by default.
        score_thresh: a detection's probability is above it.
        nms_thresh: IoU above which the better detection suppresses another of its class.
        detections_per_img: how many detections to keep.
        mask_roi_pool, mask_head, mask_predictor: the same for masks; the last gives logits Tensor[N, C, M, M].
        keypoint_roi_pool, keypoint_head, keypoint_predictor: the same for keypoints; heatmaps Tensor[N, K, M, M].
    """

    def __init__(
        self,
        box_roi_pool: nn.Module,
        box_head: nn.Module,
        box_predictor: nn.Module,
        fg_iou_thresh: float,
        bg_iou_thresh: float,
        batch_size_per_image: int,
        positive_fraction: float,
        bbox_reg_weights: tuple[float, float, float, float] | None,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        mask_roi_pool: nn.Module | None = None,
        mask_head: nn.Module | None = None,
        mask_predictor: nn.Module | None = None,
        keypoint_roi_pool: nn.Module | None = None,
        keypoint_head: nn.Module | None = None,
        keypoint_predictor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.box_similarity = box_iou
        self.proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=False)
        self.fg_bg_sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self.box_coder = BoxCoder(bbox_reg_weights or (10.0, 10.0, 5.0, 5.0))
        self.box_roi_pool = box_roi_pool
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.min_size = 1e-2
        self.mask_roi_pool = mask_roi_pool
        self.mask_head = mask_head
        self.mask_predictor = mask_predictor
        self.keypoint_roi_pool = keypoint_roi_pool
        self.keypoint_head = keypoint_head
        self.keypoint_predictor = keypoint_predictor

    def has_mask(self) -> bool:
        """Whether masks are predicted."""
        return None not in (self.mask_roi_pool, self.mask_head, self.mask_predictor)

    def has_keypoint(self) -> bool:
        """Whether keypoints are predicted."""
        return None not in (self.keypoint_roi_pool, self.keypoint_head, self.keypoint_predictor)

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Looks at the proposed regions.

        Args:
            features: the feature maps by name, each Tensor[N, C, H, W].
            proposals: for each image Tensor[n, 4].
            image_shapes: height and width of each image.
            targets: for training, the objects of each image.

        Returns:
            In eval mode, for each image a dict of ``boxes`` (Tensor[n, 4]), ``labels`` (int64 Tensor[n]), ``scores``
            (Tensor[n]), and ``masks`` (probabilities, Tensor[n, 1, M, M]) or ``keypoints`` (Tensor[n, K, 3]) and
            ``keypoints_scores`` (Tensor[n, K]); and no losses. In training mode no results, and the losses.

        Raises:
            ValueError: a label is not a class of the predictor, or masks or keypoints are missing in the targets.
        """
        if self.training:
            return [], self.losses(features, proposals, image_shapes, targets)
        class_logits, box_regression = self._predict_boxes(features, proposals, image_shapes)
        detections = self.postprocess_detections(class_logits, box_regression, proposals, image_shapes)
        result = [
            {"boxes": boxes, "labels": labels, "scores": scores}
            for boxes, scores, labels in zip(*detections, strict=True)
        ]
        boxes = [image["boxes"] for image in result]
        if self.has_mask():
            logits = self._predict_masks(features, boxes, image_shapes)
            for image, masks in zip(result, maskrcnn_inference(logits, [r["labels"] for r in result]), strict=True):
                image["masks"] = masks
        if self.has_keypoint():
            heatmaps = self._predict_keypoints(features, boxes, image_shapes)
            found = keypointrcnn_inference(heatmaps, boxes)
            for image, keypoints, scores in zip(result, *found, strict=True):
                image["keypoints"] = keypoints
                image["keypoints_scores"] = scores
        return result, {}

    def _predict_boxes(
        self, features: Mapping[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        # A head of somebody's own may flatten by `view`, whatever the order in memory of the features.
        pooled = self.box_roi_pool(features, proposals, image_shapes).contiguous()
        return self.box_predictor(self.box_head(pooled))

    def _predict_masks(
        self, features: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        assert self.mask_roi_pool is not None
        assert self.mask_head is not None
        assert self.mask_predictor is not None
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))

    def _predict_keypoints(
        self, features: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        assert self.keypoint_roi_pool is not None
        assert self.keypoint_head is not None
        assert self.keypoint_predictor is not None
        return self.keypoint_predictor(self.keypoint_head(self.keypoint_roi_pool(features, boxes, image_shapes)))

    def postprocess_detections(
        self,
        class_logits: Tensor,
        box_regression: Tensor,
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The detections of each image: those of sufficient probability that no better one of their class overlaps.

        Args:
            class_logits: Tensor[N, C], class 0 being the background.
            box_regression: Tensor[N, 4 * C].
            proposals: for each image Tensor[n, 4], N in all.
            image_shapes: height and width of each image.

        Returns:
            For each image its boxes, Tensor[n, 4], scores, Tensor[n], and labels, int64 Tensor[n]; best first.
        """
        probabilities = in_single_or_better(class_logits).softmax(-1)
        offsets = box_regression.unflatten(1, (-1, 4))
        classes = class_logits.shape[-1]
        counts = [image.shape[0] for image in proposals]
        per_image = (
            zip(probabilities.split(counts), offsets.split(counts), proposals, image_shapes, strict=True)
            if len(proposals) > 1
            else [(probabilities, offsets, proposals[0], image_shapes[0])]
        )
        all_boxes, all_scores, all_labels = [], [], []
        for probability, offset, regions, size in per_image:
            # Few pass the threshold: only their boxes are computed.
            region, label = torch.where(probability[:, 1:] > self.score_thresh)
            label = label + 1
            flat = region * classes + label
            scores = probability.flatten()[flat]
            boxes = self.box_coder.decode_single(offset.flatten(0, 1)[flat], regions[region])
            boxes = clip_boxes_to_image(boxes, size)
            large = torch.where(((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(1))[0]
            boxes, scores, label = boxes[large], scores[large].to(boxes.dtype), label[large]
            keep = batched_nms(boxes, scores, label, self.nms_thresh)[: self.detections_per_img]
            all_boxes.append(boxes[keep])
            all_scores.append(scores[keep])
            all_labels.append(label[keep])
        return all_boxes, all_scores, all_labels

    def losses(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None,
    ) -> dict[str, Tensor]:
        """The losses by name: what :meth:`forward` gives in training mode, for the same arguments. Draws regions."""
        if targets is None:
            raise ValueError("in training mode RoIHeads need targets")
        for key, wanted in (("masks", self.has_mask()), ("keypoints", self.has_keypoint())):
            lacking = [index for index, target in enumerate(targets) if wanted and key not in target]
            if lacking:
                raise ValueError(f"this model learns from {key}, but targets[{lacking[0]}] has none")
        proposals, matched_idxs, labels, regression_targets = self.select_training_samples(proposals, targets)
        class_logits, box_regression = self._predict_boxes(features, proposals, image_shapes)
        check_labels(targets, class_logits.shape[-1], background=True)
        loss_classifier, loss_box_reg = fastrcnn_loss(class_logits, box_regression, labels, regression_targets)
        losses = {"loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}

        # Masks and keypoints are learnt in the regions that hold an object.
        objects = [torch.where(label > 0)[0] for label in labels]
        regions = [image[index] for image, index in zip(proposals, objects, strict=True)]
        matches = [image[index] for image, index in zip(matched_idxs, objects, strict=True)]
        if self.has_mask():
            losses["loss_mask"] = maskrcnn_loss(
                self._predict_masks(features, regions, image_shapes),
                regions,
                [target["masks"] for target in targets],
                [target["labels"] for target in targets],
                matches,
            )
        if self.has_keypoint():
            losses["loss_keypoint"] = keypointrcnn_loss(
                self._predict_keypoints(features, regions, image_shapes),
                regions,
                [target["keypoints"] for target in targets],
                matches,
            )
        return losses

    def select_training_samples(
        self, proposals: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Draws the regions to learn from, true boxes among them.

        Returns:
            For each image the regions, Tensor[n, 4], the index of the object of each, its label (0 for the background),
            and the offsets to its box, Tensor[n, 4].
        """
        gt_boxes = [target["boxes"].to(image.dtype) for target, image in zip(targets, proposals, strict=True)]
        regions = [torch.cat((image, boxes)) for image, boxes in zip(proposals, gt_boxes, strict=True)]
        matched_idxs, labels = self.assign_targets_to_proposals(
            regions, gt_boxes, [target["labels"] for target in targets]
        )
        sampled = [torch.where(a | b)[0] for a, b in zip(*self.fg_bg_sampler(labels), strict=True)]
        regions = [image[index] for image, index in zip(regions, sampled, strict=True)]
        matched_idxs = [image[index] for image, index in zip(matched_idxs, sampled, strict=True)]
        labels = [image[index] for image, index in zip(labels, sampled, strict=True)]
        matched_boxes = [
            boxes[index] if len(boxes) else torch.zeros_like(image)
            for boxes, index, image in zip(gt_boxes, matched_idxs, regions, strict=True)
        ]
        return regions, matched_idxs, labels, self.box_coder.encode(matched_boxes, regions)

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The object of each region (0 if it has none), and its label: 0 for the background, -1 for neither."""
        matched_idxs, labels = [], []
        for regions, boxes, classes in zip(proposals, gt_boxes, gt_labels, strict=True):
            matches = self.proposal_matcher(self.box_similarity(boxes, regions))
            index = matches.clamp(min=0)
            label = classes[index] if len(classes) else torch.zeros_like(index)
            label = label.masked_fill(matches == Matcher.BELOW_LOW_THRESHOLD, 0)
            labels.append(label.masked_fill(matches == Matcher.BETWEEN_THRESHOLDS, -1))
            matched_idxs.append(index)
        return matched_idxs, labels
