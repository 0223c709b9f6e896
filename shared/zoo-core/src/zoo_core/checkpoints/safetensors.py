"""Files in the format safetensors: a header in JSON that says where each tensor lies, then the tensors."""

import functools
import json
import math
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from zoo_core.checkpoints.archive import read_fully
from zoo_core.checkpoints.memory import FileMemory
from zoo_core.text import printable

_LENGTH_SIZE = 8
_MAX_HEADER = 100_000_000  # the format's own limit
_METADATA = "__metadata__"
SPEC = "zoo_spec"
"""The name, in a file's metadata, of what a checkpoint of ours says of its model."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
"""What the format calls the dtypes that it has."""


class DamagedFileError(Exception):
    """The header contradicts the format or the file. The message is a clause that says how."""


def is_safetensors(beginning: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes with these first ones is in the format."""
    if len(beginning) <= _LENGTH_SIZE:
        return False
    length = int.from_bytes(beginning[:_LENGTH_SIZE], "little")
    return beginning[_LENGTH_SIZE : _LENGTH_SIZE + 1] == b"{" and 2 <= length <= size - _LENGTH_SIZE


def read(file: BufferedReader, size: int, mapped_from: Path | None) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors of a file, in its order, and what it says of the model that they are of; ``None`` for nothing.

    Args:
        file: the open file.
        size: its size in bytes.
        mapped_from: the file, to be mapped into memory; ``None`` to read it.

    Raises:
        DamagedFileError: the header is not as it should be.
    """
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_SIZE), "little")
    if length > _MAX_HEADER:
        raise DamagedFileError(f"its header would have {length} bytes")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise DamagedFileError("its header is no table of tensors")
    metadata = header.pop(_METADATA, None)
    begin = _LENGTH_SIZE + length
    entries = {name: _entry(name, facts) for name, facts in header.items()}
    end = 0
    for name, (_, _, start, stop) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != end:
            raise DamagedFileError(f"the values of {printable(name)} do not follow what is before them")
        end = stop
    if begin + end != size:
        raise DamagedFileError(f"it has {size} bytes instead of {begin + end}")

    memory = FileMemory(mapped_from, size)
    tensors = {}
    for name, (dtype, shape, start, stop) in entries.items():
        fill = functools.partial(_fill, file, begin + start)
        storage = memory.piece(begin + start, stop - start, fill)
        tensors[name] = torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, shape)  # type: ignore[call-overload]
    memory.fill()
    return tensors, _spec_in(metadata)


def _spec_in(metadata: Any) -> Any:
    text = metadata.get(SPEC) if isinstance(metadata, dict) else None
    if text is None:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedFileError(f"what it says of its model is no JSON: {error}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands there twice")
    return table


def _entry(name: str, facts: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    match facts:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise DamagedFileError(f"its header says of {printable(name)} what is no tensor")
    if dtype not in DTYPES:
        raise DamagedFileError(f"{printable(name)} has the dtype {printable(dtype)}, which is not known here")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise DamagedFileError(f"its header says of {printable(name)} what is no tensor")
    if stop - start != math.prod(shape) * DTYPES[dtype].itemsize:
        raise DamagedFileError(f"{printable(name)} takes another number of bytes than its shape says")
    return DTYPES[dtype], tuple(shape), start, stop


def _fill(file: BufferedReader, start: int, target: memoryview) -> None:
    file.seek(start)
    if read_fully(file, target) < len(target):
        raise DamagedFileError("it ends too early")
