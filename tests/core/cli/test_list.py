"""``zoo list``."""

import json
import shutil

import pytest

from zoo_core.cli import facts

from .running import zoo


def test_list_as_json(toys, capsys):
    zoo("list", "bright", "--json")
    (model,) = json.loads(capsys.readouterr().out)
    assert (model["name"], model["task"], model["package"], model["default"]) == (
        "brightnet",
        "toys",
        "toyzoo",
        "HAND_V1",
    )
    assert model["metrics"] == {"Toys": {"acc@1": 87.5, "acc@5": 100.0}}
    assert (model["num_params"], model["gflops"], model["file_size_mb"]) == (8, 0.25, 0.5)
    assert [(w["name"], w["available"]) for w in model["weights"]] == [
        ("HAND_V1", "embedded"),
        ("FILE_V1", "local"),
        ("REMOTE_V1", None),
    ]
    assert model["weights"][1]["metrics"] == {"Toys": {"acc@1": None}}, "JSON has no NaN"
    zoo("list", "no_such_model", "--json", expect=1)
    assert json.loads(capsys.readouterr().out) == []


def test_list_marks_what_is_cached(toys, cache, capsys):
    cache.mkdir(parents=True)
    shutil.copy(toys.file, cache / toys.remote)
    zoo("list", "brightnet")
    assert "HAND_V1 (embedded), FILE_V1 (local), REMOTE_V1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["big", "blank", "odd", "wise", "blurred", "sharp"]),
        ("acc", ["wise", "big", "blank", "odd", "sharp", "blurred"]),  # of flow, the smaller error is the better
        ("params", ["sharp", "blurred", "wise", "odd", "big", "blank"]),
        ("gflops", ["big", "wise", "blank", "blurred", "odd", "sharp"]),
        ("size", ["big", "wise", "blank", "blurred", "odd", "sharp"]),
    ],
)
def test_order(many, capsys, sort, expected):
    zoo("list", "--sort", sort, "--json")
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == expected


def test_selection(many, capsys):
    def listed(*words: str) -> list[str]:
        zoo("list", "--json", *words)
        return [model["name"] for model in json.loads(capsys.readouterr().out)]

    assert listed("b") == ["big", "blank", "blurred"]  # a part of the name
    assert listed("b*k") == ["blank"]  # a pattern of the whole name
    assert listed("WISE", "sharp") == ["wise", "sharp"]
    assert listed("--task", "flow") == ["blurred", "sharp"]
    assert listed("b", "--task", "flow") == ["blurred"]
    zoo("list", "wise", "--task", "flow", expect=1)
    assert "no model of the task flow matches wise" in capsys.readouterr().err


def test_list_tells_what_else_could_be_installed(many, capsys):
    zoo("list")
    printed = capsys.readouterr()
    assert "not installed: zoo-classification (83 models), zoo-detection (12 models)" in printed.err
    assert "zoo-" not in printed.out
    zoo("list", "--task", "detection", expect=1)
    assert "pip install zoo-detection" in capsys.readouterr().err
    zoo("info", "fasterrcnn_resnet50_fpn", expect=1)
    assert "pip install zoo-detection" in capsys.readouterr().err


def test_a_package_whose_file_is_gone(toys, capsys):
    toys.embedded.unlink()
    assert ("brightnet", "HAND_V1") not in [(m.name, c.name) for m, c in facts.embedded()]
    zoo("list", "brightnet")
    assert "(embedded)" not in capsys.readouterr().out
