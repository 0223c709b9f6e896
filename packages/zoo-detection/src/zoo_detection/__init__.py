"""Object detection, instance segmentation and keypoints: 12 builders with their published checkpoints and labels.

The operators that they need are in :mod:`zoo_detection.ops`.
"""

from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
from zoo_detection import ops
from zoo_detection.anchors import *
from zoo_detection.backbones import *
from zoo_detection.classifier_backbones import *
from zoo_detection.faster_rcnn import *
from zoo_detection.fcos import *
from zoo_detection.generalized_rcnn import *
from zoo_detection.image_list import *
from zoo_detection.keypoint_rcnn import *
from zoo_detection.mask_crops import *
from zoo_detection.mask_rcnn import *
from zoo_detection.ops import *
from zoo_detection.retinanet import *
from zoo_detection.roi_heads import *
from zoo_detection.rpn import *
from zoo_detection.ssd import *
from zoo_detection.ssdlite import *
from zoo_detection.transform import *
from zoo_detection.validation import *
