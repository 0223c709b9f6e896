"""Files appear when they are whole: modules as .pt2 files, which need nothing but torch."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from zoo_core import extras
from zoo_core.engines import open_file
from zoo_core.exported_files import read_metadata
from zoo_core.exporting import Example, ExportError, Signature, export_module
from zoo_core.graphs.writing import placed


class Two(nn.Module):
    """Sums and products of two batches, by name."""

    def forward(self, first, second, scale=1.0):
        return {"sums": (first + second) * scale, "products": [first * second]}


class Counting(nn.Module):
    """Decides by a value, which cannot be recorded."""

    def forward(self, x):
        return x[: int(x.sum())] if x.sum() > 3 else x


def test_a_module_as_a_file(tmp_path):
    first, second = torch.rand(2, 5), torch.rand(2, 5)
    path = tmp_path / "two.pt2"
    example = Example(
        (first, second),
        names=("first", "second"),
        dynamic=({0: "batch"}, {0: "batch"}),
        forward_arguments={"scale": 2.0},
    )
    signature = export_module(Two().eval(), example, path, metadata={"author": "me"})
    assert [str(tensor) for tensor in signature.inputs] == ["first: float32 [batch, 5]", "second: float32 [batch, 5]"]
    assert [tensor.name for tensor in signature.outputs] == ["sums", "products"]
    said = read_metadata(path)
    assert said["author"] == "me"
    assert Signature.from_dict(json.loads(said["signature"])) == signature
    program = open_file(path)
    for count in (1, 2, 7):
        a, b = torch.rand(count, 5), torch.rand(count, 5)
        found = signature.result_of(program(a, b))
        torch.testing.assert_close(found["sums"], 2 * (a + b))
        torch.testing.assert_close(found["products"][0], a * b)
    assert os.listdir(tmp_path) == ["two.pt2"]


def test_what_cannot_be_recorded_leaves_nothing(tmp_path):
    with pytest.raises(ExportError, match=r"torch\.export cannot record it"):
        export_module(Counting().eval(), Example((torch.ones(5),)), tmp_path / "x.pt2")
    assert os.listdir(tmp_path) == []


def test_an_ending_that_is_no_format(tmp_path):
    with pytest.raises(ValueError, match=r"exported models end in \.onnx \(onnx\)"):
        export_module(nn.ReLU(), Example((torch.ones(5),)), tmp_path / "x.tflite")


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch, tmp_path):
    for name in ("onnx", "onnxscript", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    for ending, extra in ((".onnx", "onnx"), (".xml", "openvino")):
        with pytest.raises(extras.MissingExtraError, match=rf"pip install 'zoo-core\[{extra}\]'"):
            export_module(nn.ReLU(), Example((torch.ones(5),)), tmp_path / f"x{ending}")
    assert os.listdir(tmp_path) == []


def test_files_are_placed_together(tmp_path):
    path = tmp_path / "model.xml"
    with placed(path) as temporary:
        temporary.write_text("new")
        temporary.with_suffix(".bin").write_text("new weights")
        assert not path.exists()
    assert sorted(os.listdir(tmp_path)) == ["model.bin", "model.xml"]


def test_what_was_there_stays_if_something_fails(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    (tmp_path / "model.onnx.data").write_text("old weights")

    def fail() -> None:
        with placed(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "model.onnx": "old",
        "model.onnx.data": "old weights",
    }
    with placed(path) as temporary:
        temporary.write_text("new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"model.onnx": "new"}


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"), placed(tmp_path / "a" / "m.onnx"):
        pass
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(IsADirectoryError), placed(tmp_path / "m.onnx"):
        pass


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by children of what a shell runs in the background
from pathlib import Path
from zoo_core.graphs.writing import placed
with placed(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of it")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_export_leaves_no_file_of_that_name(kind, tmp_path):
    path = tmp_path / "model.onnx"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(kind)
    process.wait(30)
    process.stdout.close()
    assert not path.exists()
    left = os.listdir(tmp_path)
    if kind == signal.SIGINT:
        assert left == []
    # What a process cannot clean up that is killed is hidden, and goes with the next export.
    assert all(name.startswith(".") for name in left)
    with placed(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["model.onnx"]
