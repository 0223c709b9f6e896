"""Int8 image classification: 13 builders with their published checkpoints, and quantization of your own models."""

from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
from zoo_quantized.efficientnet import *
from zoo_quantized.googlenet import *
from zoo_quantized.inception import *
from zoo_quantized.mobilenetv2 import *
from zoo_quantized.mobilenetv3 import *
from zoo_quantized.quantization import *
from zoo_quantized.resnet import *
from zoo_quantized.shufflenetv2 import *
