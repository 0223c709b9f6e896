"""Checkpoints that users have written: what surrounds the state dict, and what is put in front of its names.

Training loops save a state dict bare or beside an optimizer's; wrappers of a model (for several processes, compilation,
averaging) put a word in front of the names of its parameters. None of this is part of the model.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.checkpoints.errors import UnreadableCheckpointError
from zoo_core.checkpoints.files import shown
from zoo_core.text import printable

if TYPE_CHECKING:
    import torch

_NAMES_SHOWN = 8
# State dicts, too, of what is not the model.
_BESIDE_THE_MODEL = re.compile(r"optim|sched|scaler|rng|random|loader|sampler|metric|loss|criterion", re.IGNORECASE)
# Modules of torch that wrap another one, which may be a part of the model.
_WRAPPERS_ANYWHERE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_WRAPPER_OF_ALL = "module."
_OF_AVERAGING = "n_averaged"


def choose(content: object, path: Path, key: str | None = None) -> "dict[str, torch.Tensor]":
    """The state dict of the model in what a file holds.

    Args:
        content: all that the file holds.
        path: the file, for messages.
        key: the name under which it stands there; ``None`` where that is clear.

    Raises:
        UnreadableCheckpointError: there is none, there are several, or none of that name.
    """
    if not isinstance(content, dict):
        raise _no_state_dict(path, content)
    if key is None and (holds_tensors(content) or not content):
        return _without_attributes(content)
    state_dicts = {name: value for name, value in content.items() if isinstance(value, dict) and holds_tensors(value)}
    if key is not None:
        if key not in state_dicts:
            there = ", ".join(map(_name, state_dicts)) or "none"
            raise UnreadableCheckpointError(
                f"{shown(path)} holds no state dict under {_name(repr(key))}: of state dicts there are {there}"
            )
        return _without_attributes(state_dicts[key])
    candidates = [name for name in state_dicts if not _BESIDE_THE_MODEL.search(str(name))] or list(state_dicts)
    if len(candidates) > 1:
        names = ", ".join(_name(name) for name in candidates[:_NAMES_SHOWN])
        raise UnreadableCheckpointError(
            f"{shown(path)} holds several state dicts ({names}): choose one with key=, or save the one to use alone"
        )
    if not candidates:
        raise _no_state_dict(path, content)
    return _without_attributes(state_dicts[candidates[0]])


def holds_tensors(mapping: Mapping[Any, object]) -> bool:
    """Whether this is a state dict: only strings as keys, and tensors among the values."""
    import torch

    return all(isinstance(key, str) for key in mapping) and any(
        isinstance(value, torch.Tensor) for value in mapping.values()
    )


def _name(name: object) -> str:
    return printable(str(name))


def _no_state_dict(path: Path, content: object) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f"{shown(path)} holds no state dict ({type(content).__name__}): expected tensors by name, as "
        f"torch.save(model.state_dict(), path) writes them"
    )


def _without_attributes(state_dict: dict[str, Any]) -> dict[str, Any]:
    """A pickle can set any attribute of an ordered dict, its methods' names included."""
    if type(state_dict) is OrderedDict:
        for name in [name for name in vars(state_dict) if name != "_metadata"]:
            delattr(state_dict, name)
    return state_dict


def without_wrappers(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """A state dict with the names that its model has itself.

    Left out are ``module.`` in front of all names (:class:`torch.nn.parallel.DistributedDataParallel`,
    :class:`torch.optim.swa_utils.AveragedModel`), and ``_orig_mod.`` and the like wherever they stand
    (:func:`torch.compile`, of the model or of parts of it).

    >>> list(without_wrappers({"module._orig_mod.conv.weight": 1, "module._orig_mod.conv.bias": 2}))
    ['conv.weight', 'conv.bias']
    """
    names = {key: _WRAPPERS_ANYWHERE.sub("", key) for key in state_dict}
    if _OF_AVERAGING in names and len(names) > 1:
        others = [name for key, name in names.items() if key != _OF_AVERAGING]
        if all(name.startswith(_WRAPPER_OF_ALL) for name in others):
            del names[_OF_AVERAGING]
    depth = 0
    while names and all(name.startswith(_WRAPPER_OF_ALL) for name in names.values()):
        names = {key: _WRAPPERS_ANYWHERE.sub("", name.removeprefix(_WRAPPER_OF_ALL)) for key, name in names.items()}
        depth += 1
    if len(set(names.values())) < len(names):
        names = {key: key for key in state_dict}
        depth = 0
    plain = OrderedDict((name, state_dict[key]) for key, name in names.items())
    metadata = getattr(state_dict, "_metadata", None)
    if isinstance(metadata, Mapping):
        plain._metadata = {_path(path, depth): facts for path, facts in metadata.items()}  # type: ignore[attr-defined]
    elif metadata is not None:
        plain._metadata = metadata  # type: ignore[attr-defined]
    return plain


def _path(path: Any, depth: int) -> Any:
    """The path of a module without its wrappers. Those of the wrappers themselves are taken by what they wrap."""
    if not isinstance(path, str):
        return path
    path = _WRAPPERS_ANYWHERE.sub("", f"{path}.")
    for _ in range(depth):
        path = path.removeprefix(_WRAPPER_OF_ALL)
    return path.removesuffix(".")


def likeness(state_dict: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How much of two state dicts is the same: names with their shapes, as a share of all that either has."""
    first, second = ({(key, _shape(value)) for key, value in one.items()} for one in (state_dict, other))
    return len(first & second) / max(len(first | second), 1)


def _shape(value: Any) -> tuple[int, ...] | None:
    import torch

    return tuple(value.shape) if isinstance(value, torch.Tensor) and not value.is_nested else None
