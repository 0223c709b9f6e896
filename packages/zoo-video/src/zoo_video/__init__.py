"""Video classification: 10 builders with their published checkpoints, preprocessing and labels, and video files."""

from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.videos import VideoReadError
from zoo_core.weights import Weights, WeightsEnum
from zoo_video.mvit import *
from zoo_video.reading import *
from zoo_video.resnet import *
from zoo_video.s3d import *
from zoo_video.swin_transformer import *
from zoo_video.x3d import *
