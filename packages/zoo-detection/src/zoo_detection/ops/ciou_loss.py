"""Torchvision's name for a loss of :mod:`zoo_detection.ops.losses`."""

from zoo_detection.ops.losses import complete_box_iou_loss as complete_box_iou_loss
