"""The order in memory in which convolutions are fastest."""

import torch
from torch import Tensor

from zoo_core.tracing import is_stand_in, is_transformed

__all__ = ["CHANNELS_LAST", "channels_last"]

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The order for images and videos, and for the weights of their convolutions, by number of dimensions."""


def channels_last(x: Tensor) -> Tensor:
    """``x`` with channels last in memory if it is on the CPU; elsewhere as it is, since there the faster order varies.

    On the CPU, convolutions of activations in this order need no copies in an order of their own, and those of a wide
    dilation skip the taps that fall in the padding. What follows keeps the order: ``view`` may refuse it where
    ``reshape`` does not.

    Args:
        x: images, Tensor[N, C, H, W], or videos, Tensor[N, C, T, H, W]. Anything else is left alone: a stand-in of
            ``torch.fx``, or a single image, Tensor[C, H, W]; and all while ``torch.onnx`` exports by tracing, as ONNX
            knows no orders in memory, or while :mod:`torch.func` transforms the model, whose ``vmap`` refuses them.
    """
    if is_stand_in(x) or torch.onnx.is_in_onnx_export() or x.device.type != "cpu" or x.ndim not in CHANNELS_LAST:
        return x
    if is_transformed():
        return x
    return x.contiguous(memory_format=CHANNELS_LAST[x.ndim])
