"""Torchvision's name for what :mod:`zoo_detection.ops.roi_align` has."""

from zoo_detection.ops.roi_align import MultiScaleRoIAlign as MultiScaleRoIAlign
