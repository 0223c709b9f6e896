"""Downloads from a real server on this machine, which breaks in all the ways that servers and networks break."""

import errno
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo_core import checkpoints
from zoo_core.checkpoints import download, fetch

from .checkpoint_server import PATH, SMALL, CheckpointServer, Fault, listing, sha256

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def large() -> bytes:
    return random.Random(1).randbytes(100_000_000)


# The figures that the project promises.


def test_eight_processes_cause_one_download(cache: Path, server: CheckpointServer, large: bytes) -> None:
    url = server.add(PATH, large)
    program = (
        "import sys; from zoo_core import checkpoints; print('ready', flush=True); sys.stdin.readline();"
        f"path = checkpoints.fetch({url!r}, sha256_prefix={sha256(large)[:8]!r}); print(path.stat().st_size)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert {out for out, _ in outputs} == {"100000000\n"}
    assert len(server.exchanges) == 1
    assert server.sent == 100_000_000
    assert sum("Waiting for another process" in err for _, err in outputs) == 7
    assert listing(cache) == ["tiny-12345678.pth"]
    assert checkpoints.matches_hash(url, sha256(large))


def test_a_download_cut_at_half_goes_on_there(cache: Path, server: CheckpointServer, large: bytes) -> None:
    url = server.add(PATH, large)
    server.faults.append(Fault(cut_at=0.5))
    path = fetch(url, sha256_prefix=sha256(large), progress=False)
    first, second = server.exchanges
    assert first.sent == 50_000_000
    assert second.status == 206
    assert second.sent <= 0.51 * len(large)
    assert path.read_bytes() == large


def test_a_corrupted_file_is_refused_and_a_second_try_succeeds(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(corrupt_at=0.3))
    with pytest.raises(checkpoints.HashMismatchError, match="should begin with") as caught:
        fetch(url, sha256_prefix=sha256(SMALL)[:8], progress=False)
    assert url in str(caught.value)
    assert listing(cache) == []
    assert fetch(url, sha256_prefix=sha256(SMALL)[:8], progress=False).read_bytes() == SMALL
    assert listing(cache) == ["tiny-12345678.pth"]


# Hashes.


def test_no_check_without_a_prefix_even_if_the_name_seems_to_have_one(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    assert fetch(url, progress=False).read_bytes() == SMALL


def test_no_check_if_not_wanted(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    assert fetch(url, sha256_prefix="00000000", check_hash=False, progress=False).read_bytes() == SMALL


def test_upper_case_prefix(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    assert fetch(url, sha256_prefix=sha256(SMALL).upper(), progress=False).is_file()


def test_a_cached_file_is_taken_without_network(cache: Path, server: CheckpointServer) -> None:
    cache.mkdir(parents=True)
    (cache / "tiny-12345678.pth").write_bytes(b"from torch.hub")
    url = server.add(PATH, SMALL)
    assert fetch(url, sha256_prefix="00000000").read_bytes() == b"from torch.hub"
    assert server.exchanges == []


# What servers answer.


def test_without_content_length(cache: Path, server: CheckpointServer) -> None:
    server.lengths = False
    url = server.add(PATH, SMALL)
    assert fetch(url, sha256_prefix=sha256(SMALL), progress=False).read_bytes() == SMALL


def test_cut_without_content_length_is_found_by_the_hash(cache: Path, server: CheckpointServer) -> None:
    server.lengths = False
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(cut_at=0.5))
    with pytest.raises(checkpoints.HashMismatchError):
        fetch(url, sha256_prefix=sha256(SMALL), progress=False)
    assert not checkpoints.is_cached(url)


@pytest.mark.parametrize("lengths", [True, False])
def test_empty_body(cache: Path, server: CheckpointServer, lengths: bool) -> None:
    server.lengths = lengths
    url = server.add(PATH, b"")
    with pytest.raises(checkpoints.DownloadError, match="empty"):
        fetch(url, progress=False)
    assert listing(cache) == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(cache: Path, server: CheckpointServer, status: int) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend([Fault(status=status), Fault(reset=True), Fault(status=status)])
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert [exchange.status for exchange in server.exchanges] == [status, 0, status, 200]


def test_retry_after_is_honoured(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(status=429, headers={"Retry-After": "1"}))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert 0.9 <= server.exchanges[1].time - server.exchanges[0].time < 5


def test_retry_after_is_bounded(cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_RETRY_AFTER_S", 0.1)
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(status=503, headers={"Retry-After": "86400"}))
    assert fetch(url, progress=False).read_bytes() == SMALL


def test_a_server_that_stays_busy(cache: Path, server: CheckpointServer) -> None:
    url = server.add(PATH, SMALL)
    server.faults.extend(Fault(status=503) for _ in range(50))
    with pytest.raises(checkpoints.DownloadError, match=r"503 .*try again later") as caught:
        fetch(url, progress=False)
    assert url in str(caught.value)
    assert len(server.exchanges) == 6


def test_not_found_is_not_asked_again(cache: Path, server: CheckpointServer) -> None:
    with pytest.raises(checkpoints.CheckpointNotFoundError, match="404") as caught:
        fetch(server.url("/nothing.pth"), progress=False)
    assert server.url("/nothing.pth") in str(caught.value)
    assert len(server.exchanges) == 1
    assert not checkpoints.is_cached(server.url("/nothing.pth"))


def test_forbidden(cache: Path, server: CheckpointServer) -> None:
    server.faults.append(Fault(status=403))
    with pytest.raises(checkpoints.DownloadError, match=r"no permission.*403"):
        fetch(server.add(PATH, SMALL), progress=False)


def test_redirect(cache: Path, server: CheckpointServer) -> None:
    target = server.add("/storage/4711", SMALL)
    server.faults.append(Fault(status=302, headers={"Location": target}))
    path = fetch(server.add(PATH, b""), progress=False)
    assert path.name == "tiny-12345678.pth"
    assert path.read_bytes() == SMALL


def test_stalled_connection_is_given_up_and_resumed(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", (5, 0.3))
    url = server.add(PATH, SMALL)
    server.faults.append(Fault(stall_at=0.5))
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[1].status == 206


# No network.


def test_connection_refused(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/models/x.pth"
    with pytest.raises(checkpoints.DownloadError, match=r"Connection refused.*Check the network") as caught:
        fetch(url, progress=False)
    assert url in str(caught.value)
    assert str(cache / "x.pth") in str(caught.value)


def test_a_mirror_that_is_down_is_named_as_a_suspect(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ZOO_MIRROR", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(checkpoints.DownloadError, match=r"Connection refused.*Check ZOO_MIRROR, the network"):
        fetch("https://download.pytorch.org/models/x.pth", progress=False)


def test_unknown_host(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(checkpoints.DownloadError, match=r"cannot download http://no-such-host\.invalid/x\.pth"):
        fetch("http://no-such-host.invalid/x.pth", progress=False)


# The disk.


def test_too_little_space_is_found_before_the_download(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=999_999))
    url = server.add(PATH, SMALL)
    with pytest.raises(checkpoints.NoSpaceError, match=r"needs 1.0 MB more .* only 1.0 MB are free") as caught:
        fetch(url, progress=False)
    assert "TORCH_HOME" in str(caught.value)


def test_disk_runs_full(cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write

    def write(descriptor: int, content: bytes) -> int:
        if os.fstat(descriptor).st_size > 500_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor, content)

    url = server.add(PATH, SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(checkpoints.NoSpaceError, match="no space left") as caught:
            fetch(url, progress=False)
    assert str(cache / "tiny-12345678.pth") in str(caught.value)
    assert not checkpoints.is_cached(url)
    assert fetch(url, progress=False).read_bytes() == SMALL
    assert server.exchanges[-1].status == 206


def test_a_file_where_the_cache_directory_should_be(cache: Path, server: CheckpointServer) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(checkpoints.CacheWriteError, match="cannot write") as caught:
        fetch(server.add(PATH, SMALL), progress=False)
    assert str(cache) in str(caught.value)
    assert server.exchanges == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_cache(cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    original = os.open

    def refusing(path: os.PathLike[str] | str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(cache)):
            raise OSError(code, os.strerror(code), str(path))
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(checkpoints.CacheWriteError, match=os.strerror(code)):
        fetch(server.add(PATH, SMALL), progress=False)


def test_a_cache_that_may_not_be_looked_into(
    cache: Path, server: CheckpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a container's user is another than that of the home directory."""
    original = os.stat

    def refusing(path: os.PathLike[str] | str, *args: object, **kwargs: object) -> os.stat_result:
        if str(path).startswith(str(cache)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *args, **kwargs)  # type: ignore[arg-type]

    url = server.add(PATH, SMALL)
    monkeypatch.setattr(os, "stat", refusing)
    assert not checkpoints.is_cached(url)
    with pytest.raises(checkpoints.CacheWriteError, match=r"Permission denied.*set TORCH_HOME"):
        fetch(url, progress=False)
    assert server.exchanges == []


# What is shown.


def test_plain_lines_where_stderr_is_no_terminal(
    cache: Path, server: CheckpointServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.add(PATH, SMALL * 10)
    fetch(url)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == f"Downloading {url} to {cache / 'tiny-12345678.pth'}"
    assert lines[1] == "tiny-12345678.pth: 0% (0.0 of 10.0 MB)"
    assert lines[-1] == "tiny-12345678.pth: 100% (10.0 of 10.0 MB)"
    assert 10 <= len(lines) <= 13


def test_plain_lines_of_unknown_size(cache: Path, server: CheckpointServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.lengths = False
    fetch(server.add(PATH, SMALL))
    assert capsys.readouterr().err.splitlines()[1:] == ["tiny-12345678.pth: 0.0 MB"]


def test_bar_on_a_terminal(
    cache: Path, server: CheckpointServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    fetch(server.add(PATH, SMALL))
    err = capsys.readouterr().err
    assert "tiny-12345678.pth" in err
    assert "1.0/1.0 MB" in err


def test_quiet(cache: Path, server: CheckpointServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.faults.append(Fault(cut_at=0.5))
    fetch(server.add(PATH, SMALL), progress=False)
    assert capfd.readouterr() == ("", "")
