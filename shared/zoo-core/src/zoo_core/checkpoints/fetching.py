"""From a url to a file on this machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from zoo_core.checkpoints.cache import (
    REMOTE_SCHEMES,
    file_url_to_path,
    hash_matches,
    locate,
    lock_path,
    sha256_of,
)
from zoo_core.checkpoints.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    HashMismatchError,
    OfflineError,
    explaining_write_errors,
)
from zoo_core.checkpoints.partial import PartialFile

_COPY_CHUNK_SIZE = 1024 * 1024


def fetch(url: str, *, sha256_prefix: str | None = None, progress: bool = True, check_hash: bool = True) -> Path:
    """The local file of a url; downloads it if it is not in the cache.

    A download is checked once, when it enters the cache: what is found there is taken as it is, and
    :func:`~zoo_core.checkpoints.verify` checks it again on demand. ``file:`` and ``package:`` urls are used in place,
    and checked each time. When many processes ask for the same file, one downloads it and the others wait for that.

    Args:
        url: ``https:``, ``http:``, ``file:`` or ``package:``, see :func:`~zoo_core.checkpoints.locate`.
        sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.
        progress: show the progress on stderr, as a bar if that is a terminal.
        check_hash: ``False`` ignores ``sha256_prefix``.

    Raises:
        CheckpointNotFoundError: there is no such file.
        OfflineError: the file is missing and ``ZOO_OFFLINE`` is set.
        DownloadError: the server cannot be reached, or refuses.
        HashMismatchError: the file is not the published one.
        CacheWriteError: no space, or no permission to write.
    """
    path = locate(url)
    expected = sha256_prefix if check_hash else None
    if urlparse(url).scheme not in REMOTE_SCHEMES:
        _check_in_place(url, path, expected)
        return path
    with explaining_write_errors(path):
        if path.is_file():
            return path

    source = _source(url)
    if isinstance(source, str) and _is_offline():
        raise OfflineError(
            f"{path.name} is not in the cache, and ZOO_OFFLINE forbids to download it: get {url} on another machine "
            f"and put it at {path}, or unset ZOO_OFFLINE"
        )
    with _only_one(path, progress):
        if path.is_file():  # another process has brought it while this one waited
            return path
        if isinstance(source, Path):
            _copy(source, path, expected)
        else:
            from zoo_core.checkpoints.download import download

            if progress:
                print(f"Downloading {source} to {path}", file=sys.stderr, flush=True)
            download(source, path, sha256_prefix=expected, progress=progress)
    return path


def _check_in_place(url: str, path: Path, sha256_prefix: str | None) -> None:
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {path}, which {url} names")
    if sha256_prefix and not hash_matches(sha256 := sha256_of(path), sha256_prefix):
        raise HashMismatchError(
            f"{path} is not the file that was published as {url}: its SHA-256 should begin with {sha256_prefix} but is "
            f"{sha256}. Replace the file, or correct the hash"
        )


def _is_offline() -> bool:
    return os.environ.get("ZOO_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")


def _source(url: str) -> str | Path:
    """Where a remote file is to be had from: a url, or a path in a mirror directory.

    A mirror keeps the path that the file has on the published host; in a directory the bare file name does as well. The
    file is copied from there into the cache, where it is as safe from later changes as a downloaded one.
    """
    mirror = os.environ.get("ZOO_MIRROR")
    if not mirror:
        return url
    parts = urlparse(url)
    scheme, separator, _ = mirror.partition(":")
    if scheme.lower() in REMOTE_SCHEMES and separator:
        query = f"?{parts.query}" if parts.query else ""
        return f"{mirror.rstrip('/')}{parts.path}{query}"
    if "://" in mirror and scheme.lower() != "file":
        raise CheckpointError(f"ZOO_MIRROR is {mirror!r}, but must be an http(s) address or a directory")

    directory = file_url_to_path(mirror) if scheme.lower() == "file" else Path(mirror).expanduser()
    if not directory.is_dir():
        raise CheckpointNotFoundError(f"ZOO_MIRROR is {mirror!r}, which is not a directory: correct or unset it")
    below_host = PurePosixPath(parts.path.lstrip("/"))
    candidates = [directory / below_host.name]
    if ".." not in below_host.parts:
        candidates.insert(0, directory / below_host)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointNotFoundError(
        f"the mirror that ZOO_MIRROR names has no file for {url}: put it at {' or '.join(map(str, candidates))}"
    )


def _copy(source: Path, target: Path, sha256_prefix: str | None) -> None:
    """Copies a file of a mirror directory into the cache, checked and at once like a download."""
    with PartialFile(target, source.absolute().as_uri()) as partial:
        partial.restart(validator=None, total=None)
        try:
            with source.open("rb") as file:
                while chunk := file.read(_COPY_CHUNK_SIZE):
                    partial.append(chunk)
        except OSError as error:
            raise CheckpointError(f"cannot read {source} in the mirror ({error.strerror or error})") from error
        partial.commit(sha256_prefix)


@contextmanager
def _only_one(path: Path, progress: bool) -> Iterator[None]:
    """Lets one process on this machine at a time into the ``with`` block for a file; makes the file's directory."""
    from filelock import FileLock, Timeout

    lock = FileLock(lock_path(path))
    with explaining_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if progress:
                print(f"Waiting for another process that is downloading {path.name}", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
        with suppress(OSError):
            lock_path(path).unlink()  # whoever still waits for it will find the file in place
    finally:
        lock.release()
