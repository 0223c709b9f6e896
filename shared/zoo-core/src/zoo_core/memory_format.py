"""The order in memory in which convolutions are fastest."""

import torch
import torch.fx
from torch import Tensor

__all__ = ["channels_last"]


def channels_last(x: Tensor) -> Tensor:
    """``x`` with channels last in memory if it is on the CPU; elsewhere as it is, since there the faster order varies.

    On the CPU, convolutions of activations in this order need no copies in an order of their own, and those of a wide
    dilation skip the taps that fall in the padding. What follows keeps the order: ``view`` may refuse it where
    ``reshape`` does not.

    Args:
        x: images, Tensor[N, C, H, W], or videos, Tensor[N, C, T, H, W]; or a stand-in of ``torch.fx``, which is left
            alone.
    """
    if isinstance(x, torch.fx.Proxy) or x.device.type != "cpu":
        return x
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
