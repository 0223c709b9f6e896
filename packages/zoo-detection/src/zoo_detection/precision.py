"""The precision that boxes and scores are computed in."""

import torch
from torch import Tensor


def single_or_better(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32: half precision cannot tell pixels of large images apart, nor close scores."""
    return torch.promote_types(dtype, torch.float32)


def in_single_or_better(x: Tensor) -> Tensor:
    """The tensor in the dtype of :func:`single_or_better`."""
    return x.to(single_or_better(x.dtype))
