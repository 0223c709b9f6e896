"""Attention in images under the transforms of ``torch.func``."""

from typing import Any

import torch

from support import transformed
from zoo_classification import MaxVit, SwinTransformer, VisionTransformer
from zoo_classification.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

SWIN: dict[str, Any] = {
    "patch_size": [4, 4],
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": [4, 4],
    "num_classes": 3,
}

pytestmark = transformed.models(
    VisionTransformer=lambda: (VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3), (torch.rand(2, 3, 16, 16),)),
    SwinTransformer=lambda: (SwinTransformer(**SWIN), (torch.rand(2, 3, 36, 44),)),
    SwinTransformerV2=lambda: (
        SwinTransformer(**SWIN, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
        (torch.rand(2, 3, 36, 44),),
    ),
    MaxVit=lambda: (MaxVit((32, 32), 8, 2, [8, 16], [1, 1], 4, 0.0, num_classes=3), (torch.rand(2, 3, 32, 32),)),
)
test_forward_mode = transformed.test_forward_mode
test_gradients_of_single_inputs = transformed.test_gradients_of_single_inputs
