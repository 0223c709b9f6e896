"""What engines keep on the disk, so that the next start is quick: exported and compiled models, and measurements.

Everything about one model lies in a folder of its own beside the checkpoints. A file there has a note beside it with
its SHA-256; one without, or one that is not what its note says, is as good as none and made anew. Files are written
beside their place and moved there, by one process at a time.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from zoo_core import checkpoints
from zoo_core.checkpoints.cache import sha256_of
from zoo_core.checkpoints.locking import FileLock
from zoo_core.whole_files import write_beside

__all__ = ["Entry", "Kept", "Stored", "directory", "entries", "remove"]

_ABOUT = "about.json"
_NOTE = ".note.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class Kept:
    """A file in an entry.

    Attributes:
        path: the file.
        facts: what its note says of it.
    """

    path: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """An entry as it lies on the disk.

    Attributes:
        path: its folder.
        about: what it is of: ``model``, ``weights``, ``versions``.
        size: of all of its files, in bytes.
        modified: when it was last written, in local time.
    """

    path: Path
    about: Mapping[str, Any]
    size: int
    modified: datetime

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.name

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that have a compiled form here."""
        names = {note.name.partition("-")[0] for note in self.path.glob(f"*{_NOTE}")}
        return tuple(sorted(names & {"onnxruntime", "openvino"}))


def directory() -> Path:
    """Where the entries lie: in the cache of checkpoints."""
    return checkpoints.cache_dir() / "zoo-engines"


class Entry:
    """What is kept of one model.

    Where nothing can be written in the cache, it is kept for as long as this process runs.

    Args:
        name: how it begins to be called, the model's name for instance.
        key: tells it from all others.
        about: plain data for those who look at the cache.
    """

    def __init__(self, name: str, key: str, about: Mapping[str, Any]) -> None:
        self.path = directory() / f"{name}-{key[:20]}"
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._about = dict(about)
        if self.path.is_dir() and os.access(self.path, os.W_OK):
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, "may not be written in", str(self.path))
            _write(self.path / _ABOUT, json.dumps(self._about).encode())
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="zoo-engines-")
            self.path = Path(self._temporary.name)

    def find(self, name: str, *, verify: bool = True) -> Kept | None:
        """A file that was kept.

        Args:
            name: of the file.
            verify: read it, and see whether it is whole.
        """
        note = self.path / f"{name}{_NOTE}"
        try:
            facts = json.loads(note.read_bytes())
            path = self.path / name
            if path.stat().st_size != facts["size"] or (verify and sha256_of(path) != facts["sha256"]):
                raise ValueError("not what the note says")
            return Kept(path, facts["facts"])
        except (OSError, ValueError, KeyError, TypeError, checkpoints.CheckpointError):
            return None

    def make(self, name: str, write: Callable[[Path], Mapping[str, Any]]) -> Kept:
        """A file that was kept, or else is made now. Another process that makes the same is waited for.

        Args:
            name: of the file.
            write: writes it to a path, whose folder is empty, and returns plain data for its note.
        """
        with self.locked(name):
            found = self.find(name)
            if found is not None:
                return found
            folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=self.path))
            try:
                facts = dict(write(folder / name))
                note = {"sha256": sha256_of(folder / name), "size": (folder / name).stat().st_size, "facts": facts}
                for file in sorted(folder.iterdir()):
                    os.replace(file, self.path / file.name)
                _write(self.path / f"{name}{_NOTE}", json.dumps(note).encode())
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return Kept(self.path / name, facts)

    def names(self, pattern: str) -> list[str]:
        """The names of the files kept that match a pattern, in their order."""
        return sorted(note.name.removesuffix(_NOTE) for note in self.path.glob(f"{pattern}{_NOTE}"))

    def recall(self, name: str) -> dict[str, Any]:
        """What was remembered under a name; empty if nothing was."""
        try:
            found = json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, name: str, key: str, value: Any) -> None:
        """Adds plain data to what is remembered under a name."""
        with self.locked(f"{name}.json"):
            _write(self.path / f"{name}.json", json.dumps(self.recall(name) | {key: value}).encode())

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """While it lasts, no other process makes the file of that name."""
        lock = FileLock(self.path / f"{name}{_LOCK}")
        try:
            lock.acquire(lambda: False)
        except (OSError, checkpoints.CheckpointError):  # a file system without locks: the last one to write wins
            yield
            return
        with lock:
            yield


def entries() -> list[Stored]:
    """The entries on the disk, by name."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for folder in sorted(directory().iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if not folder.is_symlink() and folder.is_dir():
                    found.append(_stored(folder))
    return found


def _stored(folder: Path) -> Stored:
    status = [file.stat() for file in folder.rglob("*") if file.is_file()]
    latest = max([folder.stat().st_mtime, *(entry.st_mtime for entry in status)])
    try:
        about = json.loads((folder / _ABOUT).read_bytes())
    except (OSError, ValueError):
        about = {}
    size = sum(entry.st_size for entry in status)
    return Stored(folder, about if isinstance(about, dict) else {}, size, datetime.fromtimestamp(latest).astimezone())


def remove(entry: Stored) -> None:
    """Deletes an entry. A process that uses it goes on with what it has loaded.

    Raises:
        OSError: it may not be deleted.
    """
    for note in entry.path.glob(f"*{_NOTE}"):  # first, so that no half of an entry is taken for one
        note.unlink(missing_ok=True)
    shutil.rmtree(entry.path)


def _write(path: Path, content: bytes) -> None:
    write_beside(path, lambda beside: beside.write_bytes(content))
