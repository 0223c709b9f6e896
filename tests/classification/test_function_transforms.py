"""Attention in images under the transforms of ``torch.func``."""

import torch

from support import transformed
from zoo_classification import MaxVit

pytestmark = transformed.models(
    MaxVit=lambda: (MaxVit((32, 32), 8, 2, [8, 16], [1, 1], 4, 0.0, num_classes=3), (torch.rand(2, 3, 32, 32),)),
)
test_forward_mode = transformed.test_forward_mode
test_gradients_of_single_inputs = transformed.test_gradients_of_single_inputs
