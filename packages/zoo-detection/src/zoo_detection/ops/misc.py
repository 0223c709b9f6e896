"""Torchvision's name for what :mod:`zoo_core.layers` and :mod:`zoo_detection.ops.normalization` have."""

from zoo_core.layers import MLP as MLP
from zoo_core.layers import Conv2dNormActivation as Conv2dNormActivation
from zoo_core.layers import Conv3dNormActivation as Conv3dNormActivation
from zoo_core.layers import ConvNormActivation as ConvNormActivation
from zoo_core.layers import Permute as Permute
from zoo_core.layers import SqueezeExcitation as SqueezeExcitation
from zoo_detection.ops.normalization import FrozenBatchNorm2d as FrozenBatchNorm2d
