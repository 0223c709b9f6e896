"""Where a checkpoint's file is, fetched if need be."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from zoo_core.checkpoints import urls
from zoo_core.checkpoints.cache import file_url_to_path, hash_matches, locate, lock_path, partial_path, sha256_of
from zoo_core.checkpoints.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    HashMismatchError,
    OfflineError,
    explaining_write_errors,
)
from zoo_core.checkpoints.files import open_regular, shown
from zoo_core.checkpoints.locking import FileLock, LockUnavailableError
from zoo_core.checkpoints.partial import PartialFile

STUCK_AFTER_S = 120
"""How long one waits for another process's download that gets no further, before downloading the file apart."""

_COPY_CHUNK_SIZE = 1024 * 1024


def fetch(
    url: str,
    *,
    sha256_prefix: str | None = None,
    progress: bool = True,
    check_hash: bool = True,
    to: Path | None = None,
) -> Path:
    """Where the file of a url is on this machine; downloads it if it is not in the cache.

    A download is checked once, when it enters the cache: what is found there is taken as it is, and
    :func:`~zoo_core.checkpoints.matches_hash` checks it again on demand. ``file:`` and ``package:`` urls are used in
    place, and checked each time. When many processes ask for the same file, one downloads it and the others wait for
    that, as long as it gets further.

    Limits on how slow a server and how large a file may be are in :mod:`zoo_core.checkpoints.download`. Messages
    and notes have neither the passwords in urls nor the values in their queries.

    Args:
        url: ``https:``, ``http:``, ``file:`` or ``package:``, see :func:`~zoo_core.checkpoints.locate`.
        sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.
        progress: show the progress on stderr, as a bar if that is a terminal, and what is waited for.
        check_hash: ``False`` ignores ``sha256_prefix``.
        to: where a download goes instead of the cache; its folder is made if need be. A file that is there is taken.

    Raises:
        CheckpointNotFoundError: there is no such file.
        OfflineError: the file is missing and ``ZOO_OFFLINE`` is set.
        DownloadError: the server cannot be reached, or refuses.
        HashMismatchError: the file is not the published one.
        CacheWriteError: no space, or no permission to write.
    """
    path = locate(url)
    expected = sha256_prefix if check_hash else None
    if urls.split(url).scheme not in urls.REMOTE_SCHEMES:
        _check_in_place(url, path, expected)
        return path
    path = path if to is None else to
    with explaining_write_errors(path):
        if path.is_file():
            return path

    source = _source(url)
    if isinstance(source, str) and is_offline():
        raise OfflineError(
            f"{shown(path.name)} is not in the cache, and ZOO_OFFLINE forbids to download it: get "
            f"{urls.shown_url(url)} on another machine and put it at {shown(path)}, or unset ZOO_OFFLINE"
        )
    with _only_one(path, progress) as alone:
        if path.is_file():  # another process has brought it while this one waited
            return path
        if isinstance(source, Path):
            _copy(source, path, expected, apart=not alone)
        else:
            from zoo_core.checkpoints.download import download

            if progress:
                print(f"Downloading {urls.shown_url(source)} to {shown(path)}", file=sys.stderr, flush=True)
            download(source, path, sha256_prefix=expected, progress=progress, apart=not alone)
    return path


def _check_in_place(url: str, path: Path, sha256_prefix: str | None) -> None:
    if not path.is_file():
        raise CheckpointNotFoundError(f"there is no file {shown(path)}, which {urls.shown_url(url)} names")
    if sha256_prefix and not hash_matches(sha256 := sha256_of(path), sha256_prefix):
        raise HashMismatchError(
            f"{shown(path)} is not the file that was published as {urls.shown_url(url)}: its SHA-256 should begin with "
            f"{sha256_prefix} but is {sha256}. Replace the file, or correct the hash"
        )


def is_offline() -> bool:
    """Whether ``ZOO_OFFLINE`` forbids to touch the network."""
    return os.environ.get("ZOO_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")


def _source(url: str) -> str | Path:
    """Where a remote file is to be had from: a url, or a path in a mirror directory.

    A mirror keeps the path that the file has on the published host; in a directory the bare file name does as well. The
    file is copied from there into the cache, where it is as safe from later changes as a downloaded one.
    """
    mirror = os.environ.get("ZOO_MIRROR")
    if not mirror:
        return url
    parts = urls.split(url)
    scheme, separator, _ = mirror.partition(":")
    if scheme.lower() in urls.REMOTE_SCHEMES and separator:
        try:
            return urls.below(mirror, parts)
        except CheckpointError as error:
            raise CheckpointError(f"ZOO_MIRROR cannot be used: {error}") from None
    if "://" in mirror and scheme.lower() != "file":
        raise CheckpointError(
            f"ZOO_MIRROR is {urls.shown_url(mirror)!r}, but must be an http(s) address or a directory"
        )

    directory = file_url_to_path(mirror) if scheme.lower() == "file" else Path(mirror).expanduser()
    if not directory.is_dir():
        raise CheckpointNotFoundError(
            f"ZOO_MIRROR is {urls.shown_url(mirror)!r}, which is not a directory: correct or unset it"
        )
    below_host = PurePosixPath(parts.path.lstrip("/"))
    candidates = [directory / below_host.name]
    if ".." not in below_host.parts:
        candidates.insert(0, directory / below_host)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointNotFoundError(
        f"the mirror that ZOO_MIRROR names has no file for {urls.shown_url(url)}: put it at "
        f"{' or '.join(map(shown, candidates))}"
    )


def _copy(source: Path, target: Path, sha256_prefix: str | None, *, apart: bool) -> None:
    """Copies a file of a mirror directory into the cache, checked and at once like a download."""
    with PartialFile(target, source.absolute().as_uri(), apart=apart) as partial:
        partial.restart(validator=None, total=None)
        with open_regular(source) as file:
            while chunk := _next_chunk(file.read, source):
                partial.append(chunk)
        partial.commit(sha256_prefix)


def _next_chunk(read: Callable[[int], bytes], source: Path) -> bytes:
    try:
        return read(_COPY_CHUNK_SIZE)
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(source)} in the mirror ({error.strerror or error})") from error


@contextmanager
def _only_one(path: Path, progress: bool) -> Iterator[bool]:
    """Lets one process on this machine at a time into the ``with`` block for a file; makes the file's directory.

    Yields:
        Whether it is alone. It may not be where there can be no lock, or where its holder gets no further.
    """

    def say(message: str) -> None:
        if progress:
            print(message, file=sys.stderr, flush=True)

    with explaining_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock_path(path)) as lock:
        try:
            with explaining_write_errors(lock.path):
                alone = lock.try_acquire()
                if not alone:
                    say(f"Waiting for another process that is downloading {shown(path.name)}")
                    alone = lock.acquire(give_up=_Patience(path).is_over)
        except LockUnavailableError as error:
            say(f"Not waiting for other processes: {error}")
            alone = False
        if not alone and not path.is_file():
            say(f"Downloading {shown(path.name)} without waiting any longer for that process, which gets no further")
        yield alone


class _Patience:
    """How long to wait for another process's download: while it gets further."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._since = time.monotonic()

    def is_over(self) -> bool:
        if self._path.is_file():
            return True
        try:
            status = partial_path(self._path).lstat()
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (0, 0)
        if state != self._seen:
            self._seen = state
            self._since = time.monotonic()
        return time.monotonic() - self._since > STUCK_AFTER_S
