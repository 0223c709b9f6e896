"""Checkpoints as safetensors: what `zoo train` writes of the best epoch, and `zoo convert` of any checkpoint."""

import json
import struct

import pytest
import torch

from zoo_core import get_model, specs
from zoo_core.checkpoints import UnreadableCheckpointError, read_state_dict, save_safetensors
from zoo_core.cli import main
from zoo_core.converting import convert
from zoo_core.evaluating import evaluate


def run(data, folder, *words):
    return main(["train", "dimnet", str(data), "--from-scratch", "--recipe", "finetune", "--epochs", "2", "--workers",
                 "0", "--output", str(folder), *words])  # fmt: skip


@pytest.fixture
def trained(toys, data, tmp_path, capsys):
    assert run(data, tmp_path / "run", "--safetensors") == 0
    assert "best.safetensors says what it is: zoo predict" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.pth").exists()
    return tmp_path / "run" / "best.safetensors"


def test_a_run_leaves_a_file_that_says_what_it_is(trained, data, tmp_path, capsys):
    spec = specs.find(trained)
    assert (spec.name, spec.labels, spec.weights) == ("dimnet", ("dark", "bright"), None)
    assert run(data, tmp_path / "plain") == 0
    assert spec.as_dict() | {"file": None} == specs.find(tmp_path / "plain" / "best.pth").as_dict() | {"file": None}
    assert evaluate(str(trained), data).metrics == spec.facts["metrics"]["held-out samples"]
    state = torch.load(tmp_path / "plain" / "best.pth", weights_only=True)["model"]
    found = get_model(checkpoint=trained).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    image = next((data / "val" / "dark").iterdir())
    capsys.readouterr()
    assert main(["predict", str(trained), str(image)]) == 0
    assert "dark" in capsys.readouterr().out
    # Any other reader of the format takes it too.
    length = struct.unpack("<Q", trained.read_bytes()[:8])[0]
    header = json.loads(trained.read_bytes()[8 : 8 + length])
    assert all(isinstance(value, str) for value in header["__metadata__"].values())


def test_there_and_back(trained, tmp_path):
    """`zoo convert` loses nothing on the way, neither parameters nor what the file says."""
    assert main(["convert", str(trained), str(tmp_path / "x.pth")]) == 0
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "y.safetensors")]) == 0
    first, last = (specs.find(path).as_dict() | {"file": None} for path in (trained, tmp_path / "y.safetensors"))
    assert first == last
    one, other = read_state_dict(trained), read_state_dict(tmp_path / "y.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_bare_state_dict_and_labels(toys, tmp_path):
    torch.save(get_model("dimnet", num_classes=3).state_dict(), tmp_path / "bare.pth")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    words = ["dimnet", "--checkpoint", str(tmp_path / "bare.pth"), "--labels", str(tmp_path / "labels.txt")]
    assert main(["convert", *words, str(tmp_path / "own.safetensors")]) == 0
    assert specs.find(tmp_path / "own.safetensors").labels == ("a", "b", "c")
    assert get_model(checkpoint=tmp_path / "own.safetensors").fc.out_features == 3


def test_what_cannot_be_written(toys, trained, tmp_path, capsys):
    assert main(["convert", str(trained), str(tmp_path / "x.onnx")]) == 2
    assert "must end in one of .ckpt, .pt, .pth, .safetensors" in capsys.readouterr().err
    (tmp_path / "x.safetensors").write_text("as it was")
    with pytest.raises(OSError, match="cannot be saved"):
        convert(trained, tmp_path / "nowhere" / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_text() == "as it was"


def test_a_description_that_is_none(tmp_path):
    save_safetensors({"a": torch.ones(1)}, tmp_path / "x.safetensors", metadata={"zoo_spec": "{no json"})
    with pytest.raises(UnreadableCheckpointError, match="what it says of its model is no JSON"):
        read_state_dict(tmp_path / "x.safetensors")
