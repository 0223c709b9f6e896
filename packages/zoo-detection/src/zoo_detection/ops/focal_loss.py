"""Torchvision's name for a loss of :mod:`zoo_detection.ops.losses`."""

from zoo_detection.ops.losses import sigmoid_focal_loss as sigmoid_focal_loss
