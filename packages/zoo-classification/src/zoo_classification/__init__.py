"""Image classification: 83 builders with their published checkpoints, preprocessing and labels."""

# Before torch, of which it keeps a warning back that means nothing here.
import zoo_core as _zoo_core
from zoo_classification.alexnet import *
from zoo_classification.convnext import *
from zoo_classification.densenet import *
from zoo_classification.efficientnet import *
from zoo_classification.googlenet import *
from zoo_classification.inception import *
from zoo_classification.maxvit import *
from zoo_classification.mnasnet import *
from zoo_classification.mobilenetv2 import *
from zoo_classification.mobilenetv3 import *
from zoo_classification.regnet import *
from zoo_classification.resnet import *
from zoo_classification.shufflenetv2 import *
from zoo_classification.squeezenet import *
from zoo_classification.swin_transformer import *
from zoo_classification.vgg import *
from zoo_classification.vision_transformer import *
from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
