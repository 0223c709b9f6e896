"""Backbones that begin with what another model of the user's has learned, such as a classifier of the same images."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core import checkpoints

__all__ = ["load"]

_BACKBONE = "backbone."
# Counts batches, which says nothing about the architecture; frozen batch norms have none.
_COUNTER = "num_batches_tracked"

_Layer = tuple[str, dict[str, Tensor]]


def load(model: nn.Module, path: Path) -> str:
    """Gives a model's backbone the parameters of a checkpoint, as far as both have the same layers in the same order.

    Names do not matter, as a backbone is cut out of a classifier and wrapped. Layers that only one of them has, such as
    a classifier's head, a feature pyramid or a tail of fewer channels, stay as they are.

    Args:
        model: has its backbone as ``model.backbone``; is changed.
        path: of a classifier, or of another model with a backbone.

    Returns:
        What was loaded, in a sentence.

    Raises:
        zoo_core.checkpoints.CheckpointError: the file cannot be read, or less than half of the layers fit.
        ValueError: the model has no backbone.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"{type(model).__name__} has no backbone to load {path} into; leave out weights_backbone")
    trained: Mapping[str, Any] = checkpoints.read_state_dict(path)
    if any(name.startswith(_BACKBONE) for name in trained):
        trained = {name: value for name, value in trained.items() if name.startswith(_BACKBONE)}
    own, theirs = _layers(backbone.state_dict()), _layers(trained)
    matcher = difflib.SequenceMatcher(a=_shapes(own), b=_shapes(theirs), autojunk=False)
    pairs = [
        (own[block.a + place], theirs[block.b + place])
        for block in matcher.get_matching_blocks()
        for place in range(block.size)
    ]
    if 2 * len(pairs) < len(own):
        raise checkpoints.StateDictError(
            f"{path}: {len(pairs)} of the backbone's {len(own)} layers are in this file in their order, so it is of "
            f"another architecture; weights_backbone takes a checkpoint of the model that {type(model).__name__} "
            "stands on"
        )
    with torch.no_grad():
        for (_, here), (_, there) in pairs:
            for name, value in here.items():
                value.copy_(there[name])
    return f"{len(pairs)} of the backbone's {len(own)} layers begin as those of {path}"


def _layers(state_dict: Mapping[str, Any]) -> list[_Layer]:
    """The tensors of each module that has some, in their order."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in state_dict.items():
        module, _, leaf = name.rpartition(".")
        if leaf != _COUNTER:
            layers.setdefault(module, {})[leaf] = value
    return list(layers.items())


def _shapes(layers: Sequence[_Layer]) -> list[tuple[Any, ...]]:
    return [tuple((name, tuple(value.shape)) for name, value in tensors.items()) for _, tensors in layers]
