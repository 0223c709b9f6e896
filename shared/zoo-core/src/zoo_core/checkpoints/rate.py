"""A limit on how slowly a server may answer.

Timeouts of sockets begin anew with each byte. The limit is therefore where the bytes come in: in what the socket of a
connection gives to read, headers and the framing of bodies included.
"""

import io
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_MAX_OVERHEAD = 2**20


class TooSlowError(TimeoutError):
    """Data comes, but next to none."""


class TooMuchElseError(OSError):
    """Data comes, but next to nothing of it is the file: interim answers, framing or trailers without end."""


class RateWatch:
    """Looks at how many bytes came in one stretch of time after the other, and how many of them were of the file.

    Args:
        min_bytes_per_s: the least average over a stretch.
        window_s: length of a stretch.
    """

    def __init__(self, min_bytes_per_s: float, window_s: float) -> None:
        self._min_bytes_per_s = min_bytes_per_s
        self._window_s = window_s
        self.restart()

    def restart(self) -> None:
        """Begins anew, with the next answer of a server."""
        self._came = self._delivered = 0
        self._begin_stretch()

    def _begin_stretch(self) -> None:
        self._began = time.monotonic()
        self._count = 0

    def delivered(self, count: int) -> None:
        """Notes bytes of the file among those that came."""
        self._delivered += count

    def came(self, count: int) -> None:
        """Notes bytes that came.

        Raises:
            TooSlowError: a stretch has ended with too few.
            TooMuchElseError: too few of all were of the file.
        """
        self._count += count
        self._came += count
        if self._came > _MAX_OVERHEAD + 2 * self._delivered:
            raise TooMuchElseError("the server sends other things than the file")
        elapsed = time.monotonic() - self._began
        if elapsed >= self._window_s:
            if count and self._count < self._min_bytes_per_s * elapsed:
                raise TooSlowError(f"{self._count} bytes in {elapsed:.0f} s")
            self._begin_stretch()


def watched_session(watch: RateWatch) -> requests.Session:
    """A session whose connections are watched. Retrying is left to the caller."""

    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock: Any = _WatchedSocket(self.sock, watch)

    class SecureConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock: Any = _WatchedSocket(self.sock, watch)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            if hasattr(manager, "pool_classes_by_scheme") and not args[0].lower().startswith("socks"):
                manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
            return manager

    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(max_retries=0))
    return session


class _WatchedSocket:
    """A socket; what is read from it as a file is watched."""

    def __init__(self, socket: Any, watch: RateWatch) -> None:
        self._socket = socket
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def makefile(self, mode: str, *args: Any, **kwargs: Any) -> io.BufferedReader:
        self._watch.restart()
        # An unbuffered file counts as a user of the socket, which stays open until both are closed.
        return io.BufferedReader(_WatchedFile(self._socket.makefile("rb", buffering=0), self._watch))


class _WatchedFile(io.RawIOBase):
    def __init__(self, file: io.RawIOBase, watch: RateWatch) -> None:
        self._file = file
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int | None:
        count = self._file.readinto(target)
        self._watch.came(count or 0)
        return count

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()
