"""Checkpoints and labels of users' own: what is found in them, from Python and on the command line."""

import json
import pickle
import re
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo_core import get_model, specs
from zoo_core.checkpoints import CheckpointError, StateDictError
from zoo_core.cli import main
from zoo_core.predicting import predict

from .cli.running import run


@pytest.fixture
def mine(toys, tmp_path, monkeypatch):
    """The parameters of a model with three classes that takes every image for the last of them."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Image.new("RGB", (16, 16), (255, 255, 255)).save("snow.png")
    return {
        "body.weight": torch.full((1, 3), 1 / 3),
        "body.bias": torch.tensor([-0.5]),
        "fc.weight": torch.zeros(3, 1),
        "fc.bias": torch.tensor([0.0, 0.0, 5.0]),
    }


def wrapped(state_dict, prefix):
    return OrderedDict((prefix + key, value) for key, value in state_dict.items())


FORMS = {
    "bare": lambda d: d,
    "ordered": OrderedDict,
    "model": lambda d: {"model": d, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "state_dict": lambda d: {"state_dict": d, "optim": {"state": torch.ones(1)}, "best": 0.5},
    "module": lambda d: {"model": wrapped(d, "module.")},
    "compiled": lambda d: wrapped(d, "_orig_mod."),
    "both": lambda d: wrapped(d, "module._orig_mod."),
    "parameters": lambda d: {key: torch.nn.Parameter(value) for key, value in d.items()},
}


def write_safetensors(path, state_dict):
    """By hand from the format's description: a length, a header in JSON, the values of float32 tensors."""
    header, data = {}, b""
    for key, value in state_dict.items():
        values = value.flatten().tolist()
        end = len(data) + 4 * len(values)
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), end]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("form", [*FORMS, "safetensors"])
def test_all_that_training_loops_write(mine, form):
    if form == "safetensors":
        path = "mine.safetensors"
        write_safetensors(path, mine)
    else:
        path = "mine.pth"
        torch.save(FORMS[form](mine), path)
    spec = specs.find("BrightNet", checkpoint=path)
    assert (spec.name, spec.weights, spec.file, spec.labels) == ("brightnet", None, path, ())
    assert spec.arguments == {"num_classes": 3}
    assert spec.preset_arguments["crop_size"] == 8, "as the model's default weights want it"
    model = get_model("brightnet", checkpoint=path)
    assert model.training, "as all builders give it"
    assert torch.equal(model.fc.bias, mine["fc.bias"])
    assert model.fc.bias.requires_grad
    (found,) = predict("brightnet", "snow.png", checkpoint=path, labels=["a", "b", "c"], device="cpu")
    assert found.describe() == ["a"], "the toy task compares the second class with one half"


def test_labels_follow_the_number_of_classes(mine, toys):
    torch.save(mine, "mine.pth")
    assert specs.find("brightnet", checkpoint="mine.pth").labels == ()
    assert specs.find("brightnet", checkpoint=toys.file).labels == ("dark", "bright")
    assert specs.find("brightnet", checkpoint=toys.file, labels=["x", "y"]).labels == ("x", "y")
    with pytest.raises(ValueError, match=r"mine\.pth is of a model with 3 classes, and there are 2 labels \(the first"):
        specs.find("brightnet", checkpoint="mine.pth", labels=["x", "y"])


def test_a_checkpoint_that_says_what_it_is(mine):
    spec = specs.find("brightnet", weights=None, labels=("a", "b", "c"))
    torch.save({"model": mine, "spec": spec.as_dict()}, "best.pth")
    for found in (specs.find("best.pth"), specs.find("brightnet", checkpoint="best.pth")):
        assert (found.name, found.labels) == ("brightnet", ("a", "b", "c"))
    assert get_model(checkpoint="best.pth").fc.out_features == 3
    with pytest.raises(ValueError, match=r"with 3 classes, and there are 4 labels"):
        specs.find(None, checkpoint="best.pth", labels=list("abcd"))


def test_what_makes_no_sense(mine):
    torch.save(mine, "mine.pth")
    with pytest.raises(ValueError, match=r"mine\.pth does not say which model it is for; give the model's name"):
        get_model(checkpoint="mine.pth")
    with pytest.raises(ValueError, match="give weights= or checkpoint=, not both"):
        get_model("brightnet", checkpoint="mine.pth", weights="HAND_V1")
    with pytest.raises(ValueError, match="goes with the name of a model, not with"):
        specs.find("other.pth", checkpoint="mine.pth")
    with pytest.raises(TypeError, match="needs the name of a model"):
        get_model()
    with pytest.raises(ValueError, match="give the name of a model"):
        specs.find(None)
    with pytest.raises(StateDictError, match=r"fc\.weight \(checkpoint \[3, 1\], model \[5, 1\]\)"):
        get_model("brightnet", checkpoint="mine.pth", num_classes=5)


def test_a_file_of_another_model(mine):
    torch.save({key.replace("fc", "head"): value for key, value in mine.items()}, "other.pth")
    with pytest.raises(StateDictError) as raised:
        get_model("brightnet", checkpoint="other.pth")
    message = str(raised.value)
    assert "brightnet from other.pth does not fit BrightNet" in message
    assert "2 entries missing from the checkpoint: fc.weight, fc.bias" in message
    assert "2 entries unknown to the model: head.weight, head.bias" in message
    assert "The file is most like brightnet (" in message


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def test_nothing_is_executed(mine, capsys):
    with open("bomb.pth", "wb") as file:
        pickle.dump({"model": mine, "extra": Bomb()}, file)
    for path in ("bomb.pth", "bomb2.pth"):
        if path == "bomb2.pth":
            torch.save({"model": mine, "extra": Bomb()}, path)
        with pytest.raises(CheckpointError):
            specs.find("brightnet", checkpoint=path)
    assert "boom" not in capsys.readouterr().out


# Labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\n",
        "\ufeffcat\r\ndog\r\n\r\n",
        "  cat \ndog",
        '["cat", "dog"]',
        '{"1": "dog", "0": "cat"}',
        '{"0": ["n01", "cat"], "1": ["n02", "dog"]}',
    ],
)
def test_files_of_labels(tmp_path, text):
    path = tmp_path / "labels"
    path.write_bytes(text.encode())
    assert specs.read_labels(path) == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no labels; write one a line"),
        (b"\n \n", "holds no labels"),
        (b"cat\n\ndog\n", "line 2 is empty; each line must name a class"),
        (b"\xff\xfe\x00", "must be text in UTF-8"),
        (b"[1, 2]", "holds 1, which is no name of a class"),
        (b"[]", "holds no labels"),
        (b'{"0": "cat", "2": "dog"}', r"the numbers of the classes must be 0 to 1; 1 is missing"),
        (b'{"cat": 0}', "0 is missing"),
        (b'["cat"', "begins like JSON, and is none"),
    ],
)
def test_files_that_hold_no_labels(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels\.txt: .*{message}"):
        specs.read_labels(path)


# The command ---------------------------------------------------------------------------------------------------------


def test_on_the_command_line(mine, toys):
    """As a user does it, in a process of its own."""
    torch.save({"state_dict": wrapped(mine, "module."), "optimizer": {}}, "mine.pth")
    with open("labels.txt", "w") as file:
        file.write("cow\nhorse\npig\n")
    process = run(toys.path, "predict", "brightnet", "snow.png", "--checkpoint", "mine.pth", "--labels", "labels.txt")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == "snow.png\n  cow\n"
    process = run(toys.path, "predict", "brightnet", "snow.png", "--checkpoint", "mine.pth", "--json", "--level", "0")
    assert json.loads(process.stdout)["weights"] is None


@pytest.mark.parametrize("verb", [["predict", "brightnet", "snow.png"], ["evaluate", "brightnet", "data"]])
def test_what_the_commands_say(mine, toys, capsys, verb):
    torch.save(mine, "mine.pth")
    torch.save({"w": torch.zeros(2)}, "other.pth")
    with open("two.txt", "w") as file:
        file.write("a\nb\n")
    for words, message, code in (
        (["--checkpoint", "absent.pth"], r"error: .*absent\.pth", 1),
        (["--checkpoint", "mine.pth", "--weights", "HAND_V1"], "give --weights or --checkpoint, not both", 2),
        (["--checkpoint", "mine.pth", "--labels", "two.txt"], "with 3 classes, and there are 2 labels", 1),
        (["--checkpoint", "mine.pth", "--labels", "absent.txt"], r"absent\.txt: No such file or directory", 1),
    ):
        assert main([*verb, *words]) == code
        printed = capsys.readouterr()
        assert re.search(message, printed.err), printed.err
        assert len(printed.err.splitlines()) == 1
    if verb[0] == "predict":
        assert main([*verb, "--checkpoint", "other.pth"]) == 1
        assert re.search(r"other\.pth does not fit BrightNet: .*The file is ", capsys.readouterr().err)


def test_labels_of_published_weights(mine, capsys):
    with open("labels.txt", "w") as file:
        file.write("cow\nhorse\npig\n")
    assert main(["predict", "brightnet", "snow.png", "--labels", "labels.txt"]) == 1
    assert "brightnet with HAND_V1 has 2 classes, and there are 3 labels; give one label" in capsys.readouterr().err
    with open("labels.txt", "w") as file:
        file.write("cow\nhorse\n")
    assert main(["predict", "brightnet", "snow.png", "--labels", "labels.txt"]) == 0
    assert capsys.readouterr().out == "snow.png\n  horse\n"


def test_without_the_name_of_a_model(mine, toys, capsys):
    torch.save(mine, "mine.pth")
    assert main(["predict", "snow.png", "--checkpoint", "mine.pth"]) == 1
    assert "mine.pth does not say which model it is for; give the model's name" in capsys.readouterr().err
    assert main(["predict", "mine.pth", "snow.png", "--checkpoint", "mine.pth"]) == 2
    assert "--checkpoint goes with the name of a model, and mine.pth is a file" in capsys.readouterr().err
    assert main(["predict", "snow.png", "--labels", "labels.txt"]) == 2
    assert "--labels goes with the name of a model" in capsys.readouterr().err
    torch.save({"model": mine, "spec": specs.find("brightnet", labels=tuple("abc")).as_dict()}, "best.pth")
    assert main(["predict", "snow.png", "--checkpoint", "best.pth"]) == 0
    assert capsys.readouterr().out == "snow.png\n  a\n"


def test_help_and_names_need_no_torch(toys):
    code = "import sys\nfrom zoo_core.cli import main\nmain(['predict', '--help'])\nassert 'torch' not in sys.modules"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "--checkpoint FILE" in process.stdout
    assert "--labels FILE" in process.stdout
