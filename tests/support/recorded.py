"""Tests of models as tools record them, compared with the models themselves.

A module of tests says of which builders, and takes those that it wants:

    case = recorded.cases(["resnet18"])
    test_jit_trace = recorded.test_jit_trace

With ``--junitxml`` the largest difference that each test found stands in its report.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import recording
from support.recording import Inputs
from zoo_core.engines import open_file
from zoo_core.graphs.recording import Example, record
from zoo_core.graphs.writing import onnx_to_openvino, write

TOLERANCE = 1e-4


@dataclass
class Case:
    """A builder's model, what it is recorded with, and inputs of other batches."""

    name: str
    folder: Path

    @cached_property
    def model(self) -> nn.Module:
        return recording.small_model(self.name)

    @cached_property
    def inputs(self) -> Inputs:
        return recording.small_inputs(self.name)

    @cached_property
    def batches(self) -> list[Inputs]:
        """What it is recorded with, and two batches of other sizes."""
        return [self.inputs, tuple(x[:1].flip(-1) for x in self.inputs), recording.small_inputs(self.name, batch=3)]

    @cached_property
    def expected(self) -> list[list[Tensor]]:
        """The model's own outputs for each batch."""
        return [recording.run(self.model, batch) for batch in self.batches]

    @cached_property
    def file_of_any_batch(self) -> Path:
        """The model exported with a dynamic batch."""
        return recording.to_onnx(self.model, self.inputs, self.folder / "any_batch.onnx", dynamic=True)

    def check(self, recorded: Callable[..., object], report: Callable[[str, object], None], *, any_batch: bool) -> None:
        """Compares what was recorded with the model, and reports the largest difference."""
        pairs = list(zip(self.batches, self.expected, strict=True))[: None if any_batch else 1]
        difference = max(recording.largest_difference(recorded, *pair) for pair in pairs)
        report("largest difference", f"{difference:.1e}")
        assert difference < TOLERANCE


def cases(names: Iterable[str]) -> Any:
    """The fixture ``case``: one model at a time is in memory, and one file of it on the disk."""

    # With pytest-xdist's `--dist loadgroup` all tests of a model run in one process.
    params = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]

    @pytest.fixture(scope="module", params=params)
    def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
        found = Case(request.param, tmp_path_factory.mktemp(request.param))
        yield found
        for file in found.folder.iterdir():
            file.unlink()
        del found
        gc.collect()

    return case


def test_symbolic_trace(case: Case, record_property) -> None:
    torch.fx.symbolic_trace(case.model.train())
    case.check(torch.fx.symbolic_trace(case.model.eval()), record_property, any_batch=True)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_jit_trace(case: Case, record_property) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(case.model, case.inputs, strict=False, check_trace=False)
    case.check(traced, record_property, any_batch=True)


def test_onnx_with_a_dynamic_batch(case: Case, record_property) -> None:
    program = recording.onnx_runtime(case.file_of_any_batch)
    case.check(program, record_property, any_batch=True)


def test_onnx_with_a_fixed_batch(case: Case, record_property) -> None:
    program = recording.onnx_runtime(recording.to_onnx(case.model, case.inputs, case.folder / "fixed_batch.onnx"))
    case.check(program, record_property, any_batch=False)


@pytest.mark.filterwarnings("ignore")
def test_onnx_by_the_older_exporter(case: Case, record_property) -> None:
    file = recording.to_onnx(case.model, case.inputs, case.folder / "older.onnx", older=True)
    case.check(recording.onnx_runtime(file), record_property, any_batch=False)


def test_onnx_in_openvino(case: Case, record_property) -> None:
    case.check(recording.openvino(case.file_of_any_batch), record_property, any_batch=True)


def test_pt2_file(case: Case, record_property) -> None:
    """As `zoo export --format pt2` records and writes it."""
    dynamic = tuple({0: "batch"} for _ in case.inputs)
    names = tuple(f"images{place}" for place in range(len(case.inputs)))
    file = case.folder / "model.pt2"
    write(record(case.model, Example(case.inputs, names, dynamic)), file, "pt2")
    case.check(open_file(file), record_property, any_batch=True)


def test_openvino_file(case: Case, record_property) -> None:
    """As `zoo export --format openvino` makes it of an ONNX file."""
    file = case.folder / "model.xml"
    onnx_to_openvino(case.file_of_any_batch, file, {"zoo": "of a test"})
    program = open_file(file)
    assert program.metadata["zoo"] == "of a test"
    case.check(program, record_property, any_batch=True)
