"""What users of the command were left alone with is said clearly: in a process of its own where that is the point."""

import os
import re
import subprocess
import sys

import pytest

from zoo_core.engines import choose_device

from .running import environment, run, zoo

NO_NUMPY = "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n"


@pytest.fixture
def without_numpy(toys, tmp_path):
    """The variables of a process in which NumPy is not installed."""
    folder = tmp_path / "lacking"
    folder.mkdir()
    (folder / "numpy.py").write_text(NO_NUMPY)
    variables = environment(toys.path)
    return variables | {"PYTHONPATH": f"{folder}{os.pathsep}{variables['PYTHONPATH']}"}


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "zoo_core", "predict", "brightnet", "night.png"],
        ["-c", "import zoo_core, torch"],
        ["-c", "from zoo_core import get_model; get_model('brightnet', weights='DEFAULT')"],
        ["-W", "error", "-c", "import zoo_core.images"],
    ],
    ids=lambda words: words[-1],
)
def test_nobody_hears_of_numpy(pictures, without_numpy, words):
    process = subprocess.run([sys.executable, *words], env=without_numpy, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")


def test_the_warning_is_there_to_be_held_back(without_numpy):
    process = subprocess.run([sys.executable, "-c", "import torch"], env=without_numpy, capture_output=True, text=True)
    assert "Failed to initialize NumPy" in process.stderr


def test_as_a_module(toys):
    process = subprocess.run(
        [sys.executable, "-m", "zoo_core", "--version"], env=environment(toys.path), capture_output=True, text=True
    )
    assert process.returncode == 0
    assert re.match(r"zoo \d+\.\d+\.\d+\n(zoo-\w+ .*\n)*toyzoo 1\.2\n", process.stdout)


def test_a_device_that_is_not_there(toys, pictures):
    process = run(toys.path, "predict", "brightnet", "night.png", "--device", "gpu")
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: the device 'gpu' cannot be used here \(torch has no device of that name\); there is --device cpu.*\n",
        process.stderr,
    )


def test_devices_are_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    with pytest.raises(ValueError, match=r"there is --device cpu or cuda:0 \(Card 0\) or cuda:1 \(Card 1\)$"):
        choose_device("cuda:9")
    with pytest.raises(ValueError, match=r"there is --device cpu$"):
        choose_device("cuda:9", {"cpu"})


def test_tasks_may_be_repeated(many, capsys):
    def names(*words, expect=0):
        zoo("list", *words, expect=expect)
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]

    flow, both = names("--task", "flow"), names("--task", "flow", "--task", "Classification", "--task", "flow")
    assert flow == ["blurred", "sharp"]
    assert sorted(both) == ["big", "blank", "blurred", "odd", "sharp", "wise"]
    zoo("list", "--task", "flow", "--task", "nothing", expect=1)
    assert "unknown task 'nothing'; there are classification, flow" in capsys.readouterr().err
    zoo("list", "no_such_model*", "--task", "flow", expect=1)
    capsys.readouterr()
    zoo("list", "big", "--task", "flow", expect=1)
    assert "no model of the task flow matches big" in capsys.readouterr().err
    zoo("predict", "x.png", "--task", "flow", "--task", "classification", expect=2)
    assert "a call does one task, and --task names flow and classification" in capsys.readouterr().err


def test_tasks_of_other_commands_may_be_repeated(toys, pictures, capsys):
    zoo("predict", "night.png", "--task", "TOYS")
    assert capsys.readouterr().out == "night.png\n  dark\n"
    zoo("download", "--task", "toys", "--task", "toys")
    assert toys.embedded.name in capsys.readouterr().out


@pytest.mark.parametrize("name", ["hand_v1", "Hand_V1", "brightnet_weights.hand_v1", "default"])
def test_names_of_weights_in_any_letter_case(toys, pictures, capsys, name):
    zoo("predict", "BrightNet", "night.png", "--weights", name, "--json")
    assert '"weights": "HAND_V1"' in capsys.readouterr().out
    zoo("info", "brightnet", "--weights", name)
    zoo("download", "brightnet", "--weights", name)


def test_an_option_of_another_task(toys, pictures, capsys):
    (toys.root / "other.toml").write_text(
        'title = "Counting sheep"\nimages = 1\nfiles = ["image"]\nexamples = "x.png"\n'
        '[options.sheep]\ntype = "int"\nhelp = "How many there may be."\n'
    )
    info = toys.path / "toyzoo-1.2.dist-info" / "entry_points.txt"
    info.write_text(info.read_text() + "counting = toyzoo.other:Task\n")
    process = run(toys.path, "predict", "brightnet", "night.png", "--sheep", "3")
    assert process.returncode == 2
    assert process.stderr == (
        "error: No such option: --sheep for brightnet, a model of the task toys; it is one of counting sheep "
        "(see `zoo predict brightnet --help`)\n"
    )
