"""Optical flow: RAFT with its published checkpoints, and weights that work without a network."""

from zoo_core.registry import get_model, get_model_builder, get_model_weights, get_weight, list_models
from zoo_core.weights import Weights, WeightsEnum
from zoo_flow.correlation import *
from zoo_flow.flo import *
from zoo_flow.padding import *
from zoo_flow.raft import *
