"""Torchvision's name for :mod:`zoo_detection.backbones`."""

from zoo_detection.backbones import BackboneWithFPN, mobilenet_backbone, resnet_fpn_backbone

__all__ = [
    "BackboneWithFPN",
    "mobilenet_backbone",
    "resnet_fpn_backbone",
]
