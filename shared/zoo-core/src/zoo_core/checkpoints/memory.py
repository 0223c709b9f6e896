"""The memory that tensors from a file are made of: pieces of the mapped file, or memory of their own."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

_ALIGNMENT = 8  # what the widest numbers need

Fill = Callable[[memoryview], None]
"""Reads content from the file into memory of its size."""


class FileMemory:
    """Hands out storages for pieces of a file.

    Args:
        mapped_from: the file, to be mapped; ``None`` to read it.
        size: of the file, in bytes.
    """

    def __init__(self, mapped_from: Path | None, size: int) -> None:
        self._to_fill: list[tuple[int, torch.UntypedStorage, Fill]] = []
        self._mapping: torch.UntypedStorage | None = None
        if mapped_from is not None:
            self._mapping = torch.UntypedStorage.from_file(str(mapped_from), False, size)  # type: ignore[assignment]

    def piece(self, start: int, size: int, fill: Fill, *, is_plain: bool = True) -> torch.UntypedStorage:
        """The storage for a piece. Where it is not mapped, its content is there after :meth:`fill`.

        Args:
            start: where the piece begins in the file, in bytes.
            size: of the content, in bytes.
            fill: reads the content.
            is_plain: the content lies in the file as it is.
        """
        if self._mapping is not None and is_plain and start % _ALIGNMENT == 0 and size:
            return self._mapping[start : start + size]
        storage = torch.UntypedStorage(size, device="cpu")
        if size:
            self._to_fill.append((start, storage, fill))
        return storage

    def fill(self) -> None:
        """Reads what is not mapped, in the order of the file."""
        for _, storage, fill in sorted(self._to_fill, key=lambda item: item[0]):
            memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
            fill(memoryview(memory).cast("B"))
