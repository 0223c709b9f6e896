"""Values in a state dict that share memory, and values that a model cannot hold."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo_core.checkpoints import StateDictError, assign_state_dict, read_state_dict


class Two(nn.Module):
    """Two layers that have nothing to do with each other, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def on_meta() -> Two:
    with torch.device("meta"):
        return Two()


def complete() -> dict[str, Any]:
    torch.manual_seed(0)
    return dict(Two().state_dict())


def shares_memory(model: nn.Module) -> bool:
    """Whether writing to one tensor of the model changes another one, or more of it than was written to."""
    tensors = list(model.state_dict().values())
    with torch.no_grad():
        for index, tensor in enumerate(tensors):
            before = [other.clone() for other in tensors]
            element = tensor[(0,) * tensor.dim()]
            element += 1
            changed = [int((other != old).sum()) for other, old in zip(tensors, before, strict=True)]
            element -= 1
            if changed != [int(i == index) for i in range(len(tensors))]:
                return True
    return False


# Values that share memory.


def aliases(kind: str) -> dict[str, Tensor]:
    state_dict = complete()
    base = torch.arange(24.0)
    match kind:
        case "the same":
            state_dict["second.weight"] = state_dict["first.weight"]
        case "overlapping":
            state_dict["first.weight"], state_dict["second.weight"] = base[:16].view(4, 4), base[8:].view(4, 4)
        case "transposed":
            state_dict["first.weight"], state_dict["second.weight"] = base[:16].view(4, 4), base[:16].view(4, 4).t()
        case "expanded":
            state_dict["first.weight"] = torch.tensor(3.0).expand(4, 4)
        case "expanded in one dimension":
            state_dict["first.weight"] = torch.arange(4.0).expand(4, 4)
        case "windows":
            state_dict["first.weight"] = base.as_strided((4, 4), (1, 1))
        case "of a diagonal":
            state_dict["first.weight"] = base.as_strided((4, 4), (3, 3))
        case "neighbours":
            state_dict["first.weight"], state_dict["first.bias"] = base[:16].view(4, 4), base[16:20]
    return state_dict


KINDS = [
    *("the same", "overlapping", "transposed", "expanded", "expanded in one dimension"),
    *("windows", "of a diagonal", "neighbours"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["memory", "file", "mapped", "legacy"])
def test_tensors_get_memory_of_their_own(tmp_path: Path, kind: str, source: str) -> None:
    expected = {key: value.clone() for key, value in aliases(kind).items()}
    state_dict: dict[str, Any] = aliases(kind)
    if source != "memory":
        torch.save(state_dict, tmp_path / "x.pth", _use_new_zipfile_serialization=source != "legacy")
        state_dict = read_state_dict(tmp_path / "x.pth", mapped=source == "mapped")
    model = on_meta()
    assign_state_dict(model, state_dict, source="x")
    for key, value in expected.items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    assert not shares_memory(model)

    optimizer = torch.optim.SGD([model.first.weight], lr=0.1)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(model.second.weight.detach(), expected["second.weight"], rtol=0, atol=0)


def test_values_that_do_not_overlap_are_not_copied() -> None:
    state_dict = aliases("neighbours")
    model = on_meta()
    assign_state_dict(model, state_dict, source="x")
    assert model.first.weight.data_ptr() == state_dict["first.weight"].data_ptr()
    assert model.first.bias.data_ptr() == state_dict["first.bias"].data_ptr()


def test_what_the_model_ties_stays_tied(tmp_path: Path) -> None:
    model = Two()
    model.second.weight = model.first.weight
    torch.save(model.state_dict(), tmp_path / "x.pth")
    other = on_meta()
    other.second.weight = other.first.weight
    assign_state_dict(other, read_state_dict(tmp_path / "x.pth"), source="x")
    assert other.second.weight is other.first.weight
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_channels_last_stays() -> None:
    with torch.device("meta"):
        model = nn.Conv2d(3, 4, 3)
    weight = torch.rand(4, 3, 3, 3).to(memory_format=torch.channels_last)
    assign_state_dict(model, {"weight": weight, "bias": weight.flatten()[:4]}, source="x")
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.weight.data_ptr() == weight.data_ptr()
    assert model.bias.tolist() == weight.flatten()[:4].tolist()


# Values that a model cannot hold.


def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("key", "make", "reason"),
    [
        ("first.weight", lambda: torch.eye(4).to_sparse(), "sparse_coo"),
        ("first.weight", lambda: torch.eye(4).to_sparse_csr(), "sparse_csr"),
        ("steps", lambda: torch.tensor(1).to_sparse(), "sparse_coo"),
        ("first.weight", lambda: torch.eye(4) * 1j, "complex64: float32 has no imaginary part"),
        ("first.weight", lambda: torch.eye(4) * (1 + 0j), "complex64: float32 has no imaginary part"),
        ("steps", lambda: torch.tensor(1j), "complex64: int64 has no imaginary part"),
        ("first.weight", lambda: torch.nested.nested_tensor([torch.ones(4), torch.ones(2)]), "nested"),
        (
            "first.weight",
            lambda: torch.nested.nested_tensor([torch.ones(4), torch.ones(2)], layout=torch.jagged),
            "nested",
        ),
        ("first.weight", quantized, "qint8, where the model has float32"),
        ("first.weight", nn.parameter.UninitializedParameter, "not initialized"),
        ("first.weight", lambda: torch.full((4, 4), 1e300, dtype=torch.float64), "float64 with numbers that float32"),
        ("steps", lambda: torch.tensor(0.5), "float32 with numbers that int64 cannot hold"),
        ("steps", lambda: torch.tensor(float("nan")), "float32 with numbers that int64 cannot hold"),
        ("steps", lambda: torch.tensor(float("inf")), "float32 with numbers that int64 cannot hold"),
        ("steps", lambda: torch.tensor(1e30), "float32 with numbers that int64 cannot hold"),
    ],
)
def test_values_of_the_wrong_kind_are_named(key: str, make: Any, reason: str) -> None:
    with pytest.raises(StateDictError) as caught:
        assign_state_dict(on_meta(), complete() | {key: make()}, source="x.pth")
    first, line, *_ = str(caught.value).splitlines()
    assert first == "x.pth does not fit Two:"
    assert line.startswith(f"  1 entry that the model cannot hold: {key} ({reason}")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("model_dtype", "value", "fits"),
    [
        (torch.float16, torch.tensor([1e5] * 4), False),
        (torch.float16, torch.tensor([65504.0] * 4), True),
        (torch.float16, torch.tensor([70000] * 4), False),
        (torch.bfloat16, torch.tensor([3.38e38] * 4), True),
        (torch.bfloat16, torch.tensor([torch.finfo(torch.float32).max] * 4), False),
        (torch.float32, torch.tensor([2**62, -1, 0, 1]), True),
        (torch.float32, torch.tensor([True, False, True, True]), True),
        (torch.float32, torch.tensor([1.0, float("nan"), float("inf"), -float("inf")], dtype=torch.float64), True),
        (torch.float32, torch.tensor([1.0, 1e39, 0.0, 0.0], dtype=torch.float64), False),
        (torch.float32, torch.tensor([1e-300] * 4, dtype=torch.float64), True),
        (torch.float32, torch.tensor([1.5, 2.0, -3.0, 0.25]).to(torch.float8_e5m2), True),
    ],
)
def test_numbers_are_converted_or_refused(model_dtype: torch.dtype, value: Tensor, fits: bool) -> None:
    state_dict = complete() | {"first.bias": value}
    model = on_meta().to(model_dtype)
    if fits:
        assign_state_dict(model, state_dict, source="x")
        assert model.first.bias.requires_grad
        torch.testing.assert_close(model.first.bias.detach(), value.to(model_dtype), rtol=0, atol=0, equal_nan=True)
    else:
        with pytest.raises(StateDictError, match=rf"first\.bias \({str(value.dtype)[6:]} with numbers that"):
            assign_state_dict(model, state_dict, source="x")


@pytest.mark.parametrize("value", [torch.tensor(7.0), torch.tensor(7, dtype=torch.uint8), torch.tensor(7.0).half()])
def test_whole_numbers_of_another_type(value: Tensor) -> None:
    model = on_meta()
    assign_state_dict(model, complete() | {"steps": value}, source="x")
    assert model.steps.dtype == torch.int64
    assert model.steps.item() == 7


def test_nan_and_infinity_are_values_like_others() -> None:
    model = on_meta()
    assign_state_dict(model, complete() | {"first.bias": torch.tensor([float("nan"), float("inf"), 0, 1])}, source="x")
    assert model.first.bias.isnan().sum() == 1


def test_all_that_is_wrong_is_reported_at_once() -> None:
    state_dict = complete() | {"first.bias": torch.eye(4).to_sparse(), "other": torch.ones(1) * 1j}
    del state_dict["second.bias"]
    state_dict["first.weight"] = torch.ones(3, 3)
    with pytest.raises(StateDictError) as caught:
        assign_state_dict(on_meta(), state_dict, source="x")
    assert str(caught.value).splitlines()[1:5] == [
        "  1 entry missing from the checkpoint: second.bias",
        "  1 entry unknown to the model: other",
        "  1 entry of another shape: first.weight (checkpoint [3, 3], model [4, 4])",
        "  1 entry that the model cannot hold: first.bias (sparse_coo)",
    ]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (5, "int where a dict is expected"),
        ([("first", {})], "list where a dict is expected"),
        ({"first": 5}, "entry 'first' should be a dict"),
        ({5: {}}, "entry 5 should be a dict"),
        ({"first": {"version": "two"}}, "version of 'first' is 'two', no integer"),
        ({"fir\x1bst": {"version": 1.5}}, r"version of 'fir\\x1bst' is 1.5"),
        ({"first": {"version": torch.ones(1)}}, "version of 'first' is tensor"),
    ],
)
def test_broken_metadata(metadata: Any, message: str) -> None:
    state_dict = OrderedDict(complete())
    state_dict._metadata = metadata  # type: ignore[attr-defined]
    with pytest.raises(StateDictError, match=f"x has a damaged _metadata: .*{message}"):
        assign_state_dict(on_meta(), state_dict, source="x")


def test_unusual_metadata_that_is_valid() -> None:
    state_dict = OrderedDict(complete())
    state_dict._metadata = {"": {}, "first": {"version": None}, "elsewhere": {"version": 3}}  # type: ignore[attr-defined]
    assign_state_dict(on_meta(), state_dict, source="x")


def test_keys_that_are_no_names() -> None:
    with pytest.raises(StateDictError, match="it has the key 5, but names of parameters are strings"):
        assign_state_dict(on_meta(), complete() | {5: torch.ones(1)}, source="x")


def test_control_characters_in_keys_are_escaped() -> None:
    with pytest.raises(StateDictError) as caught:
        assign_state_dict(on_meta(), complete() | {"red\x1b[31m\nred": torch.ones(1)}, source="x")
    assert "1 entry unknown to the model: red\\x1b[31m\\nred" in str(caught.value)
