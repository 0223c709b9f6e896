"""Reads the pickle in a checkpoint, if it holds tensors and plain values and nothing else.

No name in a pickle is ever looked up: the few that a state dict needs are known here, and any other makes the pickle
one that is left to :func:`torch.load`.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}

ReadStorage = Callable[[str, int], torch.UntypedStorage]
"""Takes the name of a storage in the file and its size in bytes."""


class NotPlainError(Exception):
    """The pickle holds more than tensors and plain values. Their sizes have been checked nevertheless."""


def unpickle(content: bytes, read_storage: ReadStorage) -> object:
    """What a pickle of :func:`torch.save` holds. Dicts, lists, strings and the like are as in the file.

    Args:
        content: the pickle.
        read_storage: gives the memory that tensors are made of.

    Raises:
        NotPlainError: it refers to what is not known here.
        Exception: it is damaged; what is raised is as varied as the damage.
    """
    unpickler = _Unpickler(content, read_storage)
    value = unpickler.load()
    if not unpickler.is_plain:
        raise NotPlainError
    return value


class _Storage(NamedTuple):
    memory: torch.UntypedStorage
    dtype: torch.dtype


class _Unknown:
    """Stands for whatever has a name that is not known here. Takes everything, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Unknown":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def add(self, item: object) -> None:
        pass


class _Unpickler(pickle._Unpickler):  # the one in Python: the C one trusts what a file says of sizes
    def __init__(self, content: bytes, read_storage: ReadStorage) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.is_plain = True
        self._read_storage = read_storage
        self._known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): torch.Size,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        known = self._known.get((module, name))
        return self._unknown() if known is None else known

    def get_extension(self, code: int) -> None:
        self.append(self._unknown())  # type: ignore[attr-defined]

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(count)) if count >= 0:
                return _Storage(self._read_storage(key, count * dtype.itemsize), dtype)
        return self._unknown()()

    def load_build(self) -> None:
        """As in a pickle, but the only thing ever set on an object is the metadata of a state dict."""
        state = self.stack.pop()  # type: ignore[attr-defined]
        target = self.stack[-1]  # type: ignore[attr-defined]
        if type(target) is OrderedDict and type(state) is dict and state.keys() == {"_metadata"}:
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]
        else:
            self._unknown()

    dispatch = dict(pickle._Unpickler.dispatch) | {pickle.BUILD[0]: load_build}  # type: ignore[assignment]

    def _unknown(self) -> type[_Unknown]:
        self.is_plain = False
        return _Unknown

    def _tensor(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        metadata: Any = None,
    ) -> Any:
        """What ``torch._utils._rebuild_tensor_v2`` does, within the bounds of the storage."""
        if not isinstance(storage, _Storage) or hooks or metadata or not _fits(storage, offset, size, stride):
            return self._unknown()()
        if storage.dtype in (torch.qint8, torch.quint8, torch.qint32):
            return self._unknown()()
        tensor = torch.empty(0, dtype=storage.dtype, device=storage.memory.device)
        tensor.set_(storage.memory, offset, size, stride)
        if requires_grad is True:
            tensor.requires_grad_()
        return tensor

    def _parameter(self, data: Any, requires_grad: Any, hooks: Any) -> Any:
        if not isinstance(data, Tensor) or hooks:
            return self._unknown()()
        return torch.nn.Parameter(data, requires_grad=bool(requires_grad))


def _fits(storage: _Storage, offset: Any, size: Any, stride: Any) -> bool:
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        return False
    if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
        return False
    last = -1 if 0 in size else sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    return (offset + last + 1) * storage.dtype.itemsize <= storage.memory.nbytes()
