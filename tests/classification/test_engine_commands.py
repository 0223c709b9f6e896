"""``--engine`` and ``--precision``, ``zoo bench`` and ``zoo cache``, on the checkpoint that ships in the package."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo_classification
from zoo_core import specs
from zoo_core.cli import main
from zoo_core.evaluating import evaluate
from zoo_core.predicting import predict

MODEL = ["shufflenet_v2_x0_5", "--weights", "FASHIONMNIST_V1"]
SAMPLES = sorted((Path(zoo_classification.__file__).parent / "samples").glob("*.png"))


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A cache that is warm after the first test."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("torch")
        patch.setenv("TORCH_HOME", str(folder))
        patch.delenv("RANK", raising=False)
        yield folder


def labels(capsys, *options: str, files: int = 3) -> list:
    assert main(["predict", *MODEL, *map(str, SAMPLES[:files]), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)["results"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
def test_predict_gives_what_torch_gives(engine: str, capsys) -> None:
    expected = labels(capsys)
    for found, wanted in zip(labels(capsys, "--engine", engine), expected, strict=True):
        assert [label["label"] for label in found["labels"]] == [label["label"] for label in wanted["labels"]]
        for one, other in zip(found["labels"], wanted["labels"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_the_second_start_builds_no_model(capsys, monkeypatch) -> None:
    labels(capsys, "--engine", "openvino")
    monkeypatch.setattr(specs, "build", None)
    labels(capsys, "--engine", "openvino")


def test_auto_says_what_it_took_and_bf16_what_it_changes(capsys) -> None:
    assert main(["predict", *MODEL, str(SAMPLES[0]), "--engine", "auto"]) == 0
    assert "engine " in capsys.readouterr().err
    assert main(["predict", *MODEL, str(SAMPLES[0]), "--engine", "openvino", "--precision", "bf16"]) == 0
    assert "precision bf16: the largest change of a score is " in capsys.readouterr().err


def test_evaluate_gives_the_same_figures(tmp_path: Path, capsys) -> None:
    spec = specs.find(MODEL[0], weights=MODEL[2])
    for label, path in zip(spec.labels[:5], SAMPLES, strict=False):
        folder = tmp_path / "val" / label.replace("/", "-")
        folder.mkdir(parents=True)
        Image.open(path).save(folder / "a.png")
    names = tmp_path / "labels.txt"
    names.write_text("\n".join(label.replace("/", "-") for label in spec.labels))
    figures = []
    for engine in ("torch", "openvino"):
        assert main(["evaluate", *MODEL, str(tmp_path), "--labels", str(names), "--engine", engine, "--json"]) == 0
        figures.append(json.loads(capsys.readouterr().out)["metrics"])
    assert figures[0] == figures[1]
    with torch.inference_mode():
        found = evaluate(MODEL[0], tmp_path, weights=MODEL[2], labels=names, engine="onnxruntime")
    assert found is not None
    assert dict(found.metrics) == figures[0]


def test_from_python() -> None:
    found = list(predict(MODEL[0], SAMPLES[0], weights=MODEL[2], engine="openvino"))
    assert found[0].record()["labels"]


def test_a_device_that_the_engine_has_not(capsys) -> None:
    assert main(["predict", *MODEL, str(SAMPLES[0]), "--engine", "openvino", "--device", "cuda"]) == 1
    assert "openvino runs on the CPU here, not on cuda; --engine torch runs there" in capsys.readouterr().err


def test_the_engine_of_an_exported_file(tmp_path: Path, capsys) -> None:
    path = tmp_path / "model.onnx"
    assert main(["export", *MODEL, "--output", str(path)]) == 0
    capsys.readouterr()
    expected = labels(capsys)
    for engine in ([], ["--engine", "openvino"], ["--engine", "auto"]):
        assert main(["predict", str(path), *map(str, SAMPLES[:3]), "--json", *engine]) == 0
        found = json.loads(capsys.readouterr().out)["results"]
        assert [r["labels"][0]["label"] for r in found] == [r["labels"][0]["label"] for r in expected]
    assert main(["predict", str(path), str(SAMPLES[0]), "--engine", "torch"]) == 1
    assert "run in onnxruntime or openvino, not torch" in capsys.readouterr().err


def test_bench_measures_all_that_is_asked_for(capsys) -> None:
    arguments = ["bench", *MODEL, "--batch-size", "1,2", "--precision", "fp32,bf16", "--seconds", "0.01"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["measurements"]
    ways = [(m["batch_size"], m["engine"], m["precision"]) for m in found]
    one = [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("torch", "bf16"), ("openvino", "bf16")]
    assert ways == [(size, *way) for size in (1, 2) for way in one]
    for measured in found:
        assert 0 < measured["tenth_s"] <= measured["median_s"] <= measured["ninetieth_s"]
        assert measured["runs"] >= 5
        assert measured["memory_bytes"] > 2**20
        assert measured["largest_change"] < (1e-4 if measured["precision"] == "fp32" else 0.2)
    assert main(["bench", *MODEL, "--batch-size", "1", "--engine", "torch,openvino", "--seconds", "0.01"]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == ["batch", "engine", "precision", "median"]
    assert [row.split()[1] for row in rows] == ["torch", "openvino"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "0"], "whole numbers from 1 on"),
        (["--engine", "fast"], "'fast' is none of torch, onnxruntime, openvino"),
        (["--precision", "fp8"], "'fp8' is none of fp32, bf16"),
    ],
)
def test_bench_says_what_it_does_not_know(words: list[str], message: str, capsys) -> None:
    assert main(["bench", *MODEL, *words]) == 2
    assert message in capsys.readouterr().err


def test_cache_shows_and_clears_what_engines_keep(home: Path, capsys) -> None:
    labels(capsys, "--engine", "openvino", files=1)
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert "1 model for engines" in shown
    assert "shufflenet_v2_x0_5 FASHIONMNIST_V1" in shown
    assert main(["cache", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["model"] == MODEL[0]
    assert "openvino" in entry["engines"]
    assert entry["bytes"] == sum(file.stat().st_size for file in Path(entry["path"]).rglob("*"))
    assert main(["cache", "another-*", "--clear", "--yes"]) == 1
    assert main(["cache", "shufflenet*", "--clear"]) == 1  # nobody is there to ask
    assert "1 model for engines would be deleted" in capsys.readouterr().err
    assert main(["cache", "shufflenet*", "--clear", "--yes"]) == 0
    assert "deleted 1 model for engines" in capsys.readouterr().err
    assert not Path(entry["path"]).exists()
    assert labels(capsys, "--engine", "openvino", files=1)  # made anew
    assert main(["cache", "--clear", "--yes"]) == 0
    assert not Path(entry["path"]).exists()
