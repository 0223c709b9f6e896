"""Semantic segmentation: FCN, DeepLabV3 and LR-ASPP with their published checkpoints, preprocessing and labels."""

from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
from zoo_segmentation.deeplabv3 import *
from zoo_segmentation.fcn import *
from zoo_segmentation.losses import *
from zoo_segmentation.lraspp import *
from zoo_segmentation.masks import *
from zoo_segmentation.metrics import *
