"""Torchvision's name for :mod:`zoo_detection.ops.feature_pyramid`."""

from zoo_detection.ops.feature_pyramid import ExtraFPNBlock as ExtraFPNBlock
from zoo_detection.ops.feature_pyramid import FeaturePyramidNetwork as FeaturePyramidNetwork
from zoo_detection.ops.feature_pyramid import LastLevelMaxPool as LastLevelMaxPool
from zoo_detection.ops.feature_pyramid import LastLevelP6P7 as LastLevelP6P7
