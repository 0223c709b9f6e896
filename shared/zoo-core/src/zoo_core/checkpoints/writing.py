"""Writing a state dict in the format safetensors."""

import ctypes
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.whole_files import write_beside

if TYPE_CHECKING:
    import torch

__all__ = ["save_safetensors"]

_ALIGNMENT = 8


def save_safetensors(
    state_dict: "Mapping[str, torch.Tensor]", path: Path | str, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes tensors by name as a safetensors file, as a whole or not at all.

    Args:
        state_dict: dense tensors of the dtypes that the format has, on any device. Tensors that share memory are
            written once each.
        path: the file.
        metadata: strings by name that the file carries beside them.

    Raises:
        TypeError: a value is no dense tensor, or of a dtype that the format does not have (quantized ones, for
            instance): ``torch.save`` writes those.
        OSError: the file cannot be written; one that was there stays.
    """
    import torch

    from zoo_core.checkpoints.safetensors import DTYPES

    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for key, value in state_dict.items():
        is_dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
        if not is_dense or value.dtype not in names:
            found = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"{key}: safetensors has no place for {found}; save the state dict with torch.save")
        begin, end = end, end + value.numel() * value.element_size()
        header[key] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for value in state_dict.values():
                plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
                if plain.numel():
                    file.write(_bytes(plain))
            file.flush()
            os.fsync(file.fileno())

    write_beside(Path(path), write)


def _bytes(values: "torch.Tensor") -> bytes:
    """The memory of a contiguous tensor on the CPU."""
    return ctypes.string_at(values.data_ptr(), values.numel() * values.element_size())
