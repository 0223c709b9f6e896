"""`zoo train` in processes of its own: killed, interrupted, without room on the disk, two that train together."""

import json
import re
import resource
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from support import toy_training
from support.toy_training import command
from zoo_core.checkpoints import read_content
from zoo_core.cli import main
from zoo_core.training import Outcome, train
from zoo_core.training.loop import NonFiniteLossError

WORDS = ("train", "dimnet", "data", "--from-scratch", "--recipe", "finetune", "--workers", "0")


def run(toys, folder: Path, *words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*WORDS, *words),
        cwd=folder,
        env=toy_training.environment(toys, **variables),
        capture_output=True,
        text=True,
        timeout=300,
    )


def begin(folder: Path, output: str, **options: object) -> Outcome:
    """The same in this process."""
    return train(
        *("dimnet", folder / "data"),
        recipe="finetune",
        from_scratch=True,
        output=folder / output,
        workers=0,
        **options,
    )


def parameters(path: Path) -> dict[str, torch.Tensor]:
    training = read_content(path)["training"]
    return dict(training["model"]) | dict(training["parts"]["averaged"])


def is_same(first: Path, second: Path) -> bool:
    one, other = parameters(first), parameters(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_run_goes_on_bit_for_bit(toys, data, tmp_path):
    """Killed in the middle of an epoch; the reference ran in this process."""
    begin(tmp_path, "whole")
    finished = run(toys, tmp_path, "--resume", "--save-every", "2", TOY_KILL=f"0:9:{tmp_path / 'killed'}")
    assert finished.returncode == -signal.SIGKILL
    (tmp_path / "run" / ".last.pth.partial").write_bytes(b"what a process has left that died while it wrote")
    begin(tmp_path, "run", resume=True)
    assert not (tmp_path / "run" / ".last.pth.partial").exists()
    assert is_same(tmp_path / "run" / "last.pth", tmp_path / "whole" / "last.pth")
    assert (tmp_path / "run" / "best.pth").stat().st_size == (tmp_path / "whole" / "best.pth").stat().st_size


def test_ctrl_c_saves_and_says_how_to_go_on(toys, data, tmp_path, monkeypatch, capsys):
    """The line that it prints is run as it is, and ends with what an uninterrupted run ends with."""
    begin(tmp_path, "whole")
    marker = tmp_path / "in the seventh step"
    process = subprocess.Popen(
        command(*WORDS, "--output", "a run"),
        cwd=tmp_path,
        env=toy_training.environment(toys, TOY_PAUSE=f"7:{marker}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not marker.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    marker.unlink()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    found = re.search(r"stopped after step (\d+) of 15, which is saved; go on with: zoo (.*)", err)
    assert found
    assert int(found[1]) == 7
    words = shlex.split(found[2])
    assert words[-3:] == ["--output", "a run", "--resume"]
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert f"goes on after step {found[1]} of 15" in capsys.readouterr().err
    assert is_same(tmp_path / "a run" / "last.pth", tmp_path / "whole" / "last.pth")


def test_a_full_disk_keeps_the_last_good_file(toys, data, tmp_path, monkeypatch):
    begin(tmp_path, "whole")
    monkeypatch.setenv("TOY_NAN", "9")
    with pytest.raises(NonFiniteLossError):
        begin(tmp_path, "run")
    monkeypatch.delenv("TOY_NAN")
    last = tmp_path / "run" / "last.pth"
    before = last.read_bytes()
    finished = subprocess.run(
        command(*WORDS, "--resume"),
        cwd=tmp_path,
        env=toy_training.environment(toys),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1000,) * 2),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("error:")]
    assert re.search(r"last\.pth: cannot be saved \(File too large\); the one saved before is as it was", line)
    assert last.read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))
    begin(tmp_path, "run", resume=True)
    assert is_same(last, tmp_path / "whole" / "last.pth")


def test_two_processes_train_as_one_does_with_twice_the_batch(toys, data, tmp_path, monkeypatch):
    """In float64, without batch norm and dropout; one of the two is killed, and torchrun starts both anew."""
    monkeypatch.setenv("TOY_PLAIN", "1")
    begin(tmp_path, "one", settings={"batch_size": 8})
    words = ("--nproc-per-node", "2", "--max-restarts", "1", "--batch-size", "4", "--save-every", "1", "--json")
    finished = run(toys, tmp_path, *words, TOY_KILL=f"1:4:{tmp_path / 'killed'}")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "killed").exists()
    assert re.search(r"goes on after step [123] of 6", finished.stderr)
    assert json.loads(finished.stdout)["steps"] == 6
    assert finished.stderr.count("epoch 3/3") == 1
    one, other = parameters(tmp_path / "one" / "last.pth"), parameters(tmp_path / "run" / "last.pth")
    assert one["fc.weight"].dtype == torch.float64
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("plain", "processes", "settings"),
    [
        ("1", 4, {"batch_size": 2}),
        ("1", 2, {"batch_size": 2, "grad_accum_steps": 2}),
        ("norm", 2, {"batch_size": 4, "sync_bn": True}),
    ],
    ids=["4", "accumulated", "synchronised batch norm"],
)
def test_gradients_do_not_depend_on_the_number_of_processes(
    toys, data, tmp_path, monkeypatch, plain, processes, settings
):
    """Those of each step, in each process, beside those of one process with the whole batch; in float64."""
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    monkeypatch.setenv("TOY_PLAIN", plain)
    with monkeypatch.context() as context:
        context.setenv("TOY_GRADIENTS", str(tmp_path / "one"))
        begin(tmp_path, "one", settings={"batch_size": 8, "epochs": 2})
    words = ["--nproc-per-node", processes, "--epochs", "2", "--output", "several"]
    words += [f"--set={key}={str(value).lower()}" for key, value in settings.items()]
    finished = run(toys, tmp_path, *words, TOY_GRADIENTS=str(tmp_path / "several"))
    assert finished.returncode == 0, finished.stderr
    expected = torch.load(tmp_path / "one" / "0.pt")
    assert len(expected) == 4
    for rank in range(processes):
        found = torch.load(tmp_path / "several" / f"{rank}.pt")
        for one, other in zip(expected, found, strict=True):
            for name, value in one.items():
                assert value.dtype == torch.float64
                assert value.any()
                torch.testing.assert_close(other[name], value, rtol=1e-10, atol=1e-13)
    one, several = (read_content(tmp_path / name / "best.pth")["model"] for name in ("one", "several"))
    for name, value in one.items():
        torch.testing.assert_close(several[name], value, rtol=1e-6, atol=1e-9)


def test_a_fault_in_one_of_two_processes_is_said_once(toys, data, tmp_path):
    (data / "train" / "bright" / "3.png").write_bytes(b"no image")
    finished = run(toys, tmp_path, "--nproc-per-node", "2")
    assert finished.returncode == 1
    assert [line for line in finished.stderr.splitlines() if line.startswith("error:")] == [
        "error: data/train/bright/3.png: not an image, damaged, or of a format that is not decoded here"
    ]


def test_the_command_checks_data(toys, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (data / "train" / "bright" / "3.png").write_bytes(b"no image")
    (data / "val" / "dark" / "3.png").write_bytes(b"no image")
    assert main([*WORDS, "--check-data"]) == 1
    err = capsys.readouterr().err
    assert err.count("3.png") == 2
    assert "30 samples, 2 faults" in err
    assert not (tmp_path / "run").exists()
