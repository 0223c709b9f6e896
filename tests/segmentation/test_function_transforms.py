"""Segmentation under the transforms of ``torch.func``."""

from support import transformed

pytestmark = transformed.models(["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
test_forward_mode = transformed.test_forward_mode
test_gradients_of_single_inputs = transformed.test_gradients_of_single_inputs
