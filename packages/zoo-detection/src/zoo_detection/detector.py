"""What the frames of single-stage and two-stage detectors have in common."""

from torch import Tensor, nn

from zoo_core.features.declared import FeatureLayers
from zoo_detection.backbones import detector_layers
from zoo_detection.building import initialize_part
from zoo_detection.transform import GeneralizedRCNNTransform

__all__ = ["Detector"]


class Detector(nn.Module):
    """A model from images of any size to boxes, on a backbone. Subclasses define ``forward``."""

    backbone: nn.Module
    transform: GeneralizedRCNNTransform

    def _initialize(self, module: nn.Module) -> None:
        initialize_part(self, module)

    def feature_layers(self) -> FeatureLayers:
        return detector_layers(self.backbone, self.transform)

    def eager_outputs(
        self, losses: dict[str, Tensor], detections: list[dict[str, Tensor]]
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """What :meth:`forward` gives: losses in training mode, detections in eval mode; the other is empty."""
        return losses if self.training else detections
