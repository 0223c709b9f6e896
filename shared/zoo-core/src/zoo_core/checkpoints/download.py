"""Downloads over HTTP that survive broken connections. Imports requests, so it is itself imported only when needed.

Nothing that a server does makes a download last for ever, fill the disk, or fail in other words than ours:

- Each wait has a limit (:data:`TIMEOUT_S`, :data:`MAX_RETRY_AFTER_S`), and so has the number of attempts.
- Data must come at :data:`MIN_BYTES_PER_S`, headers and all, on average over :data:`RATE_WINDOW_S`.
- A file whose size the server does not state may have up to :data:`MAX_UNSTATED_SIZE`; one that it compresses, though
  asked not to, no more than :data:`MAX_EXPANSION` times what is transferred.
- Redirects are followed to the web only, and never from ``https:`` to ``http:``.

The limits are plain attributes of this module, for programs that need others.
"""

import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from zoo_core.checkpoints import urls
from zoo_core.checkpoints.errors import CheckpointError, CheckpointNotFoundError, DownloadError, NoSpaceError
from zoo_core.checkpoints.files import shown
from zoo_core.checkpoints.partial import PartialFile, usable_validator
from zoo_core.checkpoints.progress import Report, showing_progress
from zoo_core.checkpoints.rate import RateWatch, TooSlowError, watched_session
from zoo_core.text import printable, redacted

CHUNK_SIZE = 16 * 1024  # what is lost at most when a connection breaks
TIMEOUT_S = (15, 60)  # to connect; between two pieces of data
BACKOFF_S = 0.5  # doubled with each further attempt
MAX_BACKOFF_S = 30
MAX_RETRY_AFTER_S = 60
MAX_FRUITLESS_ATTEMPTS = 5
MAX_UNREACHABLE_ATTEMPTS = 3
MAX_SLOW_ATTEMPTS = 3
MIN_BYTES_PER_S = 1000
RATE_WINDOW_S = 60
MAX_REDIRECTS = 10
MAX_UNSTATED_SIZE = 8 * 2**30
MAX_EXPANSION = 20
ANNOUNCED_WAIT_S = 2

_FREE_SPACE_EVERY = 64 * 2**20
_BUSY = (429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_LASTING_ERRORS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.SSLError,
)
# All that the libraries raise, for a server that breaks off as well as for one that speaks no HTTP.
_NETWORK_ERRORS = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


def download(
    url: str,
    target: Path,
    *,
    sha256_prefix: str | None = None,
    progress: bool = False,
    apart: bool = False,
    what: str = "checkpoint",
    max_size: int | None = None,
) -> None:
    """Downloads a file, going on from what an earlier attempt left if the server still has the same version.

    Args:
        url: an ``https:`` or ``http:`` address.
        target: where the file will lie. It appears there only when it is complete.
        sha256_prefix: hex digits with which the file's SHA-256 must begin; ``None`` for no check.
        progress: show the progress on stderr, and what is waited for.
        apart: leave alone what an earlier attempt, or one under way, has written.
        what: what the file is, for messages.
        max_size: the most bytes that it may have; ``None`` for any number that the server states.

    Raises:
        CheckpointError: one of its subclasses, which say what went wrong.
    """
    watch = RateWatch(MIN_BYTES_PER_S, RATE_WINDOW_S)
    with (
        watched_session(watch) as session,
        PartialFile(target, url, apart=apart, what=what, max_size=max_size) as partial,
        showing_progress(shown(target.name), progress) as report,
    ):
        attempts = _Attempts(partial, lambda message: print(message, file=sys.stderr, flush=True) if progress else None)
        while True:
            partial.touch()
            try:
                _receive_rest(session, url, partial, report, watch)
                break
            except _TryAgainError as failure:
                failed = failure
            # Outside of the handler, so that no secret in an inner error is shown with ours.
            attempts.wait_after(failed)
        partial.commit(sha256_prefix)


def content_type(url: str) -> str | None:
    """What a server says that an address has: ``"image/jpeg"``; ``None`` if there is no telling. Asked for once."""
    with watched_session(RateWatch(MIN_BYTES_PER_S, RATE_WINDOW_S)) as session:
        try:
            with _ask(session, url, {"Accept-Encoding": "identity"}) as response:
                header = response.headers.get("Content-Type", "") if response.ok else ""
        except (_TryAgainError, CheckpointError):
            return None
    return header.partition(";")[0].strip().lower() or None


class _TryAgainError(Exception):
    """Something failed that may work the next time. The message is a clause that says what."""

    wait_s: float | None = None
    is_final = False


class _BrokenError(_TryAgainError):
    """The body ended before its end."""


class _SlowError(_TryAgainError):
    """The server sends next to nothing."""


class _UnreachableError(_TryAgainError):
    """There was no answer."""


class _BusyError(_TryAgainError):
    """The server asks for patience."""


class _Attempts:
    """Counts what failed, and waits or gives up."""

    def __init__(self, partial: PartialFile, say: Callable[[str], None]) -> None:
        self._partial = partial
        self._say = say
        self._furthest = partial.size
        self._counts: dict[type[_TryAgainError], int] = {}

    def wait_after(self, failure: _TryAgainError) -> None:
        """Waits as long as is due before the next attempt.

        Raises:
            DownloadError: that was the last one.
        """
        kind = type(failure)
        if self._partial.size > self._furthest:
            # Of slow attempts each gets a little further.
            self._counts = {_SlowError: self._counts.get(_SlowError, 0)}
            self._furthest = self._partial.size
            if kind is _BrokenError:
                self._counts[_BrokenError] = -1
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        explain, limit = _LIMITS[kind]
        if failure.is_final or count >= limit():
            raise explain(self._partial, failure, count)
        wait = failure.wait_s
        if wait is None:
            wait = min(BACKOFF_S * 2 ** max(count - 1, 0), MAX_BACKOFF_S)
        if wait >= ANNOUNCED_WAIT_S:
            self._say(f"{shown(self._partial.target.name)}: {failure}; trying again in {wait:.0f} s")
        time.sleep(wait)


def _receive_rest(session: requests.Session, url: str, partial: PartialFile, report: Report, watch: RateWatch) -> None:
    """Appends what is missing, all of the file if need be.

    Raises:
        _TryAgainError: not all has arrived, and asking again makes sense.
        CheckpointError: it makes none.
    """
    headers = {"Accept-Encoding": "identity"}
    if partial.is_resumable:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": str(partial.validator)}
    with _ask(session, url, headers) as response:
        if response.status_code == requests.codes.ok:
            total = _content_length(response)
            if partial.max_size is not None and total is not None and total > partial.max_size:
                raise _too_large(partial, f"has {total / 1e6:,.0f} MB")
            partial.restart(validator=_validator(response), total=total)
        elif partial.is_resumable and response.status_code in (
            requests.codes.partial_content,
            requests.codes.range_not_satisfiable,
        ):
            if response.headers.get("Content-Range") == f"bytes */{partial.size}":
                return  # all was there already
            if not _continues(response, partial):
                partial.restart(validator=None, total=None)
                raise _BrokenError("the server sent another part of the file than it was asked for")
        elif response.status_code in _BUSY:
            raise _busy(response)
        else:
            raise _refused(response, partial)

        _receive_body(response, partial, report, watch)
    if partial.total is not None and partial.size != partial.total:
        raise _BrokenError(f"{partial.size} bytes came instead of {partial.total}")


def _ask(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """The answer to a request, that of another address if the server redirects."""
    for _ in range(MAX_REDIRECTS + 1):
        failure: Exception | None = None
        try:
            response = _send(session, url, headers)
        except _NETWORK_ERRORS as error:
            failure = _network_failure(error, _UnreachableError)
        if failure is not None:
            raise failure
        location = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or location is None:
            return response
        response.close()
        try:
            url = urls.redirected(url, location)
        except CheckpointError as error:
            failure = DownloadError(
                f"{urls.shown_url(url)} redirects, but {error}. Check the url, or the mirror if one is set"
            )
        if failure is not None:
            raise failure
    raise DownloadError(
        f"{urls.shown_url(url)} is where {MAX_REDIRECTS} redirects have led, and it redirects again: check the url, or "
        f"the mirror if one is set"
    )


def _send(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """One request and its answer's headers. The session's own methods would read all of a redirect's body."""
    request = session.prepare_request(requests.Request("GET", url, headers))
    settings = session.merge_environment_settings(url, {}, True, None, None)
    response = session.get_adapter(url).send(request, timeout=TIMEOUT_S, **settings)  # type: ignore[arg-type]
    requests.cookies.extract_cookies_to_jar(session.cookies, request, response.raw)
    return response


def _receive_body(response: requests.Response, partial: PartialFile, report: Report, watch: RateWatch) -> None:
    limit = _size_limit(response) if partial.total is None else partial.total
    if partial.max_size is not None:
        limit = min(limit, partial.max_size)
    next_check = partial.size
    report(partial.size, partial.total)
    body = _decoded(response, watch)
    while True:
        failure: Exception | None = None
        chunk = b""
        try:
            chunk = next(body, b"")
        except (*_NETWORK_ERRORS, zlib.error) as error:
            failure = _network_failure(error, _BrokenError)
        if failure is not None:
            raise failure
        if partial.size >= next_check:
            _check_free_space(partial)
            next_check = partial.size + _FREE_SPACE_EVERY
        if not chunk:
            return
        if partial.size + len(chunk) > limit:
            partial.restart(validator=None, total=None)
            if limit == partial.max_size:
                raise _too_large(partial, "has more")
            raise DownloadError(
                f"{partial.shown_url} does not end: after {limit / 1e6:.1f} MB there is more, while the server states "
                f"no size. That is no {partial.what}; {partial.check_url}"
            )
        partial.append(chunk)
        report(partial.size, partial.total)


def _decoded(response: requests.Response, watch: RateWatch) -> Iterator[bytes]:
    """The body in pieces of bounded size, decompressed if the server compresses although asked not to."""
    pieces: Iterator[bytes] = response.raw.stream(CHUNK_SIZE, decode_content=False)
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if _is_encoded(response) else None  # gzip or deflate
    for piece in pieces:
        watch.delivered(len(piece))
        if decoder is None:
            yield piece
            continue
        while piece:
            yield decoder.decompress(piece, CHUNK_SIZE)
            piece = decoder.unconsumed_tail
    if decoder is not None and not decoder.eof:
        raise zlib.error("the compressed data ends too early")


def _network_failure(error: Exception, kind: type[_TryAgainError]) -> Exception:
    cause: object = error
    while isinstance(cause, Exception):
        if isinstance(cause, TooSlowError):
            return _SlowError(f"the server sends less than {MIN_BYTES_PER_S} bytes a second")
        cause = cause.__cause__ or cause.__context__
    failure = kind(_root_cause(error))
    failure.is_final = isinstance(error, _LASTING_ERRORS)
    return failure


def _busy(response: requests.Response) -> _BusyError:
    error = _BusyError(_answer(response))
    asked = _retry_after(response.headers.get("Retry-After", ""))
    if asked is not None:
        error.wait_s = min(asked, MAX_RETRY_AFTER_S)
        if asked > MAX_RETRY_AFTER_S:
            error.args = (f"{error} and asks to come back in {asked:.0f} s",)
    return error


def _retry_after(value: str) -> float | None:
    """How many seconds a server asks to wait; ``None`` if what it says makes no sense."""
    if re.fullmatch(r"[0-9]{1,12}", value.strip()):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _validator(response: requests.Response) -> str | None:
    """What tells this version of the file from others, for If-Range, which allows no weak ETag."""
    if _is_encoded(response):
        return None
    etag = response.headers.get("ETag", "")
    return usable_validator(etag if etag.startswith('"') else response.headers.get("Last-Modified"))


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length")
    if length is None or _is_encoded(response):
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise _BrokenError("the server states a size that is none")
    return int(length)


def _is_encoded(response: requests.Response) -> bool:
    """Whether the server compresses although asked not to: sizes and ranges then mean other bytes than the file's."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return False
    if encoding not in _ENCODINGS:
        raise DownloadError(
            f"{urls.shown_url(response.url)} comes encoded as {printable(encoding)!r}, though asked for as it is: "
            f"check the server, or the mirror if one is set"
        )
    return True


def _size_limit(response: requests.Response) -> int:
    length = response.headers.get("Content-Length", "")
    if _is_encoded(response) and re.fullmatch(r"[0-9]{1,18}", length):
        return min(MAX_UNSTATED_SIZE, MAX_EXPANSION * int(length))
    return MAX_UNSTATED_SIZE


def _continues(response: requests.Response, partial: PartialFile) -> bool:
    """Whether a response with status 206 is the rest of the very file whose beginning is there."""
    content_range = re.fullmatch(
        r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers.get("Content-Range", "")
    )
    if content_range is None or int(content_range[1]) != partial.size or _is_encoded(response):
        return False
    if partial.total is not None and content_range[2] not in (str(partial.total), "*"):
        return False
    if partial.total is None and content_range[2] != "*":
        partial.total = int(content_range[2])
    return partial.validator in (response.headers.get("ETag", partial.validator), response.headers.get("Last-Modified"))


def _too_large(partial: PartialFile, size: str) -> DownloadError:
    return DownloadError(
        f"{partial.shown_url} {size}, and at most {(partial.max_size or 0) / 1e6:,.0f} MB are taken as one "
        f"{partial.what}; check the address, or download it yourself"
    )


def _check_free_space(partial: PartialFile) -> None:
    missing = _FREE_SPACE_EVERY if partial.total is None else partial.total - partial.size
    free = shutil.disk_usage(partial.target.parent).free
    if missing > free:
        raise NoSpaceError(
            f"{partial.shown_url} needs {missing / 1e6:.1f} MB more in {shown(partial.target.parent)}, but only "
            f"{free / 1e6:.1f} MB are free: free some (`zoo cache` shows what takes it), or set TORCH_HOME to a "
            f"directory on another disk"
        )


def _broke_off(partial: PartialFile, failure: Exception, count: int) -> DownloadError:
    later = ", it then goes on where it stopped if the server allows" if partial.is_published else ""
    return DownloadError(
        f"the download of {partial.shown_url} broke off {count} times at the same place ({failure}); try again later"
        f"{later}"
    )


def _too_slow(partial: PartialFile, failure: Exception, count: int) -> DownloadError:
    later = ", it then goes on where it stopped if the server allows, or set ZOO_MIRROR to another server"
    return DownloadError(
        f"the download of {partial.shown_url} was given up after {count} attempts, since {failure}; try again later"
        f"{later if partial.is_published else ''}"
    )


def _unreachable(partial: PartialFile, failure: Exception, count: int) -> DownloadError:
    message = f"cannot download {partial.shown_url}: {failure}. Check "
    if not partial.is_published:
        return DownloadError(f"{message}the address, the network and the proxy settings")
    mirror = "ZOO_MIRROR, " if os.environ.get("ZOO_MIRROR") else ""
    return DownloadError(
        f"{message}{mirror}the network and the proxy settings; without network, put the file at "
        f"{shown(partial.target)}, or set ZOO_MIRROR to a directory that has it"
    )


def _stays_busy(partial: PartialFile, failure: Exception, count: int) -> DownloadError:
    return DownloadError(
        f"cannot download {partial.shown_url} ({failure}): check {_place(partial)}, or try again later"
    )


# How to explain that it was the last attempt, and how many there are.
_LIMITS: dict[
    type[_TryAgainError], tuple[Callable[[PartialFile, Exception, int], DownloadError], Callable[[], int]]
] = {
    _BrokenError: (_broke_off, lambda: MAX_FRUITLESS_ATTEMPTS),
    _SlowError: (_too_slow, lambda: MAX_SLOW_ATTEMPTS),
    _UnreachableError: (_unreachable, lambda: 1 + MAX_UNREACHABLE_ATTEMPTS),
    _BusyError: (_stays_busy, lambda: 1 + MAX_FRUITLESS_ATTEMPTS),
}


def _refused(response: requests.Response, partial: PartialFile) -> CheckpointError:
    answer, place = _answer(response), _place(partial)
    if response.status_code in (404, 410):
        return CheckpointNotFoundError(f"there is no file {partial.shown_url} ({answer}): check {place}")
    if response.status_code in (401, 403, 407):
        otherwise = f"put the file at {shown(partial.target)}" if partial.is_published else "download it yourself"
        return DownloadError(
            f"no permission to download {partial.shown_url} ({answer}): check {place} and the proxy settings, or "
            f"{otherwise}"
        )
    return DownloadError(f"cannot download {partial.shown_url} ({answer}): check {place}, or try again later")


def _place(partial: PartialFile) -> str:
    if not partial.is_published:
        return "the address"
    return "the mirror that ZOO_MIRROR names" if os.environ.get("ZOO_MIRROR") else "the url"


def _answer(response: requests.Response) -> str:
    reason = printable(str(response.reason or ""))[:80]
    return f"the server answered {response.status_code} {reason}".rstrip()


def _root_cause(error: Exception) -> str:
    """The innermost reason of an error that requests and urllib3 have wrapped."""
    cause: object = error
    while True:
        arguments = getattr(cause, "args", ())
        inner = getattr(cause, "reason", None) or next((a for a in arguments if isinstance(a, Exception)), None)
        if not isinstance(inner, Exception):
            return printable(redacted(str(cause)))[:500] or type(cause).__name__
        cause = inner
