"""What exported files say, read without a runtime: files made by hand here, whole and damaged."""

import contextlib
import json
import random
import zipfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from zoo_core import specs
from zoo_core.exported_files import ExportedFileError, ModelFacts, read_metadata

SIGNATURE = {
    "inputs": [{"name": "images", "dtype": "float32", "shape": ["batch", 3, 8, 8]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 2]}],
    "arguments": ["images"],
    "result": "logits",
}
FACTS = ModelFacts(
    "resnet18",
    "classification",
    arguments={"num_classes": 2},
    weights="V1",
    weights_sha256="f" * 64,
    labels=("größer & <kleiner>", 'a "quoted" one'),
    preset="ImageClassification",
    preset_arguments={"crop_size": 8, "mean": [0.5, 0.5, 0.5]},
    facts={"metrics": {"Flowers": {"acc@1": 91.5}}},
    signature=SIGNATURE,
    export={"half": True},
    versions={"torch": "2.13"},
)


def varint(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    """A field of protobuf: a number, or bytes with their length before them."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(path: Path, metadata: dict[str, str]) -> Path:
    entries = [field(14, field(1, key.encode()) + field(2, text.encode())) for key, text in metadata.items()]
    graph = field(7, bytes(1000))
    path.write_bytes(field(1, 10) + field(2, b"zoo") + graph + b"".join(entries))
    return path


def openvino(path: Path, metadata: dict[str, str]) -> Path:
    entries = "".join(f"<{key} value={quoteattr(text)}/>" for key, text in metadata.items())
    layer = '<layer><rt_info><zoo><model value="wrong"/></zoo></rt_info></layer>'
    path.write_text(
        f'<?xml version="1.0"?><net name="x"><layers>{layer}</layers><rt_info><zoo>{entries}</zoo></rt_info></net>',
        encoding="utf-8",
    )
    return path


def pt2(path: Path, metadata: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/extra/zoo.json", json.dumps(metadata))
        archive.writestr("model/data/weights", bytes(100))
    return path


WRITERS = {".onnx": onnx, ".xml": openvino, ".pt2": pt2}
writers = pytest.mark.parametrize("suffix", WRITERS)


@writers
def test_facts_come_back(suffix, tmp_path):
    path = WRITERS[suffix](tmp_path / f"model{suffix}", FACTS.as_metadata())
    again = ModelFacts.from_metadata(read_metadata(path), path)
    assert json.dumps(again.as_metadata()) == json.dumps(FACTS.as_metadata())
    assert again.labels == FACTS.labels
    assert again.weights == "V1"


@writers
def test_a_file_is_a_model_like_others(suffix, tmp_path):
    path = WRITERS[suffix](tmp_path / f"model{suffix}", FACTS.as_metadata())
    spec = specs.find(path)
    assert (spec.name, spec.task, spec.format) == ("resnet18", "classification", FORMATS[suffix])
    assert spec.file == str(path)
    assert spec.labels == FACTS.labels
    assert spec.preset_arguments == FACTS.preset_arguments
    assert specs.find(path, labels=["cat", "dog"]).labels == ("cat", "dog")
    with pytest.raises(ValueError, match="2 classes, and there are 3 labels"):
        specs.find(path, labels=["cat", "dog", "bird"])
    with pytest.raises(ValueError, match="only the names of its classes can be changed"):
        specs.find(path, preset_arguments={"crop_size": 8})
    with pytest.raises(ValueError, match="there is no module to build"):
        specs.build(spec)


FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "pt2"}


@writers
def test_a_file_of_others_says_so(suffix, tmp_path):
    path = WRITERS[suffix](tmp_path / f"model{suffix}", {"author": "somebody"})
    with pytest.raises(ExportedFileError, match="was not written by `zoo export`"):
        specs.find(path)


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [
        ("model", "", "does not say its model"),
        ("signature", "{", "signature are no JSON"),
        ("labels", "{}", "labels must be a list"),
        ("labels", "[1, 2]", "labels must be strings"),
        ("arguments", "[]", "arguments must be a dict"),
    ],
)
@writers
def test_changed_metadata(suffix, key, text, error, tmp_path):
    path = WRITERS[suffix](tmp_path / f"model{suffix}", FACTS.as_metadata() | {key: text})
    with pytest.raises(ExportedFileError, match=error) as caught:
        specs.find(path)
    assert str(path) in str(caught.value)


@writers
def test_damaged_files_raise_one_kind_of_error(suffix, tmp_path):
    whole = WRITERS[suffix](tmp_path / f"model{suffix}", FACTS.as_metadata()).read_bytes()
    generator = random.Random(0)
    path = tmp_path / f"damaged{suffix}"
    for number in range(300):
        content = bytearray(whole)
        if number % 3 == 0:
            del content[generator.randrange(len(content)) :]
        else:
            for _ in range(generator.choice([1, 5, 50])):
                content[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(content)
        with contextlib.suppress(ExportedFileError):
            ModelFacts.from_metadata(read_metadata(path), path)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_an_empty_file(suffix, tmp_path):
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(ExportedFileError, match="no exported model"):
        read_metadata(path)


def test_a_large_file_is_not_read(tmp_path):
    path = onnx(tmp_path / "large.onnx", FACTS.as_metadata())
    metadata = path.read_bytes()
    size = 5 * 2**30
    with path.open("wb") as file:  # with a hole in it, which takes no room
        file.write(varint(7 << 3 | 2) + varint(size))
        file.seek(size, 1)
        file.write(metadata)
    assert read_metadata(path)["model"] == "resnet18"
