"""The ``zoo`` command on int8 models."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo_quantized
from support import reference
from support.tasks import check_pickles, check_score
from zoo_core import specs
from zoo_core.classifying import Classification
from zoo_core.cli import main
from zoo_core.declarations import declaration
from zoo_core.images import open_image
from zoo_core.tasks import task_class
from zoo_quantized import ResNet18_QuantizedWeights, quantize_model
from zoo_quantized.task import QuantizedClassificationTask

EMBEDDED = "FASHIONMNIST_FBGEMM_V1"


@pytest.fixture(autouse=True)
def _work(tmp_path, monkeypatch, home):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_the_entry_point_names_it():
    assert task_class("quantized") is QuantizedClassificationTask


def test_predict_with_a_published_file(publish, capsys):
    with reference.no_random_init():
        floating = reference.fill_parameters(zoo_quantized.resnet18())
    weights = ResNet18_QuantizedWeights.DEFAULT
    int8 = quantize_model(floating, [reference.image(1, 1, 3, 224, 224)])
    publish(weights, int8.state_dict())
    Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 20).convert("RGB").save("photo.png")
    assert main(["predict", "quantized_resnet18", "photo.png", "--json", "--topk", "3"]) == 0
    printed = capsys.readouterr()
    assert not printed.err, "no warnings of torch's"
    document = json.loads(printed.out)
    assert (document["model"], document["weights"]) == ("quantized_resnet18", "IMAGENET1K_FBGEMM_V1")
    with torch.inference_mode():
        scores = int8(weights.transforms()(Image.open("photo.png")).unsqueeze(0)).softmax(1)[0]
    best = scores.topk(3)
    labels = document["results"][0]["labels"]
    assert [entry["index"] for entry in labels] == best.indices.tolist()
    assert [entry["score"] for entry in labels] == pytest.approx(best.values.tolist())


def test_predict_with_embedded_weights(samples, capsys):
    words = ["predict", "quantized_shufflenet_v2_x0_5", *map(str, samples), "--weights", EMBEDDED, "--topk", "1"]
    assert main([*words, "--output", "out"]) == 0
    printed = capsys.readouterr().out
    found = re.findall(r"([\w-]+)\.png\n +[\d.]+%  (.+)\n", printed)
    right = [name for name, label in found if name.startswith(re.sub(r"\W+", "-", label.lower()))]
    assert len(right) >= 9, printed
    assert len(list(Path("out").glob("*.png"))) == 10


def test_demo(capsys):
    assert main(["demo", "--task", "quantized", "--output", "shown"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    found = re.findall(r"^([\w-]+)\.png\n +[\d.]+%  (.+)$", printed.out, re.MULTILINE)
    assert len(found) == 10
    assert len([name for name, label in found if name.startswith(re.sub(r"\W+", "-", label.lower()))]) >= 9
    assert len(list(Path("shown/quantized").rglob("*.png"))) == 10


def test_it_goes_to_worker_processes(samples):
    task = QuantizedClassificationTask(specs.find("quantized_resnet18"), {"topk": 2})
    check_pickles(task, open_image(samples[0]))


def test_the_score_does_not_depend_on_order_or_division():
    generator = torch.Generator().manual_seed(0)
    labels = [str(index) for index in range(7)]
    samples = [
        (Classification(torch.rand(7, generator=generator).softmax(0), labels), index % 7) for index in range(19)
    ]
    check_score(QuantizedClassificationTask(specs.find("quantized_resnet18")).score, samples)


def test_only_on_the_cpu(samples, capsys):
    assert declaration("quantized").devices == {"cpu"}
    words = ["predict", "quantized_shufflenet_v2_x0_5", str(samples[0]), "--weights", EMBEDDED]
    assert main([*words, "--device", "meta"]) == 1
    assert "run on cpu only" in capsys.readouterr().err


def test_list(capsys):
    assert main(["list", "--task", "quantized", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in listed] == sorted(reference.builder_names("quantized"))


def test_info_shows_code_that_works(capsys):
    assert main(["info", "quantized_shufflenet_v2_x0_5", "--weights", EMBEDDED]) == 0
    text = capsys.readouterr().out
    assert re.search(r"backend +fbgemm\n", text)
    assert re.search(r"unquantized +ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1\n", text)
    code = text.split("In Python\n")[1].split("\nIn the shell")[0].replace("\n  ", "\n").strip()
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["model"].fc).__module__.startswith("torch.ao.nn.quantized")
