"""Files of a run, of which the last good one is never lost: written beside, flushed to the disk, renamed.

A checkpoint is written while the next step runs. What it holds is copied first, so that the step changes nothing of it.
"""

import contextlib
import errno
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from zoo_core import checkpoints
from zoo_core.checkpoints.safetensors import SPEC

__all__ = ["SaveError", "Saver", "snapshot", "write_file"]


class SaveError(OSError):
    """A file of a run could not be written; the one that was there before is as it was."""


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file as a whole, or not at all.

    Args:
        path: where it will lie.
        write: writes the content into an open file.

    Raises:
        SaveError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.partial")
    with _saving(path):
        try:
            with beside.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            _flush_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[None]:
    """Turns an error of the system into a :class:`SaveError`."""
    try:
        yield
    except OSError as error:
        kept = "the one saved before is as it was" if path.exists() else "there is none yet"
        reason = error.strerror or str(error)
        raise SaveError(error.errno or errno.EIO, f"cannot be saved ({reason}); {kept}", str(path)) from error


def _flush_folder(folder: Path) -> None:
    """Makes a renaming last over a loss of power; not every system has that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """:func:`torch.save`, as :func:`write_file` does it; of a path that ends so, a safetensors file with its spec."""
    if path.suffix == ".safetensors":
        with _saving(path):
            checkpoints.save_safetensors(content["model"], path, metadata={SPEC: json.dumps(content["spec"])})
        return

    def write(file: BinaryIO) -> None:
        guarded = _Guarded(file)
        torch.save(dict(content), guarded)  # type: ignore[arg-type]
        if guarded.error is not None:
            raise guarded.error

    write_file(path, write)


class _Guarded:
    """Takes what torch writes, and keeps the first error to itself: torch's own writer ends the process on some."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: the file is flushed when it is whole."""


def snapshot(value: Any) -> Any:
    """A copy of tensors and plain values, on the CPU; tensors that share memory do so in the copy too."""
    copies: dict[tuple[Any, ...], Tensor] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, Tensor):
            key = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
            if not value.numel() or key not in copies:
                copies[key] = value.detach().to("cpu", copy=True)
            return copies[key]
        if isinstance(value, Mapping):
            copied = ((key, copy(item)) for key, item in value.items())
            if not hasattr(value, "_metadata"):
                return dict(copied)
            state_dict = OrderedDict(copied)
            state_dict._metadata = value._metadata  # type: ignore[attr-defined]  # versions of its modules
            return state_dict
        if isinstance(value, list | tuple):
            return type(value)(map(copy, value))
        return value

    return copy(value)


class Saver:
    """Writes checkpoints one after the other in a thread of its own. To be used in a ``with`` statement."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown()

    def save(self, path: Path, content: Mapping[str, Any]) -> None:
        """Has a file written soon. Nobody may change ``content`` any more; see :func:`snapshot`.

        Raises:
            SaveError: one that was to be saved before could not be written.
        """
        # One at a time: each is a copy of the model, and there is no use in more of them.
        self.wait()
        self._pending.append(self._pool.submit(write_checkpoint, path, content))

    def check(self) -> None:
        """Raises the error of a file that could not be written, if there is one."""
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
            SaveError: one could not be.
        """
        while self._pending:
            self._pending.pop(0).result()
