"""RAFT in an engine: two images in, a list of flows out, with the arguments that the task gives it."""

import pytest
import torch

from support import recording
from zoo_core.engines import compile_for


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("torch")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_pairs_give_what_the_model_gives(engine: str, home, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(home))  # one export serves both engines
    model = recording.small_model("raft_small")
    pair = recording.small_inputs("raft_small")
    arguments = {"num_flow_updates": 2, "last_only": True}
    fast = compile_for(model, engine, arguments=arguments)
    with torch.inference_mode():
        for inputs in (pair, tuple(images[:1].flip(-1) for images in pair)):
            (expected,) = model(*inputs, **arguments)
            (found,) = fast(*inputs)
            assert found.shape == expected.shape
            assert float((found - expected).abs().max()) < 1e-3 * float(expected.abs().max())
