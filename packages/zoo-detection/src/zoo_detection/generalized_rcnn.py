"""The frame of two-stage detectors."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from zoo_core.tracing import is_recorded
from zoo_detection.backbones import feature_maps_of
from zoo_detection.detector import Detector
from zoo_detection.targets import check_images, checked_targets, sizes_of
from zoo_detection.transform import GeneralizedRCNNTransform

__all__ = ["GeneralizedRCNN"]


class GeneralizedRCNN(Detector):
    """A detector that proposes regions and then looks at each of them.

    Args:
        backbone: gives a feature map, or a dict of them, for Tensor[N, C, H, W].
        rpn: proposes regions; see :class:`~zoo_detection.rpn.RegionProposalNetwork`.
        roi_heads: looks at them; see :class:`~zoo_detection.roi_heads.RoIHeads`.
        transform: makes a batch of images and carries results back; see
            :class:`~zoo_detection.transform.GeneralizedRCNNTransform`.
    """

    def __init__(
        self, backbone: nn.Module, rpn: nn.Module, roi_heads: nn.Module, transform: GeneralizedRCNNTransform
    ) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[dict[str, Tensor]] | None = None,
        # Not by keyword alone: torch's older exporter to ONNX passes all that has a default by position.
        masks: str = "full",
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        """Detects objects, or computes the losses in training mode.

        Args:
            images: each Tensor[C, H, W] with values in [0, 1], of any size.
            targets: in training mode, for each image a dict of ``boxes`` (Tensor[N, 4], ``x1, y1, x2, y2`` in pixels)
                and ``labels`` (integer Tensor[N], from 1), and what else the model learns from.
            masks: in eval mode of a model that has them: ``"full"`` for probabilities, float Tensor[N, 1, H, W] of the
                image's size; ``"crops"`` for a :class:`~zoo_detection.mask_crops.MaskCrops` of what is above 0.5, which
                takes a small part of the memory. Programs that torch compiles or exports have full ones.

        Returns:
            In eval mode, for each image a dict of its detections, best first, in the coordinates of the image. In
            training mode the losses by name.

        Raises:
            ValueError, TypeError: an image or a target is not as it should be; the message names it.
        """
        check_images(images)
        if masks not in ("full", "crops"):
            raise ValueError(f"masks must be 'full' or 'crops', not {masks!r}")
        if self.training:
            targets = checked_targets(images, targets)
        original_sizes = sizes_of(images)
        batch, batch_targets = self.transform(images, targets)
        features = feature_maps_of(self.backbone, batch.tensors)
        proposals, proposal_losses = self.rpn(batch, features, batch_targets)
        detections, detector_losses = self.roi_heads(features, proposals, batch.image_sizes, batch_targets)
        if self.training:
            return self.eager_outputs({**detector_losses, **proposal_losses}, [])
        form = {} if masks == "full" or is_recorded(batch.tensors) else {"masks": masks}
        return self.eager_outputs({}, self.transform.postprocess(detections, batch.image_sizes, original_sizes, **form))

    def _validate(
        self, images: Sequence[Tensor], targets: list[dict[str, Tensor]], **masks: str
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """The detections of eval mode and the losses of training mode, from one pass of the backbone."""
        rpn: Any = self.rpn
        roi_heads: Any = self.roi_heads
        batch, batch_targets = self.transform(images, targets)
        features = feature_maps_of(self.backbone, batch.tensors)
        proposals, of_training, proposal_losses = rpn.validate(batch, features, batch_targets)
        detections, _ = roi_heads(features, proposals, batch.image_sizes)
        detector_losses = roi_heads.losses(features, of_training, batch.image_sizes, batch_targets)
        found = self.transform.postprocess(detections, batch.image_sizes, sizes_of(images), **masks)
        return found, {**detector_losses, **proposal_losses}
