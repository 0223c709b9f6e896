"""`zoo evaluate`: the figures, what they are held to, data at fault, and several processes."""

import json
import shutil

import pytest
import torch

from .running import paint, run, zoo

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
    import os
    import subprocess

    from .running import environment

    torchrun = shutil.which("torchrun", path=os.path.dirname(os.sys.executable)) or shutil.which("torchrun")
    command = [os.sys.executable, "-m", "torch.distributed.run"] if torchrun is None else [torchrun]
    words = ["--standalone", "--nproc-per-node", "2", "--no-python", os.sys.executable, "-m", "zoo_core", "evaluate"]
    finished = subprocess.run(
        [*command, *words, "brightnet", str(data), "--json"],
        env=environment(toys.path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout)["metrics"] == {"acc@1": EXPECTED}
