"""What a model is, in plain values: from the catalogue, from checkpoints, and back to modules."""

import pickle
import subprocess
import sys

import pytest
import torch

from zoo_core import specs
from zoo_core.catalog import UnknownModelError
from zoo_core.checkpoints import CheckpointError
from zoo_core.specs import ModelSpec, build, find


def parameters(model):
    return [value for tensor in model.state_dict().values() for value in tensor.flatten().tolist()]


def test_from_the_catalogue(toys):
    spec = find("BrightNet")
    assert (spec.name, spec.task, spec.weights, spec.format) == ("brightnet", "toys", "HAND_V1", "state_dict")
    assert spec.file == f"package:toyzoo/checkpoints/{toys.embedded.name}"
    assert (spec.preset, spec.preset_arguments["crop_size"]) == ("ImageClassification", 8)
    assert spec.labels == ("dark", "bright")
    assert spec.facts["metrics"] == {"Toys": {"acc@1": 87.5, "acc@5": 100.0}}
    assert spec.facts["recipe"] == "set by hand"
    assert not {"name", "url", "categories", "backend"} & spec.facts.keys()
    assert str(spec) == "brightnet with HAND_V1"
    assert find("brightnet", weights="BrightNet_Weights.FILE_V1").weights == "FILE_V1"
    assert find(spec, labels=("night", "day")).labels == ("night", "day")
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert ModelSpec.from_dict(spec.as_dict()) == spec
    assert "toyzoo" not in sys.modules


def test_what_cannot_be_found(toys, tmp_path):
    with pytest.raises(UnknownModelError, match="did you mean brightnet"):
        find("brigthnet")
    with pytest.raises(UnknownModelError, match="has no weights"):
        find("brightnet", weights="HAND_V2")
    with pytest.raises(TypeError, match="a ModelSpec has no colour, size"):
        find("brightnet", size=1, colour=2)
    with pytest.raises(ValueError, match="weights= goes with the name of a model"):
        find(find("brightnet"), weights="HAND_V1")
    with pytest.raises(ValueError, match=r"weights= goes with the name of a model, and .*x\.pth is a file"):
        find(tmp_path / "x.pth", weights="HAND_V1")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        find(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        find(str(tmp_path / "x.pth"))


def test_build(toys):
    model = build(find("brightnet"))
    assert not model.training
    assert parameters(model) == pytest.approx([1 / 3] * 3 + [-0.5, -10, 10, 0, 0])
    assert build(find("brightnet"), train=True).training
    fresh = build(ModelSpec("brightnet", "toys"))
    assert fresh.fc.weight.shape == (2, 1)
    assert build(ModelSpec("brightnet", "toys", arguments={"num_classes": 5})).fc.weight.shape == (5, 1)
    assert build(ModelSpec("brightnet", "toys", labels=tuple("abc"))).fc.weight.shape == (3, 1)
    with pytest.raises(ValueError, match="'onnx' is run as it is"):
        build(ModelSpec("brightnet", "toys", format="onnx"))


def test_a_checkpoint_that_says_what_it_is(toys, tmp_path):
    """It needs nothing else, and other labels go with another head."""
    torch.manual_seed(0)
    spec = find("brightnet", labels=("a", "b", "c"), weights=None, facts={"acc@1": 93.0})
    model = build(ModelSpec("brightnet", "toys", labels=spec.labels))
    path = tmp_path / "best.pth"
    torch.save({"model": model.state_dict(), "spec": spec.as_dict()}, path)
    found = find(path)
    assert (found.name, found.weights, found.file) == ("brightnet", None, str(path))
    assert (found.labels, found.facts) == (("a", "b", "c"), {"acc@1": 93.0})
    assert (found.preset, found.preset_arguments) == (spec.preset, spec.preset_arguments)
    assert str(found) == f"brightnet from {path}"
    again = build(found)
    assert not again.training
    assert parameters(again) == parameters(model)
    assert find(path, labels=("x", "y", "z")).labels == ("x", "y", "z")


def test_a_foreign_checkpoint_needs_a_name(toys, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(build(find("brightnet")).state_dict(), path)
    with pytest.raises(ValueError, match=r"mine\.pt does not say which model it is for; give the model's name"):
        find(path)
    spec = find(path, name="BrightNet")
    assert (spec.name, spec.weights, spec.file, spec.facts) == ("brightnet", None, str(path), {})
    assert spec.labels == ("dark", "bright")
    assert parameters(build(spec)) == parameters(build(find("brightnet")))


@pytest.mark.parametrize(
    ("described", "message"),
    [({"task": "toys"}, "has no 'name'"), ({"name": "x", "task": "y", "colour": 1}, "an unknown 'colour'")],
)
def test_a_description_that_is_broken(toys, tmp_path, described, message):
    torch.save({"model": {"w": torch.zeros(1)}, "spec": described}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth: .*{message}"):
        find(tmp_path / "x.pth")


def test_finding_imports_no_torch(toys):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from zoo_core import specs
assert specs.find("brightnet").labels
print([name for name in ("torch", "PIL", "toyzoo") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(toys.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_predicting_with_a_checkpoint_of_ones_own(toys, tmp_path, monkeypatch, capsys):
    from PIL import Image

    from zoo_core.cli import main

    monkeypatch.chdir(tmp_path)
    spec = specs.find("brightnet", labels=("night", "day"))
    torch.save({"model": build(spec).state_dict(), "spec": spec.as_dict()}, "best.pth")
    Image.new("RGB", (9, 9), (255, 255, 255)).save("snow.png")
    assert main(["predict", "best.pth", "snow.png", "--level", "0.9"]) == 0
    assert capsys.readouterr().out == "snow.png\n  day\n"
    assert main(["predict", "best.pth", "--help"]) == 0
    assert "--level" in capsys.readouterr().out
