"""Image classification: 80 builders with their published checkpoints, preprocessing and labels."""

from zoo_classification.resnet import *
from zoo_classification.shufflenetv2 import *
from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
