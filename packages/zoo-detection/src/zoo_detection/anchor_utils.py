"""Torchvision's name for :mod:`zoo_detection.anchors`."""

from zoo_detection.anchors import AnchorGenerator as AnchorGenerator
from zoo_detection.anchors import DefaultBoxGenerator as DefaultBoxGenerator
