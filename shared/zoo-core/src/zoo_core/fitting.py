"""With which arguments of its builder a model was made whose parameters lie in a file: the number of its classes above
all, which is read off the shapes of its head.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["fitting_arguments"]

Shapes = Mapping[str, tuple[int, ...]]

# Numbers that the shapes of some parameters are linear functions of.
_COUNTS = ("num_classes", "num_keypoints")
# Parts that a model has or has not, and the word that the names of their parameters have in common.
_SWITCHES = ("aux_loss", "aux_logits")
_OF_SWITCHES = "aux"
# Of what int8 layers hold in place of a weight.
_PACKED = "._packed_params._packed_params"


def fitting_arguments(
    builder: "Callable[..., torch.nn.Module]", state_dict: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments that are needed beside others for a model to take a state dict, as far as it shows them.

    The model is built without storage, once if its shapes are right, and else with two different numbers of classes:
    from what differs then follows how the shapes depend on that number, of detectors' heads too, which have a multiple
    of it.

    Args:
        builder: of the model.
        state_dict: its parameters by name, with plain names. Only their shapes are looked at.
        arguments: of the builder, that are known. Those among them that the shapes determine are a first guess.

    Returns:
        ``num_classes`` and ``num_keypoints`` where the model has them, ``aux_loss`` or ``aux_logits`` where the default
        does not fit, ``in_channels`` where it is not three, and ``quantize`` where it can be; nothing of a model that
        is quite another one.
    """
    from zoo_core.builders import fresh_arguments

    shapes = dict(_shapes(state_dict))
    base: dict[str, Any] = {**fresh_arguments(builder), **arguments}
    found: dict[str, Any] = {}
    own = _built(builder, base)
    if own is None:
        return found
    channels = _channels(builder, base, own, shapes)
    if channels is not None:
        found["in_channels"] = channels
        own = _built(builder, base | found) or own
    if own.keys() != shapes.keys():
        for switch in _SWITCHES:
            other = _switched(builder, base | found, switch, own, shapes)
            if other is not None:
                found[switch], own = other
    for count in _COUNTS:
        number = _count(builder, base | found, count, own, shapes)
        if number is not None:
            found[count] = number
    if "quantize" in inspect.signature(builder).parameters:
        found["quantize"] = any(key.endswith(_PACKED) for key in state_dict)
    return found


def _shapes(state_dict: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    import torch

    for key, value in state_dict.items():
        if isinstance(value, torch.Tensor):
            if not value.is_nested:
                yield key, tuple(value.shape)
        elif key.endswith(_PACKED) and isinstance(value, tuple) and value and isinstance(value[0], torch.Tensor):
            yield f"{key.removesuffix(_PACKED)}.weight", tuple(value[0].shape)


def _channels(
    builder: "Callable[..., torch.nn.Module]", arguments: Mapping[str, Any], own: Shapes, shapes: Shapes
) -> int | None:
    """How many channels the first layer takes, if they are others than those that the model has."""
    if all(shape == own.get(key, shape) for key, shape in shapes.items()):
        return None
    other = _built(builder, {**arguments, "in_channels": arguments.get("in_channels", 3) + 1})
    first = next((key for key, shape in (other or {}).items() if key in shapes and own.get(key) != shape), None)
    if first is None or len(shapes[first]) != len(own[first]) or shapes[first][1] == own[first][1]:
        return None
    return shapes[first][1]


def _built(builder: "Callable[..., torch.nn.Module]", arguments: Mapping[str, Any]) -> Shapes | None:
    """The shapes of a model; ``None`` if there is none with such arguments."""
    from zoo_core.builders import without_storage

    with without_storage():
        try:
            model = builder(**arguments)
        except Exception:  # builders say in many ways that they do not take an argument
            return None
    return dict(_shapes(model.state_dict()))


def _switched(
    builder: "Callable[..., torch.nn.Module]", arguments: Mapping[str, Any], switch: str, own: Shapes, shapes: Shapes
) -> tuple[bool, Shapes] | None:
    """The value of a switch with which the names fit better than without it, if there is one."""
    differing = {key for key in own.keys() ^ shapes.keys() if _OF_SWITCHES in key.lower()}
    if not differing:
        return None
    value = any(key in shapes for key in differing)
    other = _built(builder, {**arguments, switch: value})
    if other is None or len(other.keys() ^ shapes.keys()) >= len(own.keys() ^ shapes.keys()):
        return None
    return value, other


def _count(
    builder: "Callable[..., torch.nn.Module]", arguments: Mapping[str, Any], count: str, own: Shapes, shapes: Shapes
) -> int | None:
    """The number that most of those shapes have in common which depend on it."""
    guess = arguments.get(count)
    if all(shape == own.get(key, shape) for key, shape in shapes.items()):
        return guess
    first = 2 if guess is None else int(guess)
    one, more = (_built(builder, {**arguments, count: number}) for number in (first, first + 1))
    if one is None or more is None:
        return None
    votes: Counter[int] = Counter()
    for key, shape in one.items():
        there, other = shapes.get(key), more.get(key)
        if there is None or other is None or other == shape or not len(shape) == len(other) == len(there):
            continue
        for size, larger, seen in zip(shape, other, there, strict=True):
            if size != larger:
                number, rest = divmod(seen - size, larger - size)
                votes[0 if rest else first + number] += 1
    number, _ = max(votes.items(), key=lambda vote: vote[1], default=(0, 0))
    return number if number > 0 else None
