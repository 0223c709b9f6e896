"""Which model a state dict is of, and what is said of a file that does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo_classification
from zoo_core import specs
from zoo_core.checkpoints import StateDictError
from zoo_core.recognition import recognize


def shapes_of(name: str, **arguments: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        return getattr(zoo_classification, name)(**arguments).state_dict()


@pytest.mark.parametrize(
    ("name", "arguments", "most_like"),
    [
        ("resnet18", {}, "resnet18"),
        ("resnet50", {"num_classes": 10}, "resnet50"),
        ("vit_b_16", {"num_classes": 3}, "vit_b_16"),
        ("mobilenet_v3_small", {"num_classes": 2}, "mobilenet_v3_small"),
    ],
)
def test_recognize(name: str, arguments: dict[str, int], most_like: str) -> None:
    found = recognize(shapes_of(name, **arguments), task="classification")
    assert found[0].name == most_like
    assert found[0].share > 0.9
    assert [like.share for like in found] == sorted((like.share for like in found), reverse=True)


def test_what_is_like_nothing() -> None:
    assert recognize({"a": torch.ones(3), "b": "text"}) == []
    assert recognize({}) == []


def test_a_file_that_does_not_fit_says_what_it_is_like(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"model": torch.nn.DataParallel(zoo_classification.resnet18(num_classes=7)).state_dict()}, path)
    spec = specs.find(path, name="resnet34", labels=tuple("abcdefg"))
    with pytest.raises(StateDictError) as caught:
        specs.build(spec)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"resnet34 from {path} does not fit ResNet:"
    assert "entries missing from the checkpoint: layer1.2.conv1.weight" in lines[1]
    assert lines[-1].startswith("  The file is most like resnet18 (")
    model = specs.build(specs.find(path, name="resnet18", labels=tuple("abcdefg")))
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 7)
