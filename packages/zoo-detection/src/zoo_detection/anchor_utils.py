"""Torchvision's name for :mod:`zoo_detection.anchors`."""

from zoo_detection.anchors import AnchorGenerator, DefaultBoxGenerator

__all__ = [
    "AnchorGenerator",
    "DefaultBoxGenerator",
]
