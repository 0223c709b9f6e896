"""Region proposal network, from `Faster R-CNN <https://arxiv.org/abs/1506.01497>`__, section 3.1."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.layers import Conv2dNormActivation
from zoo_core.sizes import smaller
from zoo_detection.anchors import anchors_last, check_predictions
from zoo_detection.box_coding import BoxCoder
from zoo_detection.building import initialize_normal
from zoo_detection.image_list import ImageList
from zoo_detection.matching import BalancedPositiveNegativeSampler, Matcher
from zoo_detection.ops import batched_nms, box_iou, clip_boxes_to_image
from zoo_detection.precision import in_single_or_better

__all__ = ["RPNHead", "RegionProposalNetwork"]

BoxesOf = Callable[[int, Tensor, Tensor], Tensor]


class RPNHead(nn.Module):
    """Scores each anchor, and predicts its offsets.

    Args:
        in_channels: channels of the feature maps.
        num_anchors: anchors around each location.
        conv_depth: 3x3 convolutions before the two predictions.

    Shape:
        list of Tensor[N, C, H, W] -> lists of Tensor[N, num_anchors, H, W] and Tensor[N, 4 * num_anchors, H, W].
    """

    def __init__(self, in_channels: int, num_anchors: int, conv_depth: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(Conv2dNormActivation(in_channels, in_channels, kernel_size=3, norm_layer=None) for _ in range(conv_depth))
        )
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=1)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        initialize_normal(module)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The one convolution of old checkpoints is spelt conv.weight.
        for name in ("weight", "bias"):
            if (old := f"{prefix}conv.{name}") in state_dict:
                state_dict[f"{prefix}conv.0.0.{name}"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, offsets = [], []
        for feature in x:
            hidden = self.conv(feature)
            logits.append(self.cls_logits(hidden))
            offsets.append(self.bbox_pred(hidden))
        return logits, offsets


class RegionProposalNetwork(nn.Module):
    """Proposes regions that may hold an object.

    Args:
        anchor_generator: makes the anchors.
        head: predicts a logit and offsets for each; see :class:`RPNHead`.
        fg_iou_thresh: from this IoU with an object on, an anchor learns to be one.
        bg_iou_thresh: below this IoU with all objects, it learns to be background.
        batch_size_per_image: anchors that a training step looks at.
        positive_fraction: share of objects among them.
        pre_nms_top_n: proposals to keep of each feature map, in ``"training"`` and in ``"testing"``.
        post_nms_top_n: proposals to keep of each image after non-maximum suppression.
        nms_thresh: IoU above which the better proposal suppresses the other.
        score_thresh: least probability of a proposal.
    """

    def __init__(
        self,
        anchor_generator: nn.Module,
        head: nn.Module,
        fg_iou_thresh: float,
        bg_iou_thresh: float,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_top_n: Mapping[str, int],
        post_nms_top_n: Mapping[str, int],
        nms_thresh: float,
        score_thresh: float = 0.0,
    ) -> None:
        super().__init__()
        self.anchor_generator = anchor_generator
        self.head = head
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.box_similarity = box_iou
        self.proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True)
        self.fg_bg_sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self._pre_nms_top_n = pre_nms_top_n
        self._post_nms_top_n = post_nms_top_n
        self.nms_thresh = nms_thresh
        self.score_thresh = score_thresh
        self.min_size = 1e-3

    def pre_nms_top_n(self) -> int:
        """Proposals to keep of each feature map before non-maximum suppression, in the present mode."""
        return self._pre_nms_top_n["training" if self.training else "testing"]

    def post_nms_top_n(self) -> int:
        """Proposals to keep of each image after non-maximum suppression, in the present mode."""
        return self._post_nms_top_n["training" if self.training else "testing"]

    def forward(
        self, images: ImageList, features: Mapping[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposes regions.

        Args:
            images: the batch.
            features: the feature maps by name, each Tensor[N, C, H, W].
            targets: for training, the objects of each image, in the coordinates of the batch.

        Returns:
            For each image its proposals, Tensor[n, 4], best first; and in training mode the losses
            ``loss_objectness`` and ``loss_rpn_box_reg``.
        """
        predicted = self._predict(images, features)
        boxes = self._propose(*predicted, images.image_sizes)
        if not self.training:
            return boxes, {}
        if targets is None:
            raise ValueError("in training mode the region proposal network needs targets")
        return boxes, self._losses(*predicted, targets)

    def validate(
        self, images: ImageList, features: Mapping[str, Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """The proposals that eval mode makes, those that training would learn from, and the losses.

        Args:
            images, features, targets: see :meth:`forward`. The network is in eval mode.
        """
        predicted = self._predict(images, features)
        boxes = self._propose(*predicted, images.image_sizes)
        self.training = True  # the numbers of proposals, and nothing that the head does
        try:
            of_training = self._propose(*predicted, images.image_sizes)
        finally:
            self.training = False
        return boxes, of_training, self._losses(*predicted, targets)

    def _predict(
        self, images: ImageList, features: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """For each feature map the logits, Tensor[N, A], and offsets, Tensor[N, A, 4]; the anchors of each image."""
        feature_maps = list(features.values())
        logits, offsets = self.head(feature_maps)
        anchors = self.anchor_generator(images, feature_maps)
        objectness = [anchors_last(level, 1)[..., 0] for level in logits]
        deltas = [anchors_last(level, 4) for level in offsets]
        check_predictions(sum(level.shape[1] for level in objectness), anchors)
        return objectness, deltas, anchors

    def _propose(
        self, objectness: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Tensor]:
        objectness, deltas = ([level.detach() for level in levels] for levels in (objectness, deltas))
        filter_proposals: Any = self.filter_proposals
        if getattr(filter_proposals, "__func__", None) is RegionProposalNetwork.filter_proposals:
            return self._best(objectness, deltas, self._decoder(anchors), sizes)[0]
        # Somebody's own takes all proposals.
        offsets = torch.cat(deltas, 1)
        proposals = torch.stack([self.box_coder.decode_single(*pair) for pair in zip(offsets, anchors, strict=True)])
        counts = [level.shape[1] for level in objectness]
        return filter_proposals(proposals, torch.cat(objectness, 1).reshape(-1, 1), sizes, counts)[0]

    def _decoder(self, anchors: list[Tensor]) -> BoxesOf:
        return lambda image, offsets, indices: self.box_coder.decode_single(offsets, anchors[image][indices])

    def _losses(
        self,
        objectness: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        labels, matched_gt_boxes = self.assign_targets_to_anchors(anchors, targets)
        regression_targets = self.box_coder.encode(matched_gt_boxes, anchors)
        loss_objectness, loss_box = self.compute_loss(
            torch.cat(objectness, 1), torch.cat(deltas, 1), labels, regression_targets
        )
        return {"loss_objectness": loss_objectness, "loss_rpn_box_reg": loss_box}

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The best proposals of each feature map that do not overlap too much. A subclass may choose others.

        Args:
            proposals: a box for each anchor, Tensor[N, A, 4].
            objectness: their logits, Tensor[N, A] or of any shape of as many elements.
            image_shapes: height and width of each image.
            num_anchors_per_level: how many of the anchors belong to each feature map.

        Returns:
            For each image the boxes, Tensor[n, 4], best first, and their probabilities, Tensor[n].
        """
        logits = objectness.detach().reshape(len(proposals), -1).split(num_anchors_per_level, 1)
        boxes = proposals.split(num_anchors_per_level, 1)
        return self._best(logits, boxes, lambda image, chosen, indices: chosen, image_shapes)

    def _best(
        self,
        objectness: Sequence[Tensor],
        predictions: Sequence[Tensor],
        boxes_of: BoxesOf,
        image_sizes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`filter_proposals`.

        Args:
            objectness: for each feature map the logits, Tensor[N, A].
            predictions: for each feature map Tensor[N, A, 4], what boxes are made of.
            boxes_of: makes the boxes of an image, Tensor[n, 4], from some predictions and the indices of their anchors.
            image_sizes: height and width of each image.
        """
        top_logits, top_predictions, top_indices, levels = [], [], [], []
        begin = 0
        for level, (level_logits, level_predictions) in enumerate(zip(objectness, predictions, strict=True)):
            count = level_logits.shape[1]
            logits, index = level_logits.topk(smaller(count, self.pre_nms_top_n()), dim=1)
            top_logits.append(logits)
            top_predictions.append(level_predictions.gather(1, index[..., None].expand(-1, -1, 4)))
            top_indices.append(index + begin)
            levels.append(torch.full_like(index[0], level))
            begin += count
        scores = in_single_or_better(torch.cat(top_logits, 1)).sigmoid()
        of_top, indices, level_of_top = torch.cat(top_predictions, 1), torch.cat(top_indices, 1), torch.cat(levels)

        proposals, probabilities = [], []
        for image, size in enumerate(image_sizes):
            boxes = clip_boxes_to_image(boxes_of(image, of_top[image], indices[image]), size)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(1)
            chosen = torch.where(large & (scores[image] >= self.score_thresh))[0]
            boxes, image_scores = boxes[chosen], scores[image][chosen].to(boxes.dtype)
            keep = batched_nms(boxes, image_scores, level_of_top[chosen], self.nms_thresh)[: self.post_nms_top_n()]
            proposals.append(boxes[keep])
            probabilities.append(image_scores[keep])
        return proposals, probabilities

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What each anchor is to learn.

        Returns:
            For each image float32 Tensor[A]: 1 for an object, 0 for the background, -1 for neither; and Tensor[A, 4],
            the object's box (or any, if it has none).
        """
        labels, matched_gt_boxes = [], []
        for image_anchors, target in zip(anchors, targets, strict=True):
            boxes = target["boxes"]
            matches = self.proposal_matcher(self.box_similarity(boxes, image_anchors))
            matched = boxes[matches.clamp(min=0)] if len(boxes) else torch.zeros_like(image_anchors)
            label = (matches >= 0).to(torch.float32)
            label[matches == Matcher.BETWEEN_THRESHOLDS] = -1.0
            labels.append(label)
            matched_gt_boxes.append(matched)
        return labels, matched_gt_boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Equation 1 of the paper, over a sample of the anchors.

        Args:
            objectness: logits, Tensor[N, A] or Tensor[N * A, 1].
            pred_bbox_deltas: Tensor[N, A, 4] or Tensor[N * A, 4].
            labels, regression_targets: for each image Tensor[A] and Tensor[A, 4].

        Returns:
            The loss of the logits and that of the offsets.
        """
        positive, negative = self.fg_bg_sampler(labels)
        is_object = torch.cat(positive)
        sampled = torch.where(is_object | torch.cat(negative))[0]
        objects = torch.where(is_object)[0]
        box_loss = F.smooth_l1_loss(
            pred_bbox_deltas.reshape(-1, 4)[objects],
            torch.cat(regression_targets)[objects].to(pred_bbox_deltas.dtype),
            beta=1 / 9,
            reduction="sum",
        ) / max(sampled.numel(), 1)
        logits = objectness.flatten()[sampled]
        truth = torch.cat(labels)[sampled].to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / max(sampled.numel(), 1), box_loss


def concat_box_prediction_layers(box_cls: list[Tensor], box_regression: list[Tensor]) -> tuple[Tensor, Tensor]:
    """What a head gives for each feature map, as rows in the order of the anchors, image by image.

    Args:
        box_cls: for each feature map the logits, Tensor[N, A * C, H, W], of A anchors around each location and C
            classes.
        box_regression: for each feature map the offsets, Tensor[N, A * 4, H, W].

    Returns:
        Tensor[N * sum of H * W * A, C] and Tensor[N * sum of H * W * A, 4].
    """
    logits = [
        anchors_last(level, level.shape[1] // (offsets.shape[1] // 4))
        for level, offsets in zip(box_cls, box_regression, strict=True)
    ]
    joined = torch.cat(logits, 1), torch.cat([anchors_last(level, 4) for level in box_regression], 1)
    return joined[0].flatten(0, 1), joined[1].flatten(0, 1)
