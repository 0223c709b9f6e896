"""Values that a model computes once and uses again.

A value that is kept stands beside what it depends on, and is used only where all of that is the same:

============================================  ======================================  ================================
value                                         parameters (compared by content)        key
============================================  ======================================  ================================
bias of relative positions (Swin, MaxViT)     the table of biases, and its networks   none
windows of a map (Swin)                       none                                    sizes, dtype, device, tensor type
anchors and default boxes (detectors)         none                                    sizes of batch and feature maps,
                                                                                      boxes of a cell, dtype, device
============================================  ======================================  ================================

A new use adds its row.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from zoo_core.layers import without_autocast
from zoo_core.tracing import is_transformed

__all__ = ["ValueCache"]

Result = TypeVar("Result", bound=Tensor | tuple[Tensor, ...])


class ValueCache:
    """Keeps what was computed from parameters and a key, for as long as these stay as they are.

    Nothing is kept, or taken from the cache, where the result is more than a value: while gradients flow to the
    parameters, while torch compiles, exports or traces the model or captures a CUDA graph, and for tensors and sizes
    that only stand for others (fake tensors, symbolic sizes, those of :mod:`torch.func` and :mod:`torch.fx`). The
    result is computed then. Copies of a cache start empty.

    On the CPU, a change of a parameter is seen from its values. Elsewhere, where reading them would make the CPU wait,
    it is seen from the address of its memory and the counter of its in-place operations; a change through
    ``parameter.data`` leaves these alone, and needs :meth:`clear`.

    Args:
        size: for how many keys to keep a value; the oldest makes room for a new one.
    """

    def __init__(self, size: int = 1) -> None:
        self._size = size
        # Replaced as a whole, so that threads that share a model see one state or the other.
        self._kept: tuple[_Entry, ...] = ()

    def get(
        self,
        compute: Callable[[], Result],
        parameters: Sequence[Tensor] = (),
        key: Any = None,
        *,
        training: bool = False,
    ) -> Result:
        """What ``compute`` returns, or returned before.

        Args:
            compute: gives a tensor or a tuple of tensors that depend on nothing but ``parameters`` and ``key``.
            parameters: the tensors that the result depends on.
            key: what else it depends on: numbers, strings, dtypes, devices, types, or tuples of them.
            training: compute, and forget what is kept.
        """
        if training:
            self.clear()
            return compute()
        if _is_recorded() or not _is_plain(key) or not all(map(_may_be_kept, parameters)):
            return compute()
        for entry in self._kept:
            if entry.key == key and all(map(_Snapshot.shows, entry.parameters, parameters)):
                return entry.value
        # A result of inference mode could not be used outside of it, and one of autocast not without autocast.
        device_type = parameters[0].device.type if parameters else "cpu"
        with torch.inference_mode(False), torch.no_grad(), without_autocast(device_type):
            value = compute()
        if all(type(tensor) is Tensor for tensor in (value if isinstance(value, tuple) else (value,))):
            others = tuple(entry for entry in self._kept if entry.key != key)
            new = _Entry(key, [_Snapshot(parameter) for parameter in parameters], value)
            self._kept = (*others, new)[-self._size :]
        return value

    def clear(self) -> None:
        """Forgets what is kept."""
        self._kept = ()

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._size,)


class _Entry(NamedTuple):
    key: Any
    parameters: "list[_Snapshot]"
    value: Any


class _Snapshot:
    """What a tensor looked like."""

    def __init__(self, tensor: Tensor) -> None:
        # The alias keeps the memory from being given to another tensor, so that its address tells them apart.
        self.tensor = tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach()
        self.version = tensor._version

    def shows(self, tensor: Tensor) -> bool:
        seen = self.tensor
        if (seen.device, seen.dtype, seen.shape) != (tensor.device, tensor.dtype, tensor.shape):
            return False
        if seen.device.type == "cpu":
            return torch.equal(seen, tensor)
        return seen.data_ptr() == tensor.data_ptr() and self.version == tensor._version


def _is_recorded() -> bool:
    """Whether what is computed becomes part of a program, where a kept value would be a constant, or has tangents."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or is_transformed() or _is_capturing()


def _is_capturing() -> bool:
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _is_plain(key: Any) -> bool:
    """Whether a key has nothing in it that stands for something else, as a symbolic size does."""
    if isinstance(key, tuple):
        return all(map(_is_plain, key))
    return key is None or isinstance(key, int | float | str | torch.dtype | torch.device | type)


def _may_be_kept(tensor: Tensor) -> bool:
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_inference():
        return False
    if torch.is_grad_enabled() and tensor.requires_grad:
        return False
    try:
        tensor.data_ptr()
    except RuntimeError:  # torch.func's tensors have no memory of their own
        return False
    return True
