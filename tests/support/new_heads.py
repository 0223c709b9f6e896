"""What holds of every builder: its body is kept and its head is new with `new_head=True`, and parts of it are frozen.

A module of tests takes what it wants, and says of which builders::

    builder = new_heads.builders(["resnet18"])
    test_new_head = new_heads.test_new_head

Checkpoints and models are without storage, as far as can be, so that the largest take no longer than others.
"""

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo_core
from zoo_core.builders import without_storage
from zoo_core.features import freeze, unfreeze
from zoo_core.features.freezing import parts_of
from zoo_core.weights import WeightsEnum

__all__ = ["builders", "test_freezing", "test_new_head", "test_new_head_of_other_channels"]

CLASSES = 5
MARK = 3  # what all the numbers of a checkpoint are


def is_of_checkpoint(value: Tensor) -> bool:
    return value.numel() == 0 or int(value[(0,) * value.ndim]) == MARK


def builders(names: Iterable[str]) -> Any:
    """The fixture ``name``."""

    @pytest.fixture(params=list(names))
    def name(request: pytest.FixtureRequest) -> str:
        return request.param

    return name


def built(name: str, **arguments: Any) -> nn.Module:
    parameters = inspect.signature(zoo_core.get_model_builder(name)).parameters
    fresh = {key: None for key in ("weights", "weights_backbone") if key in parameters and key not in arguments}
    with without_storage():
        return zoo_core.get_model(name, **fresh, **arguments)


def with_checkpoint(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[WeightsEnum, dict[str, Tensor]]:
    """The best weights of a builder, whose file is one without storage."""
    weights: Any = zoo_core.get_model_weights(name).DEFAULT
    float_weights = weights.meta.get("unquantized", weights)
    arguments: dict[str, Any] = {"num_classes": len(weights.meta.get("categories") or ())}
    if zoo_core.catalog.model(name).task == "segmentation" and not name.startswith("lraspp"):
        arguments["aux_loss"] = True
    if name.startswith("vit_"):
        arguments["image_size"] = weights.meta["min_size"][0]
    elif name in ("googlenet", "inception_v3"):
        arguments["aux_logits"] = True
    # Of one number each, however large they are.
    state = {
        key: torch.full((), MARK, dtype=value.dtype).expand(value.shape)
        for key, value in built(name, **arguments).state_dict().items()
    }
    monkeypatch.setattr(type(float_weights), "get_state_dict", lambda self, **options: state)
    return float_weights, state


def made(name: str, weights: WeightsEnum, **arguments: Any) -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return zoo_core.get_model(name, weights=weights, num_classes=CLASSES, new_head=True, **arguments)


def of_classes(model: nn.Module, other: nn.Module) -> set[str]:
    """The parameters and buffers in the modules whose shapes depend on the number of classes."""
    shapes = {key: value.shape for key, value in other.named_parameters()}
    modules = {key.rpartition(".")[0] for key, value in model.named_parameters() if value.shape != shapes[key]}
    return {key for key in model.state_dict() if key.rpartition(".")[0] in modules}


def has_classes(name: str) -> bool:
    return bool(zoo_core.get_model_weights(name).DEFAULT.meta.get("categories"))


def test_new_head(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body is the checkpoint's, the head is drawn for as many classes, and `freeze_body` trains it alone."""
    if not has_classes(name):
        with pytest.raises(ValueError, match="has no classifier that could be replaced"):
            zoo_core.get_model(name, weights="DEFAULT", new_head=True)
        return
    weights, state = with_checkpoint(monkeypatch, name)
    model = made(name, weights)
    head = of_classes(model, built(name, num_classes=CLASSES + 1, **own_arguments(model)))
    assert head
    found = model.state_dict()
    assert found.keys() <= state.keys()
    for key, value in found.items():
        if key in head:
            assert not is_of_checkpoint(value), key
            assert value.isfinite().all(), key
        else:
            assert is_of_checkpoint(value), key
            assert value.shape == state[key].shape
    assert all(parameter.requires_grad for key, parameter in model.named_parameters() if key in head)
    frozen = made(name, weights, freeze_body=True)
    trained = {key for key, parameter in frozen.named_parameters() if parameter.requires_grad}
    assert trained == {key for key in head if key in dict(frozen.named_parameters())}


def own_arguments(model: nn.Module) -> dict[str, Any]:
    """Those with which a builder makes a model of the same modules as one with weights."""
    found: dict[str, Any] = {}
    for key in ("aux_logits", "image_size"):
        if hasattr(model, key):
            found[key] = getattr(model, key)
    if getattr(model, "aux_classifier", None) is not None:
        found["aux_loss"] = True
    return found


def test_new_head_of_other_channels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`new_head` and `in_channels` go together."""
    if not has_classes(name):
        return
    weights, state = with_checkpoint(monkeypatch, name)
    model = made(name, weights, in_channels=4)
    head = of_classes(model, built(name, num_classes=CLASSES + 1, in_channels=4, **own_arguments(model)))
    found = model.state_dict()
    changed = [key for key in found if key not in head and found[key].shape != state[key].shape]
    assert changed
    for key in changed:
        assert found[key].shape[1] == 4
        torch.testing.assert_close(found[key], torch.full_like(found[key], MARK * 3 / 4))


def test_freezing(name: str) -> None:
    """Up to each part, of the body, and back; the head that depends on the classes trains."""
    model = built(name).train()
    parts = parts_of(model)
    every = [key for key, _ in model.named_parameters()]
    assert sorted(key for keys in parts.values() for key in keys) == sorted(every)

    def frozen() -> set[str]:
        return {key for key, parameter in model.named_parameters() if not parameter.requires_grad}

    unfreeze(model, *parts)
    assert frozen() == set()
    for place, part in enumerate(parts):
        freeze(model, until=part)
        expected = {key for earlier in list(parts)[: place + 1] for key in parts[earlier]}
        assert frozen() == expected
        for path, module in model.named_modules():
            own = [key for key, _ in module.named_parameters(prefix=path)]
            if own and path:
                assert module.training is not set(own).issubset(expected), path
    unfreeze(model, *parts)
    assert frozen() == set()
    assert all(module.training for module in model.modules())
    freeze(model, "body")
    assert frozen() == set(every) - set(parts["head"])
    if has_classes(name):
        depends = of_classes(built(name, num_classes=CLASSES), built(name, num_classes=CLASSES + 1))
        assert {key for key in depends if key in every} <= set(parts["head"])
    with pytest.raises(ValueError, match="has no part 'nowhere'; it has"):
        freeze(model, "nowhere")
