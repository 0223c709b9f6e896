"""Servers that are slow, busy, endless, or speak nonsense: whatever they do, a download ends, and says how."""

import gzip
import itertools
import multiprocessing
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from zoo_core import checkpoints
from zoo_core.checkpoints import download, fetch, fetching

from .checkpoint_server import PATH, SMALL, CheckpointServer, Fault, listing

pytestmark = pytest.mark.usefixtures("impatient")


# Slow ones.


@pytest.fixture
def strict_about_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RATE_WINDOW_S", 0.2)


@pytest.mark.usefixtures("strict_about_rate")
def test_a_body_that_drips_is_given_up(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(drip_body=100) for _ in range(10))
    with pytest.raises(checkpoints.DownloadError, match=r"given up after 3 attempts.*less than 1000 bytes a second"):
        fetch(url, progress=False)
    assert len(server.exchanges) == download.MAX_SLOW_ATTEMPTS
    assert listing(cache) == []


@pytest.mark.usefixtures("strict_about_rate")
def test_headers_that_drip_are_given_up(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, drip_head=100) for _ in range(10))
    with pytest.raises(checkpoints.DownloadError, match="less than 1000 bytes a second"):
        fetch(url, progress=False)
    assert listing(cache) == []


@pytest.mark.usefixtures("strict_about_rate")
def test_after_a_slow_time_it_goes_on_where_it_was(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend([Fault(cut_at=0.5), Fault(drip_body=100)])
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert [exchange.status for exchange in server.exchanges] == [200, 206, 206]


# Busy ones.


@pytest.mark.parametrize("value", ["soon", "-5", "1e3", "\xff", "9" * 5000, "Wed, 99 Foo 2099", "", "nan", "1, 2"])
def test_a_malformed_retry_after_is_no_reason_to_give_up(
    cache: Path, server: CheckpointServer, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_RETRY_AFTER_S", 0.01)
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(status=503, headers={"Retry-After": value}))
    assert fetch(url, progress=False).read_bytes() == SMALL


@pytest.mark.parametrize("form", [str, lambda seconds: formatdate(time.time() + seconds, usegmt=True)])
def test_long_waits_are_bounded_and_announced(
    cache: Path,
    server: CheckpointServer,
    form: object,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "MAX_RETRY_AFTER_S", 0.1)
    monkeypatch.setattr(download, "ANNOUNCED_WAIT_S", 0.05)
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(status=503, headers={"Retry-After": form(10**6)}))  # type: ignore[operator]
    assert fetch(url).read_bytes() == SMALL
    announced = next(line for line in capsys.readouterr().err.splitlines() if "trying again" in line)
    assert "tiny-12345678.pth: the server answered 503" in announced
    assert "asks to come back in" in announced


# Endless ones, and ones that compress.


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    return (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def compressed(pieces: Iterator[bytes], wbits: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=wbits)
    return (compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH) for piece in pieces)


ZEROS = bytes(100_000)


@pytest.mark.parametrize(
    ("headers", "endless"),
    [
        ({"Connection": "close"}, lambda: itertools.repeat(ZEROS)),
        ({"Transfer-Encoding": "chunked"}, lambda: chunked(itertools.repeat(ZEROS))),
        ({"Content-Encoding": "gzip"}, lambda: compressed(itertools.repeat(ZEROS), 31)),
        ({"Content-Encoding": "deflate"}, lambda: compressed(itertools.repeat(ZEROS), 15)),
    ],
)
def test_bodies_without_end(
    cache: Path, server: CheckpointServer, headers: dict[str, str], endless: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_UNSTATED_SIZE", 2_000_000)
    server.faults.append(Fault(headers=headers, body=endless()))  # type: ignore[operator]
    with pytest.raises(checkpoints.DownloadError, match=r"does not end: after 2\.0 MB there is more"):
        fetch(server.url(PATH), progress=False)
    assert listing(cache) == []


def test_a_body_that_grows_much_by_decompression(cache: Path, server: CheckpointServer) -> None:
    bomb = gzip.compress(bytes(100_000_000))
    server.faults.append(
        Fault(headers={"Content-Encoding": "gzip", "Content-Length": str(len(bomb))}, body=iter([bomb]))
    )
    with pytest.raises(checkpoints.DownloadError, match=r"does not end: after \d\.\d MB"):
        fetch(server.url(PATH), progress=False)
    assert listing(cache) == []


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_server_that_compresses_nevertheless(cache: Path, server: CheckpointServer, encoding: str) -> None:
    body = zlib.compress(SMALL) if encoding == "deflate" else gzip.compress(SMALL)
    server.faults.append(
        Fault(headers={"Content-Encoding": encoding, "Content-Length": str(len(body))}, body=iter([body]))
    )
    assert fetch(server.url(PATH), progress=False).read_bytes() == SMALL


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "\x1b[31m", "zstd"])
def test_encodings_that_nobody_asked_for(cache: Path, server: CheckpointServer, encoding: str) -> None:
    server.faults.append(Fault(headers={"Content-Encoding": encoding, "Connection": "close"}, body=iter([b"x"])))
    with pytest.raises(checkpoints.DownloadError, match="comes encoded as") as caught:
        fetch(server.url(PATH), progress=False)
    assert str(caught.value).isprintable()


def test_compressed_data_that_ends_too_early(cache: Path, server: CheckpointServer) -> None:
    body = gzip.compress(SMALL)[:-1000]
    for _ in range(10):
        server.faults.append(
            Fault(headers={"Content-Encoding": "gzip", "Content-Length": str(len(body))}, body=iter([body]))
        )
    with pytest.raises(checkpoints.DownloadError, match="broke off"):
        fetch(server.url(PATH), progress=False)
    assert listing(cache) == []


# Nonsense.


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 1000,
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 999999999999999999 \x1b[31m\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X" * 100_000 + b": 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 403 \x1b]0;title\x07\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:40]),
)
def test_answers_that_are_none(cache: Path, server: CheckpointServer, answer: bytes) -> None:
    server.faults.extend(Fault(raw=answer) for _ in range(20))
    with pytest.raises(checkpoints.DownloadError) as caught:
        fetch(server.url(PATH), progress=False)
    assert server.url(PATH) in str(caught.value)
    assert str(caught.value).isprintable()
    assert listing(cache) == []


@pytest.mark.parametrize(
    ("beginning", "endless"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X: trailer\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000 + b"\r\nx\r\n"),
    ],
    ids=["interim answers", "trailers", "framing"],
)
def test_answers_without_end_that_are_not_the_file(
    cache: Path, server: CheckpointServer, beginning: bytes, endless: bytes
) -> None:
    pieces = endless * max(60_000 // len(endless), 1)
    server.faults.extend(Fault(raw=itertools.chain([beginning], itertools.repeat(pieces))) for _ in range(20))
    with pytest.raises(checkpoints.DownloadError, match="sends other things than the file"):
        fetch(server.url(PATH), progress=False)
    assert listing(cache) == []


@pytest.mark.parametrize("etag", ['"a\x1bb"', '"ü"', '"a\tb"', "x" * 10])
def test_validators_that_cannot_be_sent_back(cache: Path, server: CheckpointServer, etag: str) -> None:
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(cut_at=0.5, headers={"ETag": etag, "Last-Modified": "\x1b[31m"}))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[1].if_range is None


# Redirects.


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("file:///etc/passwd", "not on the web"),
        ("ftp://host/x.pth", "not on the web"),
        ("http://[bad/x.pth", "no valid address"),
        ("http://[::1%25]x/x.pth", "no valid address"),
        ("http://" + "a" * 70 + ".org/x.pth", "no valid address"),
        ("http://a..b/x.pth", "no valid address"),
        ("http://host:99999999/x.pth", "no valid address"),
        ("http://host:port/x.pth", "no valid address"),
        ("http://h/\x01x\x1b[31m", "control characters"),
    ],
)
def test_redirects_to_where_nobody_should_go(
    cache: Path, server: CheckpointServer, location: str, message: str
) -> None:
    server.faults.append(Fault(status=302, headers={"Location": location}))
    with pytest.raises(checkpoints.DownloadError, match=rf"redirects, but .*{message}") as caught:
        fetch(server.url(PATH), progress=False)
    assert str(caught.value).isprintable()
    assert listing(cache) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_within_the_server(cache: Path, server: CheckpointServer, status: int) -> None:
    server.add("/elsewhere/4711", SMALL)
    server.faults.extend(
        [
            Fault(status=status, headers={"Location": "../x?a=b#c"}),
            Fault(status=302, headers={"Location": "elsewhere/4711"}),
        ]
    )
    assert fetch(server.url(PATH), progress=False).read_bytes() == SMALL
    assert [exchange.path for exchange in server.exchanges] == [PATH, "/x?a=b", "/elsewhere/4711"]


def test_the_body_of_a_redirect_is_not_read(cache: Path, server: CheckpointServer) -> None:
    server.add("/elsewhere", SMALL)
    head = f"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: {10**15}\r\n\r\n"
    server.faults.append(Fault(raw=head.encode() + b"x" * 1000))
    assert fetch(server.url(PATH), progress=False).read_bytes() == SMALL


def test_redirects_in_a_circle(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(status=302, headers={"Location": url}) for _ in range(100))
    with pytest.raises(checkpoints.DownloadError, match="it redirects again"):
        fetch(url, progress=False)
    assert len(server.exchanges) == download.MAX_REDIRECTS + 1


def test_no_redirect_leaves_encryption() -> None:
    from zoo_core.checkpoints import urls

    with pytest.raises(checkpoints.CheckpointError, match="without encryption"):
        urls.redirected("https://host/x.pth", "http://host/x.pth")
    assert urls.redirected("https://host/a/x.pth", "//other/y.pth") == "https://other/y.pth"
    assert urls.redirected("http://host/a/x.pth", "https://other/y.pth") == "https://other/y.pth"


# Urls.

BAD_URLS = [
    "http://[bad/x.pth",
    "http://[::1/x.pth",
    "http://h]/x.pth",
    "http://[zz]/x.pth",
    "http://" + "a" * 70 + ".org/x.pth",
    "http://a..b/x.pth",
    "http://.a/x.pth",
    "http://h:99999999/x.pth",
    "http://h:x/x.pth",
    "http:///x.pth",
    "http:x.pth",
    "http://h/x\x00.pth",
    "http://h/\x1b[31mx.pth",
    "http://h/\ud800.pth",
    "http://h/a\\..\\x.pth",
    "http://h/x.pth.lock",
    "http://h/x.pth.partial",
    "http://h/x.pth.partial.json",
    "http://h/" + "x" * 250 + ".pth",
    "http://h/" + "ü" * 125 + ".pth",
    "file:///x%00.pth",
    "file:",
    "file://host/x.pth",
    "package:x/../y",
    "package:",
    "package:x\x00/y",
    "http://\u2100.org/x.pth",
    "//h/x.pth",
    ":",
    "\x00",
]


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_urls_that_are_none(cache: Path, url: str) -> None:
    for function in (checkpoints.locate, fetch, checkpoints.get_state_dict):
        with pytest.raises(checkpoints.CheckpointError) as caught:
            function(url)
        assert str(caught.value).isprintable()
    assert not checkpoints.is_cached(url)
    assert not cache.exists()


@pytest.mark.parametrize("mirror", ["http://[bad", "http://h:x", "http:", "https://a..b/", "ftp://me:secret@h", "\x1b"])
def test_mirrors_that_are_none(cache: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("ZOO_MIRROR", mirror)
    with pytest.raises(checkpoints.CheckpointError, match="ZOO_MIRROR") as caught:
        fetch("https://host/x.pth")
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


# Secrets.


def secret_free(error: BaseException, capture: str, *directories: Path) -> None:
    """No secret in an error, in the errors behind it, on the terminal, in files and their names."""
    seen = ["".join(traceback.format_exception(error)), capture]
    behind: BaseException | None = error
    while behind is not None:
        seen.append(f"{behind} {behind!r} {behind.args}")
        behind = behind.__cause__ or behind.__context__
    for directory in directories:
        for path in directory.rglob("*"):
            seen.append(str(path))
            if path.is_file():
                seen.append(path.read_bytes().decode("latin-1"))
    for text in seen:
        for secret in ("SECRET", "me:"):
            assert secret not in text, text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=403),
        Fault(status=503),
        Fault(reset=True),
        Fault(raw=b"nonsense"),
        Fault(status=302, headers={"Location": "ftp://me:SECRET@h/x?t=SECRET"}),
        Fault(status=302, headers={"Location": "http://me:SECRET@127.0.0.1:1/x?t=SECRET"}),
        Fault(status=302, headers={"Location": "http://me:SECRET@[bad/x?t=SECRET"}),
        Fault(cut_at=0.5),
        Fault(corrupt_at=0.5),
        Fault(headers={"Content-Encoding": "br"}),
    ],
)
@pytest.mark.parametrize("by", ["mirror", "url"])
def test_passwords_and_tokens_are_not_shown(
    cache: Path,
    server: CheckpointServer,
    fault: Fault,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = f"http://me:SECRET@127.0.0.1:{server.server_port}"
    server.ranges = False
    server.files[f"{PATH}?token=SECRET"] = SMALL
    if by == "mirror":
        monkeypatch.setenv("ZOO_MIRROR", f"{base}/?token=SECRET")
        url = f"https://download.example.org{PATH}"
    else:
        url = f"{base}{PATH}?token=SECRET"
    server.faults.extend([fault] * 20)
    with pytest.raises(checkpoints.CheckpointError) as caught:
        fetch(url, sha256_prefix="00000000")
    captured = capsys.readouterr()
    secret_free(caught.value, captured.out + captured.err, cache)
    assert server.exchanges[0].path == f"{PATH}?token=SECRET"


def test_a_note_beside_a_part_tells_no_secret_and_is_still_of_use(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://me:SECRET@127.0.0.1:{server.server_port}{PATH}?token=SECRET"
    server.files[f"{PATH}?token=SECRET"] = server.files[f"{PATH}?token=other"] = SMALL
    server.faults.extend([Fault(cut_at=0.5), *(Fault(cut_at=0) for _ in range(download.MAX_FRUITLESS_ATTEMPTS))])
    with pytest.raises(checkpoints.DownloadError) as caught:
        fetch(url, progress=False)
    assert "tiny-12345678.pth.partial.json" in listing(cache)
    secret_free(caught.value, "", cache)
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[-1].status == 206


# Other processes.


def test_waiting_ends_where_the_other_process_is_stuck(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(stall_at=0.5))
    stuck = subprocess.Popen(
        [sys.executable, "-c", f"from zoo_core import checkpoints; checkpoints.fetch({url!r}, progress=False)"]
    )
    try:
        partial = cache / "tiny-12345678.pth.partial"
        while not (partial.exists() and partial.stat().st_size >= 400_000):
            time.sleep(0.01)
        stuck.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(fetching, "STUCK_AFTER_S", 0.3)
        assert fetch(url).read_bytes() == SMALL
        assert listing(cache) == [f"tiny-12345678.pth{suffix}" for suffix in ("", ".lock", ".partial", ".partial.json")]
        err = capsys.readouterr().err
        assert "Waiting for another process that is downloading tiny-12345678.pth" in err
        assert "without waiting any longer" in err
        assert checkpoints.clear(["tiny-12345678.pth"]) == [], "a download under way is left alone"
    finally:
        stuck.send_signal(signal.SIGCONT)
        server.go_on.set()
        assert stuck.wait(30) == 0
    assert (cache / "tiny-12345678.pth").read_bytes() == SMALL
    assert listing(cache) == ["tiny-12345678.pth"]


def test_waiting_goes_on_while_the_other_process_gets_further(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "STUCK_AFTER_S", 0.5)
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(body=(time.sleep(0.1) or SMALL[i : i + 100_000] for i in range(0, 10**6, 100_000))))  # type: ignore[func-returns-value]
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        paths = pool.starmap(_fetch, [(url,)] * 2)
    assert [path.read_bytes() for path in paths] == [SMALL] * 2
    assert len(server.exchanges) == 1


def _fetch(url: str) -> Path:
    fetching.STUCK_AFTER_S = 0.5
    return fetch(url, progress=False)


def test_nothing_is_left_of_a_download_that_was_interrupted(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.etags = server.dates = False
    url = server.add(PATH, SMALL)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_check_free_space", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(url, progress=False)
    assert listing(cache) == []
