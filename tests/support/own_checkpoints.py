"""Checkpoints as users have them: the number of classes is read off the head of any model."""

from pathlib import Path
from typing import Any

import torch

from zoo_core import specs
from zoo_core.registry import get_model


def check_fits(folder: Path, name: str, *, found: dict[str, Any] | None = None, **arguments: Any) -> None:
    """Saves a model as a training loop would, and checks that its file alone gives the same model again.

    Args:
        folder: where the file may lie.
        name: of the model.
        found: the arguments that the file shows, where they are others than those given.
        **arguments: of its builder.
    """
    torch.manual_seed(0)
    model = get_model(name, **arguments).eval()
    path = folder / "last.pth"
    content = torch.nn.DataParallel(model).state_dict()
    assert all(key.startswith("module.") for key in content)
    torch.save({"epoch": 3, "model": content, "optimizer": {"state": {}, "param_groups": []}}, path)
    spec = specs.find(name, checkpoint=path)
    expected = arguments if found is None else found
    assert {key: spec.arguments.get(key) for key in expected} == expected
    again = specs.build(spec)
    assert not again.training
    pairs = zip(model.state_dict().items(), again.state_dict().items(), strict=True)
    for (key, value), (other_key, other) in pairs:
        assert key == other_key
        assert not isinstance(value, torch.Tensor) or torch.equal(value, other), key
    classes = arguments.get("num_classes")
    if classes is not None:
        assert spec.labels == (), "labels of another number of classes are no labels of this model"
        labels = [f"kind {number}" for number in range(classes)]
        assert specs.find(name, checkpoint=path, labels=labels).labels == tuple(labels)
