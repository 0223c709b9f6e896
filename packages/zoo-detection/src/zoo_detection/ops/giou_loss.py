"""Torchvision's name for a loss of :mod:`zoo_detection.ops.losses`."""

from zoo_detection.ops.losses import generalized_box_iou_loss as generalized_box_iou_loss
