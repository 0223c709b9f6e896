"""The ``zoo`` command on classifiers: a published checkpoint in the cache, and a package from outside."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo_classification
from support import cache, reference, toy_package
from zoo_core.cli import main


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The current directory, with pictures of different sizes."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for index, size in enumerate([(320, 240), (64, 300), (500, 31)]):
        Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 20 + index).convert("RGB").save(f"photo{index}.jpg")
    return folder


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory):
    """A cache with the file of resnet18's published weights; what is in it is random."""
    home = tmp_path_factory.mktemp("torch")
    torch.manual_seed(0)
    cache.publish(home, zoo_classification.ResNet18_Weights.DEFAULT, zoo_classification.resnet18().state_dict())
    return home


@pytest.fixture
def cached(torch_home, monkeypatch):
    cache.use(torch_home, monkeypatch)


def expected_top(path: Path, count: int) -> list[str]:
    """What resnet18 sees, by its own means."""
    weights = zoo_classification.ResNet18_Weights.DEFAULT
    model = zoo_classification.resnet18(weights=weights).eval()
    with torch.inference_mode():
        scores = model(weights.transforms()(Image.open(path)).unsqueeze(0))[0]
    return [weights.meta["categories"][index] for index in scores.topk(count).indices]


def test_list_knows_the_cached_file(cached, capsys):
    assert main(["list", "resnet18", "--task", "classification", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)
    assert model["available"] == "cached"
    assert model["metrics"]["ImageNet-1K"]["acc@1"] == 69.758


def test_list_all(capsys):
    assert main(["list", "--task", "classification"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[1:]} >= set(reference.model_names("classification"))
    assert max(map(len, lines)) < 160


@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_predict(cached, photos, capsys, batch_size):
    (photos / "broken.jpg").write_bytes((photos / "photo0.jpg").read_bytes()[:2000])
    assert main(["predict", "resnet18", ".", "--topk", "2", "--batch-size", batch_size, "--output", "../out"]) == 1
    printed = capsys.readouterr()
    assert re.match(r"error: broken\.jpg: ", printed.err)
    lines = printed.out.splitlines()
    assert len(lines) == 3 * 4
    for index in range(3):
        title, first, second, written = lines[4 * index : 4 * index + 4]
        assert title == f"photo{index}.jpg"
        labels = [re.fullmatch(r"  [ \d]{3}\.\d%  (.+)", line)[1] for line in (first, second)]
        assert labels == expected_top(photos / title, 2)
        assert written == f"  -> ../out/photo{index}.jpg"
        with Image.open(photos / f"../out/photo{index}.jpg") as picture:
            assert picture.width >= 320


def test_predict_as_json(cached, photos, capsys):
    assert main(["predict", "resnet18", "photo1.jpg", "--json", "--topk", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["model"], document["weights"]) == ("resnet18", "IMAGENET1K_V1")
    (result,) = document["results"]
    assert [entry["label"] for entry in result["labels"]] == expected_top(Path("photo1.jpg"), 3)
    scores = [entry["score"] for entry in result["labels"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1


def test_options(cached, photos, capsys):
    assert main(["predict", "resnet18", "--help"]) == 0
    assert "--topk N" in capsys.readouterr().out
    assert main(["predict", "resnet18", "photo0.jpg", "--topk", "0"]) == 2
    assert main(["predict", "resnet18", "photo0.jpg", "--threshold", "0.5"]) == 2
    assert "No such option: --threshold" in capsys.readouterr().err


def test_weights_that_are_not_there(cached, photos, capsys):
    assert main(["predict", "resnet50", "photo0.jpg"]) == 1
    assert re.match(r"error: resnet50-11ad3fa6\.pth is not in the cache, and ZOO_OFFLINE", capsys.readouterr().err)


def test_a_checkpoint_of_another_model(photos, capsys, publish):
    other = zoo_classification.resnet18(num_classes=3)
    publish(zoo_classification.ResNet18_Weights.DEFAULT, other.state_dict())
    assert main(["predict", "resnet18", "photo0.jpg"]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "fc.weight (checkpoint [3, 512], model [1000, 512])" in error


def test_embedded_weights_run_on_the_samples_that_ship(photos, capsys, monkeypatch):
    """The main job on a machine without network: samples get the labels that their names tell."""
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert main(["demo", "--task", "classification", "--output", "shown"]) == 0
    printed = capsys.readouterr().out
    results = re.findall(r"^([\w-]+)\.png\n +[\d.]+%  (.+)$", printed, re.MULTILINE)
    assert len(results) == 10
    right = [name for name, label in results if name.startswith(re.sub(r"\W+", "-", label.lower()))]
    assert len(right) >= 9, printed
    written = list(Path("shown/classification").rglob("*.png"))
    assert len(written) == 10
    # The same without the name of a model.
    samples = Path(zoo_classification.__file__).parent / "samples"
    garment = str(samples / f"{results[0][0]}.png")
    assert main(["predict", garment, "--task", "classification", "--topk", "1"]) == 0
    assert results[0][1] in capsys.readouterr().out


def test_a_classifier_from_outside(tmp_path, photos):
    """A third party's package, found by its entry point alone, in a process of its own."""
    package = toy_package.write(tmp_path / "site", task="classification", adapter=None)
    Image.new("RGB", (30, 20), (255, 255, 255)).save("snow.png")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(package.path), *filter(None, sys.path)])}

    def zoo(*words: str) -> str:
        command = [sys.executable, "-m", "zoo_core.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert re.search(
        r"^brightnet +classification .*HAND_V1 \(embedded\), FILE_V1 \(local\)$", zoo("list"), re.MULTILINE
    )
    # FILE_V1 normalises as for ImageNet: white has a mean of 2.4 then, which leaves "dark" nothing.
    assert zoo("predict", "brightnet", "snow.png", "--weights", "FILE_V1") == (
        "snow.png\n  100.0%  bright\n    0.0%  dark\n"
    )
    code = """
import zoo_core, zoo_classification
model = zoo_classification.get_model("brightnet", weights="FILE_V1")
print(type(model).__module__, model.fc.weight.flatten().tolist(), "brightnet" in zoo_core.list_models())
"""
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout == "toyzoo.brightnet [-10.0, 10.0] True\n"
