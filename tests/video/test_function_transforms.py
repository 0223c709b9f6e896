"""Videos under the transforms of ``torch.func``."""

from support import transformed

pytestmark = transformed.models(["r3d_18", "mvit_v1_b", "swin3d_t"])
test_forward_mode = transformed.test_forward_mode
test_gradients_of_single_inputs = transformed.test_gradients_of_single_inputs
