"""Torchvision's name for a loss of :mod:`zoo_detection.ops.losses`."""

from zoo_detection.ops.losses import distance_box_iou_loss as distance_box_iou_loss
