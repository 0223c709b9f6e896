"""The tab key: what click's protocol answers to bash, zsh and fish, and what a real bash makes of it."""

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time

import pytest

from zoo_core import catalog, declarations
from zoo_core.cli import main

from .running import environment


@pytest.fixture
def answer(toys, monkeypatch, capsys):
    """What the command tells a shell about the last word of a line, as the script asks that the shell has from us."""

    def ask(shell, *words):
        with monkeypatch.context() as asked:
            asked.setenv("_ZOO_COMPLETE", f"{shell}_complete")
            asked.setenv("COMP_WORDS", " ".join(["zoo", *words]))
            asked.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words)))
            assert main([]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return ask


@pytest.fixture
def names(answer):
    return lambda *words: [line.partition(",")[2] for line in answer("bash", *words).splitlines()]


def test_models_weights_tasks_and_options(names):
    assert names("pre") == ["predict"]
    assert names("predict", "bright") == ["brightnet"]
    assert names("info", "BRIGHT") == ["brightnet"]
    assert names("download", "brightnet", "bri") == ["brightnet"]
    assert names("predict", "brightnet", "--weights", "") == ["FILE_V1", "HAND_V1", "REMOTE_V1", "DEFAULT"]
    assert names("info", "brightnet", "--weights", "H") == ["HAND_V1"]
    assert names("download", "brightnet", "--weights", "A") == ["ALL"]
    assert names("list", "--task", "to") == ["toys"]
    assert names("list", "--sort", "p") == ["params"]
    assert names("predict", "brightnet", "--le") == ["--level"]
    assert "--level" not in names("predict", "--")
    assert {"--output", "--weights"} <= set(names("predict", "--"))


def test_files_follow_the_model(answer):
    assert answer("bash", "predict", "brightnet", "bright").splitlines() == ["file,bright"]
    assert answer("bash", "predict", "no_model_begins_so").splitlines() == ["file,no_model_begins_so"]


def test_zsh_and_fish_get_explanations(answer):
    assert answer("zsh", "predict", "bright").splitlines() == ["plain", "brightnet", "toys"]
    assert re.fullmatch(r"plain,brightnet\ttoys\n", answer("fish", "predict", "bright"))
    assert "From which probability on" in answer("zsh", "predict", "brightnet", "--lev")


def test_a_broken_catalogue_writes_nothing_into_the_line(toys, names):
    (toys.root / "catalog" / "broken.toml").write_text("[x]\nbuilder = 1")
    (toys.root / "adapter.toml").write_text("title = 3")
    catalog.clear_cache()
    declarations.clear_cache()
    assert names("predict", "bright") == ["brightnet"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_the_shells(monkeypatch, capsys, shell):
    monkeypatch.setenv("_ZOO_COMPLETE", f"{shell}_source")
    assert main([]) == 0
    assert f"_ZOO_COMPLETE={shell}_complete" in capsys.readouterr().out


# How each shell is started without the files of this user, and what it is told then.
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(_ZOO_COMPLETE=bash_source zoo)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(_ZOO_COMPLETE=zsh_source zoo)"'),
    "fish": (["--no-config", "-i"], "_ZOO_COMPLETE=fish_source zoo | source"),
}


@pytest.mark.parametrize("name", [name for name in SHELLS if shutil.which(name)])
def test_in_a_real_shell(toys, tmp_path, name):
    """A user types the beginning of a model's name and of its weights' name, and presses the tab key."""
    arguments, begin = SHELLS[name]
    program = tmp_path / "bin" / "zoo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoo_core.cli "$@"\n')
    program.chmod(0o755)
    leader, follower = pty.openpty()
    variables = environment(toys.path, PS1="$ ", TERM="dumb", INPUTRC="/dev/null", HISTFILE="", HOME=str(tmp_path))
    variables["PATH"] = f"{program.parent}{os.pathsep}{variables['PATH']}"
    shell = subprocess.Popen(
        [name, *arguments],
        env=variables,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,  # an interactive shell wants a terminal that it controls
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(follower)
    seen = ""

    def expect(text):
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen and time.monotonic() < deadline:
            if select.select([leader], [], [], 0.1)[0]:
                seen += os.read(leader, 4096).decode()
        assert text in seen, seen
        seen = seen.partition(text)[2]

    try:
        os.write(leader, f"{begin}; echo rea''dy\n".encode())
        expect("ready\r\n")
        os.write(leader, b"zoo predict bri\t")
        expect("brightnet ")
        os.write(leader, b"--weights HA\t")
        expect("HAND_V1 ")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)
