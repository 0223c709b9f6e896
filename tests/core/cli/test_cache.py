"""``zoo cache``."""

import json
import os
import pty
import re
import subprocess
import sys

from .running import environment, run, zoo


def test_cache(filled, toys, capsys):
    zoo("cache")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{re.escape(str(filled))}: 2 files, \d\.\d KiB", lines[0])
    assert re.fullmatch(rf"{toys.remote} +\d\.\d KiB  \d{{4}}-\d\d-\d\d \d\d:\d\d  brightnet REMOTE_V1", lines[3])
    assert re.fullmatch(r"stranger\.bin +2\.0 KiB  .*  \(unknown\)", lines[4])
    zoo("cache", "str*", "--json")
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["path"], entry["bytes"], entry["model"]) == (str(filled / "stranger.bin"), 2048, None)


def test_an_empty_cache(toys, capsys, cache):
    zoo("cache")
    assert capsys.readouterr().out == f"{cache}: 0 files, 0 B\n"
    zoo("cache", "--clear", "--yes")
    assert "nothing to delete" in capsys.readouterr().err


def test_clearing_the_cache(filled, toys, capsys):
    zoo("cache", "--clear", "--yes")
    assert "deleted 1 file," in capsys.readouterr().err
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"], "what others keep there is not ours to delete"
    zoo("cache", "--clear", "--yes", "--unknown")
    assert list(filled.iterdir()) == []


def test_clearing_removes_the_rest_of_broken_off_downloads(filled, toys, capsys):
    (filled / toys.remote).rename(filled / f"{toys.remote}.partial")
    zoo("cache", "--clear", "--yes")
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"]


def test_parts_of_files_are_shown_and_deleted_only_when_asked(filled, toys, capsys):
    (filled / toys.remote).rename(filled / f"{toys.remote}.partial")
    (filled / f"{toys.remote}.partial.json").write_text("{}")
    (filled / f"{toys.remote}.lock").touch()
    zoo("cache")
    lines = capsys.readouterr().out.splitlines()
    assert ": 2 files, " in lines[0]
    assert re.fullmatch(rf"{toys.remote}\.partial +\d\.\d KiB .*  brightnet REMOTE_V1 \(a part of it\)", lines[3])
    zoo("cache", toys.remote, "--json")
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["model"], entry["weights"], entry["complete"]) == ("brightnet", "REMOTE_V1", False)
    process = run(toys.path, "cache", "--clear", stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert "1 file would be deleted" in process.stderr
    zoo("cache", "bright*", "--clear", "--yes")
    assert "deleted 1 file," in capsys.readouterr().err
    assert [path.name for path in filled.iterdir()] == ["stranger.bin"]


def test_clearing_some_files(filled, toys, capsys):
    zoo("cache", "stranger*", "--clear", "--yes")
    assert [path.name for path in filled.iterdir()] == [toys.remote]


def test_clearing_asks(filled, toys):
    process = run(toys.path, "cache", "--clear", stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert (
        process.stderr == "error: 1 file would be deleted, and nobody is there to ask; --yes deletes without asking\n"
    )
    for answer, code, left in (("n", 1, 2), ("y", 0, 1)):
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "zoo_core.cli", "cache", "--clear"],
            env=environment(toys.path),
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process_:
            os.write(leader, f"{answer}\n".encode())
            _, error = process_.communicate(timeout=60)
            assert process_.returncode == code, error
        os.close(follower)
        os.close(leader)
        assert "Delete 1 file (" in error
        assert len(list(filled.iterdir())) == left
