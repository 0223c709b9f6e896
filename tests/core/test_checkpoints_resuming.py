"""Downloads that broke off go on where they stopped, and only if the file is still the same."""

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from zoo_core import checkpoints
from zoo_core.checkpoints import download, fetch

from .checkpoint_server import PATH, SMALL, CheckpointServer, Fault, listing, sha256

pytestmark = pytest.mark.usefixtures("impatient")


def test_several_cuts_in_one_call(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(cut_at=0.2) for _ in range(9))
    assert fetch(url, sha256_prefix=sha256(SMALL), progress=False).read_bytes() == SMALL
    assert server.sent <= len(SMALL) + 9 * download.CHUNK_SIZE
    assert [exchange.status for exchange in server.exchanges] == [200] + 9 * [206]


def test_giving_up_where_no_attempt_gets_further(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend([Fault(cut_at=0.5), *(Fault(cut_at=0) for _ in range(download.MAX_FRUITLESS_ATTEMPTS))])
    with pytest.raises(checkpoints.DownloadError, match="broke off 5 times"):
        fetch(url, sha256_prefix=sha256(SMALL), progress=False)
    assert 0 <= len(SMALL) // 2 - (cache / "tiny-12345678.pth.partial").stat().st_size < download.CHUNK_SIZE
    fetch(url, sha256_prefix=sha256(SMALL), progress=False)
    assert server.sent < len(SMALL) + download.CHUNK_SIZE


def test_giving_up_where_the_server_always_cuts_and_knows_no_ranges(cache: Path, server: CheckpointServer) -> None:
    server.ranges = False
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(cut_at=0.5) for _ in range(20))
    with pytest.raises(checkpoints.DownloadError, match="broke off"):
        fetch(url, progress=False)
    assert len(server.exchanges) == 1 + download.MAX_FRUITLESS_ATTEMPTS


def test_a_killed_process_leaves_a_part_that_the_next_one_uses(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(stall_at=0.6))
    process = subprocess.Popen(
        [sys.executable, "-c", f"from zoo_core import checkpoints; checkpoints.fetch({url!r}, progress=False)"]
    )
    partial = cache / "tiny-12345678.pth.partial"
    deadline = time.monotonic() + 30
    while not (partial.exists() and partial.stat().st_size >= 500_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = partial.stat().st_size
    assert listing(cache) == [f"tiny-12345678.pth{suffix}" for suffix in (".lock", ".partial", ".partial.json")]

    assert fetch(url, sha256_prefix=sha256(SMALL), progress=False).read_bytes() == SMALL
    assert server.exchanges[1].range == f"bytes={arrived}-"
    assert server.exchanges[1].sent == len(SMALL) - arrived
    assert listing(cache) == ["tiny-12345678.pth"]


def leave_partial(cache: Path, url: str, content: bytes, changes: dict[str, object]) -> None:
    """Puts what an earlier process could have left into the cache."""
    etag = f'"{hashlib.md5(SMALL).hexdigest()}"'
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "tiny-12345678.pth.partial").write_bytes(content)
    note = {"url": url, "validator": etag, "total": len(SMALL)} | changes
    (cache / "tiny-12345678.pth.partial.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    ("content", "changes", "sent"),
    [
        pytest.param(SMALL[:700_000], {}, 300_000, id="usable"),
        pytest.param(SMALL[:700_000], {"total": None}, 300_000, id="size not known then"),
        pytest.param(SMALL, {}, 0, id="killed before the renaming"),
        pytest.param(b"", {}, 1_000_000, id="empty"),
        pytest.param(SMALL + b"more", {}, 1_000_000, id="longer than the file"),
        pytest.param(SMALL + b"more", {"total": None}, 1_000_000, id="longer than the file, size not known"),
        pytest.param(b"x" * 700_000, {"validator": '"old"'}, 1_000_000, id="of another version"),
        pytest.param(b"x" * 700_000, {"url": "http://other/"}, 1_000_000, id="of another url"),
        pytest.param(b"x" * 700_000, {"validator": None}, 1_000_000, id="no validator"),
        pytest.param(b"x" * 700_000, {"total": "many"}, 1_000_000, id="nonsense in the note"),
    ],
)
def test_what_an_earlier_process_left(
    cache: Path, server: CheckpointServer, content: bytes, changes: dict[str, object], sent: int
) -> None:
    url = server.add(PATH, SMALL)
    leave_partial(cache, url, content, changes)
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.sent == sent
    assert listing(cache) == ["tiny-12345678.pth"]


@pytest.mark.parametrize("note", [None, b"", b"[]", b"\xff\x00", b'{"url": 1}'])
def test_a_part_whose_note_is_missing_or_damaged(cache: Path, server: CheckpointServer, note: bytes | None) -> None:
    url = server.add(PATH, SMALL)
    leave_partial(cache, url, b"x" * 1000, {})
    if note is None:
        (cache / "tiny-12345678.pth.partial.json").unlink()
    else:
        (cache / "tiny-12345678.pth.partial.json").write_bytes(note)
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.sent == len(SMALL)


def test_the_file_changes_between_two_attempts(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, bytes(len(SMALL)))
    server.faults.append(Fault(stall_at=0.5, cut_at=0.5))

    def change() -> None:
        server.files[PATH] = SMALL
        server.go_on.set()

    threading.Timer(0.2, change).start()
    assert fetch(url, sha256_prefix=sha256(SMALL), progress=False).read_bytes() == SMALL
    assert [exchange.status for exchange in server.exchanges] == [200, 200]
    assert server.exchanges[1].if_range


def test_server_without_ranges(cache: Path, server: CheckpointServer) -> None:
    server.ranges = False
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(cut_at=0.5))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert [exchange.sent for exchange in server.exchanges] == [500_000, 1_000_000]


def test_date_as_validator_where_the_etag_is_weak(cache: Path, server: CheckpointServer) -> None:
    server.weak_etags = True
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(cut_at=0.5))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[1].if_range
    assert server.exchanges[1].if_range.endswith("GMT")
    assert server.exchanges[1].status == 206


def test_no_resuming_without_a_validator(cache: Path, server: CheckpointServer) -> None:
    server.etags = server.dates = False
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(cut_at=0.5))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[1].range is None


@pytest.mark.parametrize(
    "content_range", ["bytes 0-999999/1000000", "bytes 500000-999999/2000000", "bytes */*", "elephants 1-2/3", ""]
)
def test_a_wrong_part_is_not_taken(cache: Path, server: CheckpointServer, content_range: str) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend([Fault(cut_at=0.5), Fault(headers={"Content-Range": content_range})])
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert [exchange.status for exchange in server.exchanges] == [200, 206, 200]


def test_a_part_of_another_version_is_not_taken(cache: Path, server: CheckpointServer) -> None:
    """Some servers know ranges but ignore If-Range."""
    url = server.add(PATH, SMALL)
    server.faults.extend([Fault(cut_at=0.5), Fault(headers={"ETag": '"other"'})])
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert [exchange.status for exchange in server.exchanges] == [200, 206, 200]
