"""Every builder of flow, recorded by each of the tools."""

import gc

import pytest
import torch

from support import recording, reference

NAMES = reference.model_names("flow")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """The name of a builder, its model, and inputs for it."""
    yield request.param, recording.small_model(request.param), recording.small_inputs(request.param)
    gc.collect()


@pytest.mark.filterwarnings("ignore")
def test_jit_trace(case):
    name, model, inputs = case
    with torch.no_grad():
        traced = torch.jit.trace(model, inputs, strict=False, check_trace=False)
    for given in (inputs, recording.small_inputs(name, batch=3)):
        assert recording.largest_difference(traced, model, given) < 1e-4


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_onnx(case, tmp_path, dynamic):
    name, model, inputs = case
    difference = recording.onnx_difference(model, inputs, tmp_path / "model.onnx", dynamic=dynamic)
    print(f"{name} {'dynamic' if dynamic else 'fixed'} {difference:.1e}")
    assert difference < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_onnx_by_the_older_exporter(case, tmp_path):
    _, model, inputs = case
    program = recording.onnx_runtime(recording.to_onnx(model, inputs, tmp_path / "model.onnx", older=True))
    assert recording.largest_difference(program, model, inputs) < 1e-4
