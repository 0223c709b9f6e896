"""Exported files in the runtimes: what goes in and out, from several threads, and what is refused."""

import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_core.engines import ProgramError, open_file

onnx = pytest.importorskip("onnx")


class Net(nn.Module):
    """A convolution of the first image, and its difference from the second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 108).reshape(4, 3, 3, 3))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return F.conv2d(first, self.weight, padding=1).relu(), second - first


def onnx_file(folder: Path) -> Path:
    """:class:`Net` as a graph that is written by hand, for any batch and size."""
    from onnx import TensorProto, helper, numpy_helper

    sides = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["first", "weight"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["convolved"], ["features"]),
            helper.make_node("Sub", ["second", "first"], ["difference"]),
        ],
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("first", "second")],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4, "height", "width"]),
            helper.make_tensor_value_info("difference", TensorProto.FLOAT, sides),
        ],
        [numpy_helper.from_array(Net().weight.detach().numpy(), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"name": "net"})
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    import openvino

    folder = tmp_path_factory.mktemp("programs")
    path = onnx_file(folder)
    openvino.save_model(openvino.Core().read_model(path), folder / "net.xml", compress_to_fp16=False)
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Net(), inputs(2, 8, 9), dynamic_shapes=(dynamic, dynamic))
    torch.export.save(program, folder / "net.pt2", extra_files={"zoo.json": '{"name": "net"}'})
    return {"onnx": path, "openvino": folder / "net.xml", "pt2": folder / "net.pt2"}


def inputs(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * height * width)
    return torch.rand(batch, 3, height, width, generator=generator), torch.rand(
        batch, 3, height, width, generator=generator
    )


WAYS = [("onnx", None), ("onnx", "openvino"), ("openvino", None), ("pt2", None)]


@pytest.mark.parametrize(("format", "engine"), WAYS)
@pytest.mark.parametrize("fixed", [False, True])
def test_outputs_are_those_of_the_module(files, format: str, engine: str | None, fixed: bool) -> None:
    given = inputs(2, 12, 7)
    shapes = [tuple(value.shape) for value in given] if fixed else None
    program = open_file(files[format], engine=engine, shapes=shapes)
    assert len(program.inputs) == len(program.outputs) == 2
    kept = program(*given)
    torch.testing.assert_close(tuple(kept), Net()(*given))
    before = [value.clone() for value in kept]
    program(*(value + 1 for value in given))
    torch.testing.assert_close(kept, before, rtol=0, atol=0)  # later calls leave them alone
    # Another layout in memory, and a wider dtype, are the same numbers.
    torch.testing.assert_close(program(given[0].to(memory_format=torch.channels_last), given[1].double()), kept)
    if not fixed:
        for other in (inputs(1, 12, 7), inputs(3, 5, 6)):
            torch.testing.assert_close(tuple(program(*other)), Net()(*other))


@pytest.mark.parametrize(("format", "engine"), WAYS[:3])
def test_what_the_file_was_not_fixed_to_is_refused(files, format: str, engine: str | None) -> None:
    given = inputs(2, 12, 7)
    program = open_file(files[format], engine=engine, shapes=[value.shape for value in given])
    with pytest.raises(ProgramError, match=r"first \(1, 3, 12, 7\)"):
        program(*inputs(1, 12, 7))
    with pytest.raises(ProgramError, match=r"2 tensors \(first, second\), not 1"):
        program(given[0])


@pytest.mark.parametrize(("format", "engine"), WAYS)
def test_several_threads_may_call(files, format: str, engine: str | None) -> None:
    program = open_file(files[format], engine=engine, threads=1)
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for side in range(4, 24):
                given = inputs(1, side, seed + 3)
                torch.testing.assert_close(tuple(program(*given)), Net()(*given))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bf16_is_near_fp32(files) -> None:
    given = inputs(2, 16, 16)
    exact = Net()(*given)[0]
    found = open_file(files["openvino"], precision="bf16")(*given)[0]
    assert found.dtype is torch.float32
    assert (found - exact).abs().max() < 0.03 * exact.abs().max()


def test_what_a_file_says_about_itself(files) -> None:
    assert open_file(files["onnx"]).metadata == {"name": "net"}
    assert open_file(files["onnx"], engine="openvino").metadata["name"] == "net"
    assert open_file(files["pt2"]).metadata == {"name": "net"}


def test_what_cannot_be_opened_is_said(files, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"ending tells no format.*\.onnx"):
        open_file(tmp_path / "net.bin")
    with pytest.raises(ValueError, match="run in onnxruntime or openvino, not torch"):
        open_file(files["onnx"], engine="torch")
    with pytest.raises(ValueError, match="bf16 takes the engine openvino or torch"):
        open_file(files["onnx"], engine="onnxruntime", precision="bf16")
    with pytest.raises(ValueError, match="unknown engine 'tensorrt'; there are torch"):
        open_file(files["onnx"], engine="tensorrt")
    for format, engine in WAYS:
        path = tmp_path / f"damaged{files[format].suffix}"
        path.write_bytes(files[format].read_bytes()[:100])
        with pytest.raises(ProgramError, match="damaged"):
            open_file(path, format=format, engine=engine)


@pytest.mark.parametrize(("engine", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_runtime_is_named_with_its_command(files, monkeypatch, engine: str, extra: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, engine, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'zoo-core\[{extra}\]'"):
        open_file(files["onnx"], engine=engine)
