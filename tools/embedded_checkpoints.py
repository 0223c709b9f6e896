"""Files of weights that ship in a package."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save(state_dict: Mapping[str, Any], directory: Path, name: str) -> Path:
    """Writes a state dict as ``NAME-<first 8 hex digits of its SHA-256>.pth``, as catalogues expect it.

    Args:
        state_dict: tensors that own their storage, so that no more than they are is written.
        directory: made if it is not there.
        name: what the file's name begins with.
    """
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    path.write_bytes(buffer.getvalue())
    return path
