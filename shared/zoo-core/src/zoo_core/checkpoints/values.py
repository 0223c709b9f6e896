"""Whether a model can hold a value, and in which memory."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class UnfitError(Exception):
    """The model cannot hold the value. The message is a clause that says why."""


def check_kind(value: "torch.Tensor", place: "torch.Tensor") -> None:
    """Whether a value is of a kind that can take the place of another tensor, shape and dtype apart.

    Raises:
        UnfitError: it is not.
    """
    import torch

    if torch.nn.parameter.is_lazy(value):
        raise UnfitError("not initialized")
    if value.is_nested:
        raise UnfitError("nested")
    if value.layout != torch.strided:
        raise UnfitError(str(value.layout).removeprefix("torch."))
    if value.is_quantized != place.is_quantized:
        raise UnfitError(f"{_name(value.dtype)}, where the model has {_name(place.dtype)}")
    if value.is_complex() and not place.is_complex():
        raise UnfitError(f"{_name(value.dtype)}: {_name(place.dtype)} has no imaginary part")


def converted(value: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """The value in another dtype. Floating-point numbers are rounded; NaN and infinity stay what they are.

    Raises:
        UnfitError: a number is beyond the range of the dtype, or no integer where only those can be held.
    """
    import torch

    try:
        result = value.to(dtype)
        if value.is_meta:
            return result
        if not (dtype.is_floating_point or dtype.is_complex):
            fits = bool((result.to(value.dtype) == value).all())
        elif _can_overflow(value.dtype, dtype):
            fits = not bool((torch.isinf(result) & torch.isfinite(value)).any())
        else:
            fits = True
    except RuntimeError as error:  # torch has no conversion for some of its dtypes; NotImplementedError is one too
        raise UnfitError(f"{_name(value.dtype)} cannot be converted to {_name(dtype)}") from error
    if not fits:
        raise UnfitError(f"{_name(value.dtype)} with numbers that {_name(dtype)} cannot hold")
    return result


def _can_overflow(source: "torch.dtype", target: "torch.dtype") -> bool:
    import torch

    largest = torch.finfo if source.is_floating_point or source.is_complex else torch.iinfo
    return source != torch.bool and largest(source).max > torch.finfo(target).max


def _name(dtype: "torch.dtype") -> str:
    return str(dtype).removeprefix("torch.")


def separate(tensors: "Iterable[torch.Tensor]") -> None:
    """Gives memory of its own to each tensor that has some in common with another one, or within itself.

    That happens to tensors from a file in which one value has several names, or was saved expanded: a step of an
    optimizer would move all of them.
    """
    import torch

    used_up_to: dict[torch.device, int] = {}
    spans = []
    for tensor in tensors:
        if tensor.layout == torch.strided and not tensor.is_meta and tensor.numel():
            extent = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
            start = tensor.data_ptr()
            spans.append((start, start + extent * tensor.element_size(), tensor))
    for start, end, tensor in sorted(spans, key=lambda span: span[:2]):
        taken = used_up_to.get(tensor.device, 0)
        if start < taken or _overlaps_itself(tensor):
            tensor.data = tensor.detach().clone()
        else:
            used_up_to[tensor.device] = max(taken, end)


def _overlaps_itself(tensor: "torch.Tensor") -> bool:
    reach = 0
    for step, n in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if n > 1:
            if step <= reach:
                return True
            reach += (n - 1) * step
    return False
