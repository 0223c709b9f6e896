"""Downloads over HTTP that survive broken connections. Imports requests, so it is itself imported only when needed."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from zoo_core.checkpoints.errors import CheckpointError, CheckpointNotFoundError, DownloadError, NoSpaceError
from zoo_core.checkpoints.partial import PartialFile
from zoo_core.checkpoints.progress import Report, showing_progress

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

CHUNK_SIZE = 16 * 1024  # what is lost at most when a connection breaks
TIMEOUT_S = (15, 60)  # to connect; between two pieces of data
BACKOFF_S = 0.5  # doubled with each further attempt
MAX_RETRY_AFTER_S = 60
MAX_FRUITLESS_ATTEMPTS = 5


def download(url: str, target: Path, *, sha256_prefix: str | None, progress: bool) -> None:
    """Downloads a file, going on from what an earlier attempt left if the server still has the same version.

    Args:
        url: an ``https:`` or ``http:`` address.
        target: where the file will lie. It appears there only when it is complete.
        sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.
        progress: show the progress on stderr.

    Raises:
        CheckpointError: one of its subclasses, which say what went wrong.
    """
    with (
        _session() as session,
        PartialFile(target, url) as partial,
        showing_progress(target.name, progress) as report,
    ):
        furthest = partial.size
        fruitless_attempts = 0
        while True:
            try:
                _receive_rest(session, partial, report)
                break
            except _ConnectionBrokenError as broken:
                fruitless_attempts = 0 if partial.size > furthest else fruitless_attempts + 1
                furthest = max(furthest, partial.size)
                if fruitless_attempts == MAX_FRUITLESS_ATTEMPTS:
                    raise DownloadError(
                        f"the download of {url} broke off {fruitless_attempts} times at the same place ({broken}); "
                        f"try again later, it then goes on where it stopped if the server allows"
                    ) from broken
                time.sleep(BACKOFF_S * 2**fruitless_attempts)
        partial.commit(sha256_prefix)


class _ConnectionBrokenError(Exception):
    """The body ended before its end."""


class _PatientRetry(Retry):
    """Waits as long as the server asks for, within reason."""

    def get_retry_after(self, response: "BaseHTTPResponse") -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)


def _session() -> requests.Session:
    retry = _PatientRetry(
        total=8,
        connect=3,
        read=3,
        status=5,
        backoff_factor=BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET",),
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _receive_rest(session: requests.Session, partial: PartialFile, report: Report) -> None:
    """Appends what is missing, all of the file if need be.

    Raises:
        _ConnectionBrokenError: not all has arrived, and asking again makes sense.
    """
    headers = {"Accept-Encoding": "identity"}
    if partial.is_resumable:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": str(partial.validator)}
    try:
        response = session.get(partial.url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise _unreachable(partial, error) from error

    with response:
        if response.status_code == requests.codes.ok:
            partial.restart(validator=_validator(response), total=_content_length(response))
        elif partial.is_resumable and response.status_code in (
            requests.codes.partial_content,
            requests.codes.range_not_satisfiable,
        ):
            if response.headers.get("Content-Range") == f"bytes */{partial.size}":
                return  # all was there already
            if not _continues(response, partial):
                partial.restart(validator=None, total=None)
                raise _ConnectionBrokenError("the server sent another part of the file than it was asked for")
        else:
            raise _refused(response, partial)

        _check_free_space(partial)
        report(partial.size, partial.total)
        try:
            for chunk in response.iter_content(CHUNK_SIZE):
                partial.append(chunk)
                report(partial.size, partial.total)
        except requests.RequestException as error:
            raise _ConnectionBrokenError(_root_cause(error)) from error
    if partial.total is not None and partial.size != partial.total:
        raise _ConnectionBrokenError(f"{partial.size} bytes came instead of {partial.total}")


def _validator(response: requests.Response) -> str | None:
    """What tells this version of the file from others, for If-Range, which allows no weak ETag."""
    if _is_encoded(response):
        return None
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and not _is_encoded(response) else None


def _is_encoded(response: requests.Response) -> bool:
    """Whether the server compresses although asked not to: sizes and ranges then mean other bytes than the file's."""
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _continues(response: requests.Response, partial: PartialFile) -> bool:
    """Whether a response with status 206 is the rest of the very file whose beginning is there."""
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if content_range is None or int(content_range[1]) != partial.size or _is_encoded(response):
        return False
    if partial.total is not None and content_range[2] not in (str(partial.total), "*"):
        return False
    if partial.total is None and content_range[2] != "*":
        partial.total = int(content_range[2])
    return partial.validator in (response.headers.get("ETag", partial.validator), response.headers.get("Last-Modified"))


def _check_free_space(partial: PartialFile) -> None:
    if partial.total is None:
        return
    missing = partial.total - partial.size
    free = shutil.disk_usage(partial.target.parent).free
    if missing > free:
        raise NoSpaceError(
            f"{partial.url} needs {missing / 1e6:.1f} MB more in {partial.target.parent}, but only {free / 1e6:.1f} MB "
            f"are free: free some (`zoo cache` shows what takes it), or set TORCH_HOME to a directory on another disk"
        )


def _unreachable(partial: PartialFile, error: requests.RequestException) -> CheckpointError:
    mirror = "ZOO_MIRROR, " if os.environ.get("ZOO_MIRROR") else ""
    return DownloadError(
        f"cannot download {partial.url}: {_root_cause(error)}. Check {mirror}the network and the proxy settings; "
        f"without network, put the file at {partial.target}, or set ZOO_MIRROR to a directory that has it"
    )


def _refused(response: requests.Response, partial: PartialFile) -> CheckpointError:
    answer = f"the server answered {response.status_code} {response.reason or ''}".rstrip()
    place = "the mirror that ZOO_MIRROR names" if os.environ.get("ZOO_MIRROR") else "the url"
    if response.status_code in (404, 410):
        return CheckpointNotFoundError(f"there is no file {partial.url} ({answer}): check {place}")
    if response.status_code in (401, 403, 407):
        return DownloadError(
            f"no permission to download {partial.url} ({answer}): check {place} and the proxy settings, or put the "
            f"file at {partial.target}"
        )
    return DownloadError(f"cannot download {partial.url} ({answer}): check {place}, or try again later")


def _root_cause(error: requests.RequestException) -> str:
    """The innermost reason of an error that requests and urllib3 have wrapped."""
    cause: object = error
    while True:
        arguments = getattr(cause, "args", ())
        inner = getattr(cause, "reason", None) or next((a for a in arguments if isinstance(a, Exception)), None)
        if not isinstance(inner, Exception):
            return str(cause) or type(cause).__name__
        cause = inner
