"""State dicts written as safetensors: read back by our reader, and laid out as the format says."""

import json
import struct

import pytest
import torch

from zoo_core.checkpoints import read_state_dict, save_safetensors


def test_what_is_written_is_read_back(tmp_path):
    shared = torch.rand(4, 6)
    state = {
        "weight": shared.t(),  # not contiguous
        "half": shared[1:3].to(torch.bfloat16),
        "steps": torch.tensor(-7),
        "none": torch.empty(0, 3),
        "mask": torch.tensor([True, False, True]),
        "grün": torch.nn.Parameter(torch.rand(2)),
    }
    path = tmp_path / "model.safetensors"
    save_safetensors(state, path, metadata={"made by": "a test"})
    found = read_state_dict(path)
    assert list(found) == list(state)
    for key, value in state.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key
    assert [child.name for child in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_layout_is_the_formats(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3], dtype=torch.int64)}, path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]},
    }
    assert struct.unpack("<2fq", content[8 + length :]) == (1.0, 2.0, 3)


def test_what_the_format_does_not_have_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors({"a": torch.ones(1)}, path)
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    for value in (quantized, torch.ones(2).to_sparse(), "text"):
        with pytest.raises(TypeError, match=r"^a: safetensors has no place for"):
            save_safetensors({"a": value}, path)
    assert torch.equal(read_state_dict(path)["a"], torch.ones(1))
