"""An HTTP server for downloads that misbehaves on request."""

import hashlib
import os
import random
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

PIECE_SIZE = 64 * 1024
PATH = "/models/tiny-12345678.pth"
"""Where tests put a checkpoint, and `SMALL` is what they put there."""
SMALL = random.Random(0).randbytes(1_000_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listing(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@dataclass
class Fault:
    """What goes wrong with one response.

    Attributes:
        status: answer with this status instead of the file.
        headers: headers to add or, where empty, to leave out.
        cut_at: drop the connection after this part of the body.
        stall_at: after this part of the body, wait until the server is told to go on.
        corrupt_at: flip a bit in this part of the body.
        reset: drop the connection before any answer.
        raw: send these bytes instead of an answer in HTTP; pieces of it, if it is an iterator.
        drip_head, drip_body: send this many bytes a second of what comes before the body, or of the body.
        body: send these pieces instead of the file.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: float | None = None
    stall_at: float | None = None
    corrupt_at: float | None = None
    reset: bool = False
    raw: bytes | Iterator[bytes] | None = None
    drip_head: float | None = None
    drip_body: float | None = None
    body: Iterator[bytes] | None = None


@dataclass
class Exchange:
    """A request, and what was sent in reply."""

    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0
    time: float = field(default_factory=time.monotonic)


class CheckpointServer(ThreadingHTTPServer):
    """Serves ``files`` by path from a thread, on a free port of this machine, while in a ``with`` block.

    Attributes:
        files: contents by path.
        faults: what goes wrong with the next responses, first to last.
        exchanges: all requests so far.
        ranges, etags, weak_etags, dates, lengths: what the server can do.
        go_on: to be set to end a stall.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.exchanges: list[Exchange] = []
        self.ranges = self.etags = self.dates = self.lengths = True
        self.weak_etags = False
        self.go_on = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.go_on.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def add(self, path: str, content: bytes) -> str:
        """Publishes a file, and returns its url."""
        self.files[path] = content
        return self.url(path)

    @property
    def sent(self) -> int:
        """Bytes of all bodies so far."""
        return sum(exchange.sent for exchange in self.exchanges)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: CheckpointServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        exchange = Exchange(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        self.server.exchanges.append(exchange)
        fault = self.server.faults.popleft() if self.server.faults else Fault()
        content = self.server.files.get(self.path)
        if fault.reset:
            # With this option, closing sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if fault.raw is not None and not isinstance(fault.raw, bytes):
            for piece in fault.raw:
                self.wfile.write(piece)
        elif fault.raw is not None:
            self._drip(fault.raw, fault.drip_head)
        if fault.raw is not None:
            self.close_connection = True
            return
        if fault.body is not None:
            self._head(200, fault.headers)
            for piece in fault.body:
                self.wfile.write(piece)
                exchange.sent += len(piece)
            self.close_connection = True
            return
        if fault.status or content is None:
            exchange.status = fault.status or 404
            self._head(exchange.status, {"Content-Length": "0"} | fault.headers)
            return

        headers = self._validators(content)
        body = content
        exchange.status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-", exchange.range or "")
        if wanted and self.server.ranges and exchange.if_range in (None, *headers.values()):
            start = int(wanted[1])
            if start >= len(content):
                exchange.status = 416
                self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"} | fault.headers)
                return
            exchange.status = 206
            body = content[start:]
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.server.lengths:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        self._head(exchange.status, headers | fault.headers)
        if fault.drip_body:
            self._drip(body, fault.drip_body, exchange)
        else:
            self._body(body, fault, exchange)

    def _drip(self, content: bytes, bytes_per_s: float | None, exchange: Exchange | None = None) -> None:
        if bytes_per_s is None:
            self.wfile.write(content)
            return
        for byte in content:
            if self.server.go_on.wait(1 / bytes_per_s):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if exchange:
                exchange.sent += 1

    def _validators(self, content: bytes) -> dict[str, str]:
        headers = {}
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self.server.etags:
            headers["ETag"] = f'W/"{digest}"' if self.server.weak_etags else f'"{digest}"'
        if self.server.dates:
            headers["Last-Modified"] = formatdate(1_600_000_000 + int(digest[:6], 16), usegmt=True)
        return headers

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, body: bytes, fault: Fault, exchange: Exchange) -> None:
        if fault.corrupt_at is not None:
            position = int(len(body) * fault.corrupt_at)
            body = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
        stop_at = None if fault.cut_at is None else int(len(body) * fault.cut_at)
        stall_at = None if fault.stall_at is None else int(len(body) * fault.stall_at)
        view = memoryview(body)[:stop_at]
        while exchange.sent < len(view):
            end = exchange.sent + PIECE_SIZE
            if stall_at is not None and exchange.sent < stall_at:
                end = min(end, stall_at)
            piece = view[exchange.sent : end]
            self.wfile.write(piece)
            exchange.sent += len(piece)
            if exchange.sent == stall_at:
                self.server.go_on.wait(30)
        if stop_at is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""
