"""From a file to its tensors."""

import functools
import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zoo_core.checkpoints import own_files
from zoo_core.checkpoints.archive import MAGIC, Archive, DamagedArchiveError
from zoo_core.checkpoints.errors import UnreadableCheckpointError
from zoo_core.checkpoints.fetching import fetch
from zoo_core.checkpoints.files import Version, open_regular, shown
from zoo_core.checkpoints.urls import REMOTE_SCHEMES
from zoo_core.text import printable

if TYPE_CHECKING:
    import torch

_BEGINNING = 16


def get_state_dict(
    url: str,
    *,
    sha256_prefix: str | None = None,
    progress: bool = True,
    check_hash: bool = True,
    map_location: "torch.serialization.MAP_LOCATION" = "cpu",
    to: Path | None = None,
) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint by name: :func:`~zoo_core.checkpoints.fetch` and :func:`read_state_dict` in one.

    Files of the cache and of installed packages are memory-mapped, since they are only ever replaced; a ``file:`` url,
    and what is downloaded ``to`` another place, is read into memory, since its owner may write to it.
    """
    path = fetch(url, sha256_prefix=sha256_prefix, progress=progress, check_hash=check_hash, to=to)
    is_never_rewritten = to is None and urlsplit(url).scheme in (*REMOTE_SCHEMES, "package")
    return read_state_dict(path, map_location=map_location, mapped=is_never_rewritten)


def read_state_dict(
    path: Path | str,
    *,
    key: str | None = None,
    map_location: "torch.serialization.MAP_LOCATION" = "cpu",
    mapped: bool = False,
) -> "dict[str, torch.Tensor]":
    """Reads a checkpoint. No code that it may hold is ever run.

    The tensors can be written to; that never changes the file. Whether the file may be written to afterwards depends on
    how it was read:

    - into memory, as by default: the tensors are independent of the file.
    - mapped: this returns at once, and pages are read from the file when they are needed. The file may be deleted or
      replaced by another (:func:`os.replace`), but whoever writes into it, or truncates it, changes the tensors, or
      ends the process with SIGBUS. That is for files which are only ever replaced: those of the cache, which is why
      they are marked read-only there, and those that packages ship. Files that cannot be mapped as they are
      (compressed, of the older stream format) are read into memory.

    Args:
        path: the file, as :func:`torch.save` or safetensors writes it. It holds a state dict, or a dict with exactly
            one state dict of a model among its values (``{"model": ..., "epoch": ...}``), which is then taken.
        key: which one, where there are several.
        map_location: device for the tensors, as in :func:`torch.load`.
        mapped: map the file into memory; has an effect for the CPU only.

    Returns:
        The tensors by name. Models of some kinds have values that are no tensors (packed parameters of quantized
        layers, extra state); these are left as they are.

    Raises:
        CheckpointNotFoundError: there is no such file.
        UnreadableCheckpointError: the file is damaged or no checkpoint, or holds other objects than tensors and plain
            values.
    """
    return own_files.choose(read_content(path, map_location=map_location, mapped=mapped), Path(path), key)


def read_own_state_dict(
    path: Path | str, *, key: str | None = None, map_location: "torch.serialization.MAP_LOCATION" = "cpu"
) -> "dict[str, torch.Tensor]":
    """Reads a checkpoint that a user has written, into memory: :func:`read_state_dict`, with plain names.

    Args:
        path: the file; so are the other arguments, and what is raised, those of :func:`read_state_dict`.
        key: which state dict, where there are several.
        map_location: device for the tensors.

    Returns:
        The tensors by the names that the model has itself: what wrappers put in front of them (``module.``,
        ``_orig_mod.``) is left out.
    """
    return own_files.without_wrappers(read_state_dict(path, key=key, map_location=map_location))


def load_state_dict(
    path: Path | str, *, map_location: "torch.serialization.MAP_LOCATION" = "cpu"
) -> "dict[str, torch.Tensor]":
    """The former name of :func:`read_state_dict`."""
    warnings.warn(
        "zoo_core.checkpoints.load_state_dict is now read_state_dict: it reads a file, where torch's load_state_dict "
        "fills a model",
        FutureWarning,
        stacklevel=2,
    )
    return read_state_dict(path, map_location=map_location)


def read_content(
    path: Path | str, *, map_location: "torch.serialization.MAP_LOCATION" = "cpu", mapped: bool = False
) -> object:
    """All that a checkpoint holds, tensors and plain values. Arguments and errors are :func:`read_state_dict`'s."""
    path = Path(path)
    with open_regular(path) as file:
        version = Version.of(file)
        try:
            content = _read(file, path if mapped else None, map_location)
        except Exception as error:  # what torch raises on damaged files is as varied as the damage
            raise UnreadableCheckpointError(_why_unreadable(path, error, map_location)) from error
        if Version.of(file) != version or (mapped and Version.of(path) != version):
            raise UnreadableCheckpointError(f"{shown(path)} was changed while it was read: try again")
    return content


class _RefusedError(Exception):
    """The file says of itself what is not so. The message is a clause that says what."""


def _read(file: BufferedReader, mapped_from: Path | None, map_location: Any) -> object:
    beginning = file.read(_BEGINNING)
    if beginning.startswith(MAGIC):
        try:
            archive = Archive.open(file)
            if _is_plain(archive):
                return _read_archive(archive, file, mapped_from, map_location)
        except DamagedArchiveError as error:
            raise _RefusedError(str(error)) from error

    from zoo_core.checkpoints import safetensors

    size = Version.of(file).size
    if safetensors.is_safetensors(beginning, size):
        try:
            tensors, spec = safetensors.read(file, size, mapped_from if _is_device(map_location, "cpu") else None)
        except safetensors.DamagedFileError as error:
            raise _RefusedError(str(error)) from error
        tensors = tensors if _is_device(map_location, "cpu") else _moved(tensors, map_location)
        return tensors if spec is None else {"model": tensors, "spec": spec}
    file.seek(0)
    return _loaded(file, map_location)


def _loaded(file: BufferedReader, map_location: "torch.serialization.MAP_LOCATION") -> Any:
    """:func:`torch.load`, without what it says of its own parts where tensors are of int8 layers."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, torch\.quantize_per_channel and other")
        return torch.load(file, map_location=map_location, weights_only=True)


def _is_device(map_location: Any, name: str) -> bool:
    import torch

    return isinstance(map_location, str | torch.device) and torch.device(map_location) == torch.device(name)


def _moved(tensors: "dict[str, torch.Tensor]", map_location: Any) -> "dict[str, torch.Tensor]":
    """As :func:`torch.load` does with ``map_location``, for tensors that were saved without a device."""
    import torch

    if isinstance(map_location, Mapping):
        map_location = map_location.get("cpu", "cpu")
    if map_location is None or callable(map_location):
        return tensors
    return {name: tensor.to(torch.device(map_location)) for name, tensor in tensors.items()}


def _is_plain(archive: Archive) -> bool:
    """Whether it is for this module to read; else torch says what is wrong with it, or reads it."""
    is_torchscript = "constants.pkl" in archive.members
    byte_order = archive.content("byteorder") if "byteorder" in archive.members else b"little"
    return not is_torchscript and byte_order.decode("ascii", "replace") == sys.byteorder


def _read_archive(archive: Archive, file: BufferedReader, mapped_from: Path | None, map_location: Any) -> object:
    import torch

    from zoo_core.checkpoints.memory import FileMemory
    from zoo_core.checkpoints.unpickling import NotPlainError, unpickle

    on_cpu = _is_device(map_location, "cpu")
    memory = FileMemory(mapped_from if on_cpu else None, Version.of(file).size)
    storages: dict[str, torch.UntypedStorage] = {}

    def storage(key: str, size: int) -> torch.UntypedStorage:
        member = archive.members.get(f"data/{key}")
        if member is None:
            raise _RefusedError(f"a tensor's values, {printable(key)}, are missing")
        if member.size != size:
            raise _RefusedError(f"a tensor takes {size} bytes, but the file has {member.size} for it")
        if not on_cpu:
            # Enough to see whether the file has what it says.
            return torch.UntypedStorage(size, device="meta")
        if key not in storages:
            fill = functools.partial(archive.read_into, member)
            storages[key] = memory.piece(member.start, size, fill, is_plain=member.compressed is None)
        return storages[key]

    try:
        content = unpickle(archive.content("data.pkl"), storage)
    except NotPlainError:
        content = None
    if content is None or not (on_cpu or _is_device(map_location, "meta")):
        file.seek(0)
        return _loaded(file, map_location)
    memory.fill()
    return content


def _why_unreadable(path: Path, error: Exception, map_location: "torch.serialization.MAP_LOCATION") -> str:
    unsafe = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", str(error))
    if unsafe and not isinstance(error, _RefusedError):
        return (
            f"{shown(path)} holds a Python object, {unsafe[1]}, beside tensors; loading that could run any code, so it "
            f"is refused. If you trust the file, open it with torch.load(path, weights_only=False) and save its tensors"
        )
    if isinstance(error, pickle.UnpicklingError) or not str(error):
        cause = "no valid pickle"
    else:
        cause = printable(str(error).partition(". ")[0].partition("\n")[0])
    place = "" if map_location == "cpu" else f", or cannot be brought to {map_location}"
    return (
        f"cannot read {shown(path)} ({cause}): it is no checkpoint, or is truncated or damaged{place}. If it lies in "
        f"the cache, check it with `zoo verify`, or delete it so that it is downloaded again"
    )
