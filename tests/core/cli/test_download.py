"""``zoo download``."""

import signal
import subprocess
import sys
import time

from support import toy_package

from ..checkpoint_server import CheckpointServer, Fault
from .running import environment, zoo


def test_download(tmp_path, cache, capsys):
    with CheckpointServer() as server:
        package = toy_package.write(tmp_path / "site", host=server.url("").rstrip("/"))
        server.files[f"/models/{package.remote}"] = package.file.read_bytes()
        with toy_package.installed(package.path):
            for requests in (1, 1):  # the second time it is there already
                zoo("download", "brightnet", "--weights", "REMOTE_V1")
                assert capsys.readouterr().out == f"{cache / package.remote}\n"
                assert (cache / package.remote).read_bytes() == package.file.read_bytes()
                assert len(server.exchanges) == requests

            zoo("download", "bright*", "--weights", "ALL")
            printed = capsys.readouterr()
            assert printed.out.splitlines() == [
                str(package.embedded),
                str(package.file),
                str(cache / package.remote),
            ]
            assert "3 files, 0 of them to download: 0 B" in printed.err


def test_a_download_that_fails_does_not_stop_the_others(many, cache, capsys, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("ZOO_MIRROR", str(mirror))
    for name in ("wise", "sharp"):
        (mirror / f"{name}.pth").write_text(name)
    zoo("download", "--all", expect=1)
    printed = capsys.readouterr()
    assert sorted(printed.out.splitlines()) == [str(cache / "sharp.pth"), str(cache / "wise.pth")]
    assert printed.err.splitlines()[-1] == "error: 4 of 6 files could not be had"
    assert printed.err.count("error: ") == 5
    zoo("download", "--task", "classification", expect=1)
    assert capsys.readouterr().out == f"{cache / 'wise.pth'}\n"


def test_interrupted_in_a_download(tmp_path, cache):
    with CheckpointServer() as server:
        package = toy_package.write(tmp_path / "site", host=server.url("").rstrip("/"))
        server.files[f"/models/{package.remote}"] = package.file.read_bytes()
        server.faults.append(Fault(stall_at=0.5))
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo_core.cli", "download", "brightnet", "--weights", "REMOTE_V1"],
            env=environment(package.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has them ignore interrupts, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        deadline = time.monotonic() + 60
        while not server.exchanges and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        server.go_on.set()
        assert process.returncode == 130
        assert error.splitlines()[-1] == "interrupted"
        assert "Traceback" not in error
        assert out == ""
        assert not (cache / package.remote).exists()
