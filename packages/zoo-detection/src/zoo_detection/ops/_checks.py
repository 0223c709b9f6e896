"""Checks of arguments that also hold while torch traces a program."""

from collections.abc import Callable

import torch
from torch import Tensor


def require(condition: bool | torch.SymBool, message: Callable[[], str]) -> None:
    """Raises ValueError unless the condition, which may depend on symbolic sizes, holds."""
    if torch.compiler.is_compiling():
        torch._check(condition)
    elif not condition:
        raise ValueError(message())


def require_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(
            f"{name} must be floating point, but its dtype is {tensor.dtype}; convert it, with .float() say"
        )


def require_same_device(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    if first.device != second.device:
        raise ValueError(
            f"{first_name} and {second_name} must be on the same device, "
            f"but they are on {first.device} and {second.device}"
        )


def shape_of(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
