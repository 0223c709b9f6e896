"""Arithmetic on sizes of tensors that holds in eager mode, in ``torch.export`` and in ``torch.jit.trace``.

A size is an ``int`` in eager mode, a symbol while torch compiles or exports, and a tensor of no dimensions while it
traces. Python's ``min`` and ``math.floor`` decide for the example's sizes; these keep the program open to others.
"""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["POOLING_FIXES_SIZES", "floor", "larger", "ratio", "smaller"]

# Exporting, older versions ask whether the sizes of what is pooled are even, and the program then takes no others.
POOLING_FIXES_SIZES = torch.__version__ < (2, 13)  # type: ignore[operator]


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two sizes or numbers."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.minimum(*_as_tensors(a, b))
    # Of two plain numbers, older compilers do not take torch's form.
    return min(a, b) if isinstance(a, int | float) and isinstance(b, int | float) else torch.sym_min(a, b)


def larger(a: Any, b: Any) -> Any:
    """The larger of two sizes or numbers."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.maximum(*_as_tensors(a, b))
    # Of two plain numbers, older compilers do not take torch's form.
    return max(a, b) if isinstance(a, int | float) and isinstance(b, int | float) else torch.sym_max(a, b)


def ratio(a: Any, b: Any) -> Any:
    """One size over another, in double precision as Python computes it."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        # Written as a division of a number by a tensor, torch would multiply by the reciprocal.
        first, second = _as_tensors(a, b)
        return first.double() / second.double()
    return a / b


def floor(number: Any) -> Any:
    """The largest size that is not above a number, which is not negative."""
    if isinstance(number, Tensor):
        return number.floor().to(torch.int64)
    # Of a symbol, torch saves programs with trunc only.
    return math.floor(number) if isinstance(number, int | float) else math.trunc(number)


def _as_tensors(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    first, second = (value if isinstance(value, Tensor) else torch.tensor(value) for value in (a, b))
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)
