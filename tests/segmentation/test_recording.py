"""What torch.fx, torch.jit and the exporters to ONNX make of the models.

One builder of each family, the smallest; `nox -s exports` has all of them, and fixed batches beside dynamic ones.
"""

import pytest
import torch

from support import recording

NAMES = recording.smallest_of_each_family("segmentation")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """A model, inputs for it, and inputs of another batch."""
    name = request.param
    return recording.small_model(name), recording.small_inputs(name), recording.small_inputs(name, batch=3)


@pytest.mark.parametrize("train", [False, True])
def test_symbolic_trace(case, train):
    model, inputs, others = case
    traced = torch.fx.symbolic_trace(model.train(train))
    assert isinstance(model.eval(), torch.nn.Module)
    if not train:
        for given in (inputs, others):
            assert recording.largest_difference(traced, model, given) < 1e-4


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_jit_trace(case):
    model, inputs, others = case
    with torch.no_grad():
        traced = torch.jit.trace(model, inputs, strict=False, check_trace=False)
    for given in (inputs, others):
        assert recording.largest_difference(traced, model, given) < 1e-4


def test_onnx_with_a_dynamic_batch(case, tmp_path):
    model, inputs, _ = case
    assert recording.onnx_difference(model, inputs, tmp_path / "model.onnx", dynamic=True) < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_onnx_by_the_older_exporter(case, tmp_path):
    model, inputs, _ = case
    program = recording.onnx_runtime(recording.to_onnx(model, inputs, tmp_path / "model.onnx", older=True))
    assert recording.largest_difference(program, model, inputs) < 1e-4
