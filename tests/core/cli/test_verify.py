"""``zoo verify``."""

import json
import shutil

from .running import zoo


def test_verify(toys, cache, capsys):
    zoo("verify")
    capsys.readouterr()
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    (cache / "stranger.bin").write_text("whatever")
    (cache / "half.pth.partial").write_text("whatever")
    zoo("verify")
    lines = capsys.readouterr().out.splitlines()
    assert f"ok             {cache / toys.remote}  (brightnet REMOTE_V1)" in lines
    assert f"unknown file   {cache / 'stranger.bin'}" in lines
    assert f"ok             {toys.embedded}  (brightnet HAND_V1)" in lines
    assert f"no hash known  {toys.file}  (brightnet FILE_V1)" in lines
    assert not any("partial" in line for line in lines)


def test_verify_finds_damage_and_removes_it(toys, cache, capsys):
    cache.mkdir(parents=True)
    content = bytearray(toys.file.read_bytes())
    content[len(content) // 2] ^= 1
    (cache / toys.remote).write_bytes(content)
    zoo("verify", expect=1)
    printed = capsys.readouterr()
    assert f"DAMAGED        {cache / toys.remote}  (brightnet REMOTE_V1)" in printed.out
    assert "`zoo verify --remove` deletes" in printed.err

    toys.embedded.write_bytes(content)
    zoo("verify", "--remove", "--json", expect=1)
    printed = capsys.readouterr()
    outcome = {entry["path"]: entry for entry in json.loads(printed.out)}
    assert outcome[str(cache / toys.remote)] == {
        "path": str(cache / toys.remote),
        "state": "damaged",
        "removed": True,
    }
    assert outcome[str(toys.embedded)]["removed"] is False
    assert f"left alone: {toys.embedded}; reinstall" in printed.err
    assert not (cache / toys.remote).exists()
    assert toys.embedded.exists(), "a package's own file is not ours to delete"
