"""`zoo evaluate`: the figures, what they are held to, data at fault, and several processes."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from .running import environment, paint, run, zoo

COUNT = 101
# Those whose number is divisible by 7 lie in the wrong folder: 15 of them.
EXPECTED = 100 * (COUNT - 15) / COUNT


@pytest.fixture
def data(tmp_path):
    for number in range(COUNT):
        bright = number % 3 == 0
        label = "bright" if bright != (number % 7 == 0) else "dark"
        paint(tmp_path / "data" / "val" / label / f"{number:03d}.png", 255 * bright)
    return tmp_path / "data"


def test_the_figures_as_a_table_and_as_json(toys, data, capsys):
    zoo("evaluate", "brightnet", str(data))
    out, err = capsys.readouterr()
    assert out.split() == ["metric", "here", "acc@1", f"{EXPECTED:.3f}"]
    assert "over 101 samples" in err
    zoo("evaluate", "BrightNet", str(data), "--json", "--limit", "50")
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["weights"], found["samples"], found["bad"]) == ("brightnet", "HAND_V1", 50, [])


def test_an_expectation_decides_the_exit_code(toys, data, capsys):
    zoo("evaluate", "brightnet", str(data), "--expect", f"acc@1={EXPECTED + 0.05:.3f}")
    zoo("evaluate", "brightnet", str(data), "--expect", "acc@1=87.5", "--within", "0.1", expect=1)
    assert "acc@1 is 85.149, which is not within 0.1 of 87.5" in capsys.readouterr().err
    zoo("evaluate", "brightnet", str(data), "--expect", "box_map=1", expect=2)
    assert "no such metric; there are acc@1" in capsys.readouterr().err
    for wrong in ("acc@1", "acc@1=high", "=3", "acc@1=nan"):
        zoo("evaluate", "brightnet", str(data), "--expect", wrong, expect=2)
        assert "write it as in acc@1=80.858" in capsys.readouterr().err


def test_one_bad_file_does_not_lose_the_others(toys, data, capsys):
    (data / "val" / "dark" / "broken.png").write_bytes(b"no image")
    zoo("evaluate", "brightnet", str(data), expect=1)
    out, err = capsys.readouterr()
    assert f"{EXPECTED:.3f}" in out
    assert "error:" in err
    assert "broken.png" in err
    zoo("evaluate", "brightnet", str(data), "--skip-bad")
    out, err = capsys.readouterr()
    assert f"{EXPECTED:.3f}" in out
    assert "over 101 samples, 1 sample left out" in err


def test_checking_lists_all_faults_and_runs_no_model(toys, data, capsys):
    zoo("evaluate", "brightnet", str(data), "--check-data")
    assert "101 samples, 0 faults" in capsys.readouterr().err
    for name in ("a.png", "b.png"):
        (data / "val" / "dark" / name).write_bytes(b"no image")
    zoo("evaluate", "brightnet", str(data), "--check-data", expect=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "a.png" in err
    assert "b.png" in err
    assert "103 samples, 2 faults" in err


def test_classes_that_the_model_does_not_know_list_both_sides(toys, data, capsys):
    (data / "val" / "dark").rename(data / "val" / "darc")
    zoo("evaluate", "brightnet", str(data), expect=1)
    assert "does not know: darc; labels of the model that are not here: dark; is 'darc'" in capsys.readouterr().err


def test_own_parameters_and_labels(toys, data, tmp_path, capsys):
    from zoo_core import get_model

    torch.save({"model": get_model("brightnet", weights="DEFAULT").state_dict()}, tmp_path / "mine.pth")
    zoo("evaluate", "brightnet", str(data), "--checkpoint", str(tmp_path / "mine.pth"))
    assert f"{EXPECTED:.3f}" in capsys.readouterr().out
    (data / "val" / "dark").rename(data / "val" / "night")
    (data / "val" / "bright").rename(data / "val" / "day")
    (tmp_path / "labels.txt").write_text("night\nday\n")
    zoo("evaluate", "brightnet", str(data), "--labels", str(tmp_path / "labels.txt"))
    assert f"{EXPECTED:.3f}" in capsys.readouterr().out
    zoo("evaluate", "brightnet", str(data), "--weights", "HAND_V1", "--checkpoint", "x.pth", expect=2)
    assert "--weights or --checkpoint, not both" in capsys.readouterr().err


def test_help_has_the_options_of_the_task_and_of_torchrun(toys, capsys):
    zoo("evaluate", "brightnet", "--help")
    out = capsys.readouterr().out
    assert "Options of telling day from night" in out
    assert "--nproc-per-node" in out
    zoo("evaluate", "brightnet", "x", "--nproc", "2", expect=2)
    assert "No such option" in capsys.readouterr().err


def evaluate_in_processes(toys, data, count, **variables):
    return run(toys.path, "evaluate", "brightnet", str(data), "--nproc-per-node", str(count), "--json", **variables)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_processes_gives_the_same_figure(toys, data, count):
    finished = evaluate_in_processes(toys, data, count)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["metrics"] == {"acc@1": EXPECTED}
    assert found["samples"] == COUNT


def test_a_process_that_is_killed_ends_the_run_with_one_message(toys, data, monkeypatch):
    monkeypatch.setenv("TOY_KILLED_RANK", "1")
    finished = evaluate_in_processes(toys, data, 2, timeout=60)
    assert finished.returncode == 128 + 9
    assert finished.stdout == ""
    assert finished.stderr.count("error:") == 1
    assert "process 1 was ended by SIGKILL; the others were stopped" in finished.stderr


def test_data_at_fault_is_said_once_by_several_processes(toys, tmp_path):
    finished = evaluate_in_processes(toys, tmp_path / "nowhere", 2)
    assert finished.returncode == 1
    assert finished.stderr.count("no such folder") == 1


def test_torchrun_starts_it_too(toys, data):
    torchrun = shutil.which("torchrun", path=os.path.dirname(sys.executable)) or shutil.which("torchrun")
    command = [sys.executable, "-m", "torch.distributed.run"] if torchrun is None else [torchrun]
    words = ["--standalone", "--nproc-per-node", "2", "--no-python", sys.executable, "-m", "zoo_core", "evaluate"]
    finished = subprocess.run(
        [*command, *words, "brightnet", str(data), "--json"],
        env=environment(toys.path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout)["metrics"] == {"acc@1": EXPECTED}


def killed_at_a_random_moment(toys, tmp_path, words):
    """Runs the command until a random number of samples is there, and kills one of its processes."""
    pids = tmp_path / "pids"
    pids.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core.cli", *words],
        env=environment(toys.path, TOY_SECONDS="0.05", TOY_PIDS=str(pids)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wanted = random.randint(1, 80)
    while sum(file.read_bytes().count(b"\n") for file in tmp_path.glob("r*.jsonl")) < wanted and process.poll() is None:
        time.sleep(0.005)
    os.kill(int(random.choice(list(pids.iterdir())).read_text()), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert out == ""
    return err


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1)])
def test_an_evaluation_that_was_killed_goes_on_to_the_same_figure(toys, data, tmp_path, before, after):
    results = tmp_path / "r.jsonl"
    words = ["evaluate", "brightnet", str(data), "--batch-size", "4", "--json", "--results", str(results)]
    err = killed_at_a_random_moment(
        toys, tmp_path, [*words, *(["--nproc-per-node", str(before)] if before > 1 else [])]
    )
    if before > 1:
        assert err.count("was ended by SIGKILL; the others were stopped") == 1
    finished = run(toys.path, *words, "--resume", *(["--nproc-per-node", str(after)] if after > 1 else []))
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["metrics"] == {"acc@1": EXPECTED}
    kept = [json.loads(line)["sample"] for line in results.read_text().splitlines()]
    assert kept == sorted(set(kept))
    assert len(kept) == COUNT
    assert not list(tmp_path.glob("*part*"))


def test_resuming_needs_a_file(toys, data, capsys):
    zoo("evaluate", "brightnet", str(data), "--resume", expect=2)
    assert "name it with --results" in capsys.readouterr().err


def test_a_file_of_results_that_is_there_is_said_once_by_several_processes(toys, data, tmp_path):
    results = tmp_path / "r.jsonl"
    zoo("evaluate", "brightnet", str(data), "--results", str(results))
    content = results.read_bytes()
    finished = run(toys.path, "evaluate", "brightnet", str(data), "--results", str(results), "--nproc-per-node", "2")
    assert finished.returncode == 1
    assert finished.stderr.count("error:") == 1
    assert "is there already: --resume goes on with it" in finished.stderr
    assert results.read_bytes() == content


def test_running_figures_are_shown_in_a_terminal(toys, data, monkeypatch):
    from zoo_core.cli import evaluate

    shown = []
    advance = contextlib.nullcontext(lambda steps, figures="": shown.append(figures))
    monkeypatch.setattr(evaluate.output, "progress", lambda *_: advance)
    monkeypatch.setattr(sys, "stderr", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    zoo("evaluate", "brightnet", str(data))
    assert len(shown) == COUNT
    assert shown[0] == "acc@1 100.0"
    assert shown.count("") > COUNT / 2  # seldom, since it takes time


def test_what_a_data_set_lacks_is_listed_and_can_be_skipped(toys, data, capsys):
    for path in (data / "val" / "bright").iterdir():
        path.unlink()
    (data / "val" / "dark" / "broken.png").write_bytes(b"no image")
    zoo("evaluate", "brightnet", str(data), "--check-data", expect=1)
    err = capsys.readouterr().err
    assert "bright: no file of this class ends in" in err
    assert "broken.png" in err
    assert "2 faults" in err
    zoo("evaluate", "brightnet", str(data), expect=1)
    assert capsys.readouterr().out == ""
    zoo("evaluate", "brightnet", str(data), "--skip-bad")
    out, err = capsys.readouterr()
    assert "acc@1" in out
    assert "2 samples left out" in err
    zoo("evaluate", "brightnet", str(data / "nowhere"), "--check-data", expect=1)
    assert capsys.readouterr().err.count("no such folder") == 1
