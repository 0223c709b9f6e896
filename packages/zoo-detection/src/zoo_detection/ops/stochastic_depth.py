"""Torchvision's name for what :mod:`zoo_core.layers` has."""

from zoo_core.layers import StochasticDepth as StochasticDepth
from zoo_core.layers import stochastic_depth as stochastic_depth
