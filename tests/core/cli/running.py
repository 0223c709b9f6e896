"""Runs the command, in this process or in one of its own."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from PIL import Image

from zoo_core import catalog
from zoo_core.cli import main


def paint(path: Path, level: int, size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def zoo(*words: str, expect: int = 0) -> None:
    assert main(words) == expect


def environment(path: Path, **variables: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])} | variables


def run(path: Path, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, with the packages in ``path`` installed."""
    command = [sys.executable, "-m", "zoo_core.cli", *words]
    return subprocess.run(command, env=environment(path), capture_output=True, text=True, **options)  # type: ignore


def in_terminal(path: Path, columns: int, *words: str, **variables: str) -> str:
    """What the command prints where stdout is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", *words],
        env=environment(path, COLUMNS=str(columns), TERM="xterm", **variables),
        stdin=follower,
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    text = read_terminal(leader)
    process.wait()
    return text


def read_terminal(leader: int) -> str:
    content = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        content += piece
    os.close(leader)
    return content.decode().replace("\r\n", "\n")


def write_models(folder: Path, task: str, models: dict[str, str]) -> None:
    """A catalogue of models whose checkpoint has the given lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "many.toml").write_text(
        "".join(
            f'[{name}]\nbuilder = "x.many:{name}"\nweights = "{name}_Weights"\ndefault = "V1"\n'
            f'[{name}.checkpoints.V1]\nurl = "https://x.org/{name}.pth"\n'
            f'transforms = {{ preset = "OpticalFlow" }}\n{lines}\n'
            for name, lines in models.items()
        )
    )
    catalog.add_source(task, "x", folder)
