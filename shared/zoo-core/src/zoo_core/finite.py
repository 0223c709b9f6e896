"""Outputs of models that hold NaN or infinity."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from zoo_core.specs import ModelSpec

__all__ = ["NonFiniteError", "check_finite"]


class NonFiniteError(ValueError):
    """A model gave NaN or infinity."""


def check_finite(output: Any, spec: "ModelSpec") -> None:
    """Checks the floating tensors of an output.

    Raises:
        NonFiniteError: one of them holds NaN or infinity.
    """
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        for value in output:
            check_finite(value, spec)
    elif isinstance(output, Tensor) and not _is_finite(output):
        raise NonFiniteError(f"{spec} gave NaN or infinity; are the weights damaged? Try `zoo verify`")


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # NaN is the least and the greatest of numbers that hold one; isfinite() would take copies of all of them.
    return all(bool(extreme.isfinite()) for extreme in tensor.aminmax())
