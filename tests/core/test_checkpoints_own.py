"""Checkpoints that users have written: what is around the state dict, and in front of its names."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo_core.checkpoints import (
    UnreadableCheckpointError,
    assign_state_dict,
    read_content,
    read_own_state_dict,
    without_wrappers,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.module = nn.Linear(4, 2)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def assert_loads(net: Net, path: Path, **arguments: Any) -> None:
    with torch.device("meta"):
        model = Net()
    assign_state_dict(model, read_own_state_dict(path, **arguments), source="x")
    torch.testing.assert_close(model.state_dict(), net.state_dict(), rtol=0, atol=0)


def training_state(net: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.AdamW(net.parameters())
    sum(parameter.sum() for parameter in net.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"last": torch.ones(1)},
        "rng": {"cpu": torch.get_rng_state()},
        "epoch": 3,
        "names": ["a", "b"],
    }


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "ema"])
@pytest.mark.parametrize("legacy", [False, True])
def test_beside_the_state_of_training(tmp_path: Path, net: Net, key: str, legacy: bool) -> None:
    rest = training_state(net)
    torch.save({key: net.state_dict()} | rest, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    assert_loads(net, tmp_path / "x.pth")


def test_one_of_several(tmp_path: Path, net: Net) -> None:
    other = {name: value + 1 for name, value in net.state_dict().items()}
    torch.save({"model": other, "ema": net.state_dict(), "epoch": 1}, tmp_path / "x.pth")
    with pytest.raises(UnreadableCheckpointError, match=r"several state dicts \(model, ema\): choose one with key="):
        read_own_state_dict(tmp_path / "x.pth")
    assert_loads(net, tmp_path / "x.pth", key="ema")
    with pytest.raises(UnreadableCheckpointError, match=r"no state dict under 'epoch': .* there are model, ema"):
        read_own_state_dict(tmp_path / "x.pth", key="epoch")


def wrapped(net: Net, by: str) -> nn.Module:
    match by:
        case "data parallel":
            return nn.DataParallel(net)
        case "compile":
            return torch.compile(net)  # type: ignore[return-value]
        case "both":
            return nn.DataParallel(torch.compile(net))  # type: ignore[arg-type]
        case "both, the other way round":
            return torch.compile(nn.DataParallel(net))  # type: ignore[return-value]
        case "compile of a part":
            net.body = torch.compile(net.body)  # type: ignore[assignment]
            return net
        case "averaging":
            return torch.optim.swa_utils.AveragedModel(net)
        case _:
            return net


@pytest.mark.parametrize(
    "by",
    ["", "data parallel", "compile", "both", "both, the other way round", "compile of a part", "averaging"],
)
def test_names_that_wrappers_have_changed(tmp_path: Path, net: Net, by: str) -> None:
    state_dict = wrapped(net, by).state_dict()
    torch.save({"state_dict": state_dict}, tmp_path / "x.pth")
    plain = read_own_state_dict(tmp_path / "x.pth")
    expected = Net().state_dict()
    assert list(plain) == list(expected)
    metadata = plain._metadata  # type: ignore[attr-defined]
    assert metadata["body.1"] == {"version": 2}
    assert metadata.keys() == expected._metadata.keys()
    with torch.device("meta"):
        model = Net()
    assign_state_dict(model, plain, source="x")
    for (_, value), original in zip(model.state_dict().items(), plain.values(), strict=True):
        assert torch.equal(value, original)


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["module.a", "module.module.b"], ["a", "module.b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["module.module.a", "module.module.b"], ["a", "b"]),
        (["n_averaged", "module.a"], ["a"]),
        (["n_averaged", "a"], ["n_averaged", "a"]),
        (["n_averaged"], ["n_averaged"]),
        (["_orig_mod.a", "a"], ["_orig_mod.a", "a"]),
        (["my_orig_mod.a"], ["my_orig_mod.a"]),
        (["a._fsdp_wrapped_module.b", "a._checkpoint_wrapped_module._orig_mod.c"], ["a.b", "a.c"]),
        (["module."], [""]),
        ([], []),
    ],
)
def test_which_names_are_left_as_they_are(names: list[str], plain: list[str]) -> None:
    assert list(without_wrappers(dict.fromkeys(names, 0))) == plain


def test_metadata_that_is_none_is_left_for_the_message_about_it() -> None:
    state_dict = OrderedDict({"module.a": torch.ones(1)})
    state_dict._metadata = 5  # type: ignore[attr-defined]
    assert without_wrappers(state_dict)._metadata == 5  # type: ignore[attr-defined]


def test_what_a_file_says_costs_no_memory(tmp_path: Path, net: Net) -> None:
    torch.save({"model": net.state_dict(), "labels": ["cat", "dog"]}, tmp_path / "x.pth")
    content: Any = read_content(tmp_path / "x.pth", map_location="meta")
    assert content["labels"] == ["cat", "dog"]
    assert all(value.is_meta for value in content["model"].values())
    assert content["model"]["module.weight"].shape == (2, 4)
