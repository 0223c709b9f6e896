"""From a file to its tensors."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.checkpoints.errors import CheckpointNotFoundError, UnreadableCheckpointError
from zoo_core.checkpoints.fetching import fetch

if TYPE_CHECKING:
    import torch

_ZIP_MAGIC = b"PK\x03\x04"


def get_state_dict(
    url: str,
    *,
    sha256_prefix: str | None = None,
    progress: bool = True,
    check_hash: bool = True,
    map_location: "torch.serialization.MAP_LOCATION" = "cpu",
) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint by name: :func:`~zoo_core.checkpoints.fetch` and :func:`load_state_dict` in one."""
    path = fetch(url, sha256_prefix=sha256_prefix, progress=progress, check_hash=check_hash)
    return load_state_dict(path, map_location=map_location)


def load_state_dict(
    path: Path | str, *, map_location: "torch.serialization.MAP_LOCATION" = "cpu"
) -> "dict[str, torch.Tensor]":
    """Opens a checkpoint.

    Files of today's zip format are memory-mapped: this returns at once, and pages are read when they are needed. The
    tensors can be written to nevertheless; that changes memory only, never the file. Files of the older stream format
    are read into memory. No code that a file may hold is ever run.

    Args:
        path: the file, as :func:`torch.save` writes it. It holds a state dict, or a dict with exactly one state dict
            among its values (``{"model": ..., "epoch": ...}``), which is then taken.
        map_location: device for the tensors, as in :func:`torch.load`.

    Returns:
        The tensors by name. Models of some kinds have values that are no tensors (packed parameters of quantized
        layers, extra state); these are left as they are.

    Raises:
        CheckpointNotFoundError: there is no such file.
        UnreadableCheckpointError: the file is damaged or no checkpoint, or holds other objects than tensors and plain
            values.
    """
    import torch

    path = Path(path)
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise UnreadableCheckpointError(f"cannot read {path} ({error.strerror or error})") from error
    try:
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=is_zip)
    except Exception as error:  # what torch raises on damaged files is as varied as the damage
        raise UnreadableCheckpointError(_why_unreadable(path, error, map_location)) from error
    return _unwrap(content, path)


def _why_unreadable(path: Path, error: Exception, map_location: "torch.serialization.MAP_LOCATION") -> str:
    unsafe = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", str(error))
    if unsafe:
        return (
            f"{path} holds a Python object, {unsafe[1]}, beside tensors; loading that could run any code, so it is "
            f"refused. If you trust the file, open it with torch.load(path, weights_only=False) and save its tensors"
        )
    if isinstance(error, pickle.UnpicklingError) or not str(error):
        cause = "no valid pickle"
    else:
        cause = str(error).partition(". ")[0]
    place = "" if map_location == "cpu" else f", or cannot be brought to {map_location}"
    return (
        f"cannot read {path} ({cause}): it is no checkpoint, or is truncated or damaged{place}. Check it with "
        f"`zoo verify`, or delete it so that it is downloaded again"
    )


def _unwrap(content: object, path: Path) -> "dict[str, torch.Tensor]":
    if isinstance(content, dict):
        if _holds_tensors(content) or not content:
            return content
        state_dicts = {
            key: value for key, value in content.items() if isinstance(value, dict) and _holds_tensors(value)
        }
        if len(state_dicts) == 1:
            return next(iter(state_dicts.values()))
        if len(state_dicts) > 1:
            raise UnreadableCheckpointError(
                f"{path} holds several state dicts ({', '.join(map(str, state_dicts))}): save the one to use on its own"
            )
    raise UnreadableCheckpointError(
        f"{path} holds no state dict ({type(content).__name__}): expected tensors by name, as "
        f"torch.save(model.state_dict(), path) writes them"
    )


def _holds_tensors(mapping: Mapping[Any, object]) -> bool:
    import torch

    return all(isinstance(key, str) for key in mapping) and any(
        isinstance(value, torch.Tensor) for value in mapping.values()
    )
