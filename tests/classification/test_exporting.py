"""``zoo export`` of classifiers: the command, what files say, and what becomes of own checkpoints and of 8 bits."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image

import zoo_classification
from support.exporting import check_equal, check_file, runner, saved
from zoo_core import cli, exporting, specs
from zoo_core.engines import open_file
from zoo_core.exported_files import ModelFacts, read_metadata
from zoo_core.exporting import ExportError, export
from zoo_core.predicting import load, predict

SAMPLES = Path(zoo_classification.__file__).parent / "samples"
FASHION = ("shufflenet_v2_x0_5", "--weights", "FASHIONMNIST_V1")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder for each class."""
    folder = tmp_path_factory.mktemp("fashion")
    labels = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1").labels
    for place, label in enumerate(labels):
        source = SAMPLES / f"{label.lower().replace('/', '-').replace(' ', '-')}.png"
        target = folder / "val" / f"{place}"
        target.mkdir(parents=True)
        shutil.copy(source, target)
    return folder


@pytest.fixture(scope="module")
def labels(data: Path) -> Path:
    """Names of the classes that are names of folders."""
    path = data.parent / "labels.txt"
    path.write_text("\n".join(map(str, range(10))))
    return path


@pytest.fixture
def run(capsys):
    return runner(capsys)


def test_the_command(run, data, labels, tmp_path):
    """By name, as ONNX: batches and sizes stay open, and the file is a model like others."""
    file = tmp_path / "fashion.onnx"
    exported = check_file(run, FASHION, file, [SAMPLES / "bag.png", SAMPLES / "coat.png"])
    assert exported["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
    assert exported["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["batch", 10]}]
    assert len(exported["differences"]) == 4  # of the export, of more at a time, of two other sizes
    expected = run("evaluate", *FASHION[:1], data, *FASHION[1:], "--labels", labels)
    check_equal(run("evaluate", file, data, "--labels", labels), expected)

    # What ONNX's own library reads is what stands there without it.
    model = onnx.load(str(file))
    onnx.checker.check_model(model)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said == read_metadata(file)
    spec = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1")
    facts = ModelFacts.from_metadata(said, file)
    assert (facts.model, facts.weights, facts.labels) == (spec.name, spec.weights, spec.labels)
    assert facts.preset_arguments == json.loads(json.dumps(spec.preset_arguments))
    assert spec.file is not None
    assert spec.file.rpartition("-")[2].startswith(facts.weights_sha256[:8])
    assert {"zoo-core", "torch", "onnx"} <= facts.versions.keys()
    # Nothing tells of the machine that it was made on.
    assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()
    assert b"site-packages" not in file.read_bytes()

    # Changed so that it lies about what it takes, it is refused, not run.
    signature = facts.signature | {"inputs": [{"name": "pictures", "dtype": "float32", "shape": [1, 3, 64, 64]}]}
    del model.metadata_props[:]
    for key, text in {**said, "signature": json.dumps({**signature, "arguments": ["pictures"]})}.items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, str(file))
    assert cli.main(["predict", str(file), str(SAMPLES / "bag.png")]) == 1


def test_an_own_checkpoint(run, data, tmp_path):
    """With other classes, as .pt2, of a fixed number of images: batches run in parts, the last of them filled up."""
    torch.manual_seed(0)
    model = zoo_classification.shufflenet_v2_x0_5(num_classes=3)
    fields = {"preset": "ImageClassification", "preset_arguments": {"crop_size": 48, "resize_size": 52}}
    path = saved(tmp_path, "shufflenet_v2_x0_5", model, arguments={"num_classes": 3}, labels=("a", "b", "c"), **fields)
    folder = tmp_path / "out"
    folder.mkdir()
    inputs = sorted(SAMPLES.glob("*.png"))[:5]
    exported = check_file(run, [path], folder / "own.pt2", inputs, export=["--dynamic", "none", "--batch-size", "2"])
    assert exported["inputs"][0]["shape"] == [2, 3, 48, 48]
    assert exported["outputs"][0]["shape"] == [2, 3]
    (found,) = predict(folder / "own.pt2", inputs[0])
    assert {label for _, label, _ in found.result.top(3)} == {"a", "b", "c"}
    # Its parameters are those of the file that was exported.
    assert read_metadata(folder / "own.pt2")["weights_sha256"] == exporting.job._hash(specs.find(path))


def test_eight_bits_and_normalisation_in_the_file(data, labels, tmp_path):
    spec = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1", labels=labels)
    exported = export(spec, tmp_path / "int8.onnx", int8=data, preprocess=True, opset=20)
    assert str(exported.signature.inputs[0]) == "images: uint8 [batch, 3, height, width]"
    assert exported.accuracy is not None
    before, after = exported.accuracy
    assert before["acc@1"] == 100.0
    assert after["acc@1"] >= 90.0
    assert (tmp_path / "int8.onnx").stat().st_size < 700_000
    model = onnx.load(str(tmp_path / "int8.onnx"))
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 20
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    eager = predict(spec, sorted(SAMPLES.glob("*.png")))
    quantized = predict(tmp_path / "int8.onnx", sorted(SAMPLES.glob("*.png")))
    for one, other in zip(quantized, eager, strict=True):
        assert (one.result.probabilities - other.result.probabilities).abs().max() < 0.1


def test_openvino_by_the_command(run, data, labels, tmp_path):
    """Its files are models like others, also with the engine named; another engine is refused."""
    inputs = [SAMPLES / "bag.png", SAMPLES / "coat.png"]
    exported = check_file(run, FASHION, tmp_path / "fashion.xml", inputs, export=["--format", "openvino"])
    file = Path(exported["files"][0])
    assert [Path(name).name for name in exported["files"]] == ["fashion.xml", "fashion.bin"]
    assert exported["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 3, "height", "width"]}]
    expected = run("evaluate", *FASHION[:1], data, *FASHION[1:], "--labels", labels)
    check_equal(run("evaluate", file, data, "--labels", labels, "--engine", "openvino"), expected)
    check_equal(
        run("predict", file, *inputs, "--engine", "openvino"), run("predict", *FASHION[:1], *inputs, *FASHION[1:])
    )
    error = run("predict", file, *inputs, "--engine", "onnxruntime", code=1)
    assert "files of the format openvino run in openvino, not onnxruntime" in error


def test_eight_bits_that_openvino_computes_wrongly_leave_no_file(data, labels, monkeypatch, tmp_path):
    """The real conversion, of a file in which the scale of the last layer is ten times as large: what a wrong fusion
    of layers comes to.
    """
    from zoo_core.exporting import job

    convert = job.onnx_to_openvino

    def spoiled(source: Path, target: Path, metadata) -> None:
        model = onnx.load(str(source))
        (scale,) = (tensor for tensor in model.graph.initializer if tensor.name == "logits_scale")
        scale.CopyFrom(onnx.numpy_helper.from_array(10 * onnx.numpy_helper.to_array(scale), scale.name))
        onnx.save(model, str(source))
        convert(source, target, metadata)

    monkeypatch.setattr(job, "onnx_to_openvino", spoiled)
    spec = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1", labels=labels)
    with pytest.raises(
        ExportError, match=r"OpenVINO's outputs .* differ by .* from the model's, those of ONNX Runtime by 0"
    ):
        export(spec, tmp_path / "int8.xml", int8=data)
    assert list(tmp_path.iterdir()) == []


def test_eight_bits_without_numbers_leave_no_file(data, labels, monkeypatch, tmp_path):
    from zoo_core.exporting import job

    monkeypatch.setattr(job, "_compare", lambda *_: {"1 x 64 x 64": job.Difference(float("inf"), "logits")})
    spec = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1", labels=labels)
    with pytest.raises(ExportError, match="are no numbers, or of another shape"):
        export(spec, tmp_path / "int8.onnx", int8=data, dynamic="none")
    assert list(tmp_path.iterdir()) == []


def test_weights_in_16_bits(tmp_path):
    spec = specs.find("shufflenet_v2_x0_5", weights="FASHIONMNIST_V1")
    exported = export(spec, tmp_path / "half.onnx", half=True, dynamic="batch")
    assert [str(tensor) for tensor in exported.signature.inputs] == ["images: float32 [batch, 3, 64, 64]"]
    assert 1e-6 < exported.difference.value < 1e-2
    assert (tmp_path / "half.onnx").stat().st_size < 900_000
    # Images of another size are refused with what the file takes.
    engine = load(_task(tmp_path / "half.onnx"))
    with pytest.raises(ValueError, match=r"the file takes images: float32 \[batch, 3, 64, 64\], and this is"):
        engine(torch.zeros(1, 3, 70, 64))


def _task(path: Path):
    spec = specs.find(path)
    return zoo_classification.task.ImageClassificationTask(spec)


def test_a_file_that_computes_something_else_is_not_left(monkeypatch, tmp_path, capsys):
    from zoo_core.exporting import job

    def spoil(path, facts, cases, most):
        return {"1 x 64 x 64": job.Difference(0.5, "logits")}

    monkeypatch.setattr(job, "_compare", spoil)
    file = tmp_path / "model.pt2"
    file.write_text("what was there before")
    assert cli.main(["export", *FASHION, "--output", str(file), "--dynamic", "none"]) == 1
    assert "for inputs of 1 x 64 x 64 the file's logits differ by 0.5" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.pt2", "what was there before")]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([*FASHION, "--output", "model.tflite"], r"exported models end in .onnx"),
        ([*FASHION, "--output", "model.onnx", "--format", "pt2"], "files of the format pt2 end in .pt2"),
        ([*FASHION, "--format", "pt2", "--half"], "half is for onnx and openvino"),
        ([*FASHION, "--half", "--int8", "."], "give half or int8, not both"),
        ([*FASHION, "--max-detections", "5"], "max_detections is for detectors"),
        ([*FASHION, "--size", "big"], "write it as in 480x640"),
        ([*FASHION, "--size", "8x64x64"], "the size must be height, width"),
        ([*FASHION, "--topk", "3"], "No such option"),
        (["resnet18", "--list"], "--list shows formats"),
        ([], "give the name of a model, or a checkpoint"),
        (["resnet"], "resnet"),
    ],
)
def test_usage(words, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *words]) in (1, 2)
    assert error in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_formats(run, capsys):
    listed = {entry["format"]: entry for entry in run("export", "--list")}
    assert listed.keys() == {"onnx", "openvino", "pt2"}
    assert listed["onnx"]["ready"]
    assert listed["pt2"] == {
        "format": "pt2",
        "ending": ".pt2",
        "runs_in": "torch.export, in Python or C++",
        "needs": None,
        "ready": True,
    }
    assert cli.main(["export", "--list"]) == 0
    assert "torch.export" in capsys.readouterr().out


def test_large_weights_lie_beside_under_the_name_that_the_file_has(monkeypatch, tmp_path):
    from zoo_core.graphs import writing

    monkeypatch.setattr(writing, "_MOST_BYTES_IN_ONE_FILE", 1000)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).eval()
    batch = torch.rand(2, 64)
    file = tmp_path / "large.onnx"
    exporting.export_module(model, exporting.Example((batch,), dynamic=({0: "batch"},)), file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data"]
    assert file.stat().st_size < 64 * 64 * 4 <= (tmp_path / "large.onnx.data").stat().st_size
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for path in (file, tmp_path / "large.onnx.data"):
        path.rename(folder / path.name)
    (found,) = open_file(folder / "large.onnx")(batch)
    torch.testing.assert_close(found, model(batch))


def test_a_model_of_one_size_says_so(tmp_path):
    torch.manual_seed(0)
    model = zoo_classification.vit_b_32(image_size=64, num_classes=2)
    fields = {"preset": "ImageClassification", "preset_arguments": {"crop_size": 64, "resize_size": 64}}
    path = saved(tmp_path, "vit_b_32", model, arguments={"num_classes": 2, "image_size": 64}, **fields)
    with pytest.raises(ExportError, match="takes images of 64 x 64 only"):
        export(path, tmp_path / "vit.pt2", dynamic="batch,size")
    exported = export(path, tmp_path / "vit.pt2")
    assert exported.signature.inputs[0].shape == ("batch", 3, 64, 64)
    (found,) = predict(tmp_path / "vit.pt2", SAMPLES / "bag.png")
    with Image.open(SAMPLES / "bag.png") as image:
        assert found.input.size == image.size
