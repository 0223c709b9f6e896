"""Batch normalisation that does not learn."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.layers import scale_and_bias


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and fixed affine parameters, as detection models use it in pretrained
    backbones.

    Args:
        num_features: channels of the input.
        eps: is added to the variance.

    Shape:
        Tensor[N, C, H, W] -> Tensor[N, C, H, W]
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # What a torch.nn.BatchNorm2d counts is of no use here.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        scale, bias = self.scale_and_bias()
        return x * scale.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)

    def scale_and_bias(self) -> tuple[Tensor, Tensor]:
        """Scale and bias of each channel, both Tensor[C]."""
        return scale_and_bias(self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"
