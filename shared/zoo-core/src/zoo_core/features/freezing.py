"""Lets parts of a model train and others not: its head, its body, single stages."""

from collections.abc import Iterable

from torch import nn

from zoo_core.features.declared import required_layers, unwrapped

__all__ = ["freeze", "parts_of", "unfreeze"]

BODY, HEAD, NECK = "body", "head", "neck"


def parts_of(model: nn.Module) -> dict[str, list[str]]:
    """The names of a model's parameters by the part that they belong to, in the order in which the parts run.

    Parts are the stages (see :func:`zoo_core.features.model_features`), of which the first one has what comes before
    it too; ``"neck"``, what lies between them and the head (a feature pyramid, hidden layers of a classifier); and
    ``"head"``, whose shape depends on the classes: the last layer of a classifier with those of auxiliary classifiers,
    what detectors and segmentation models have behind the backbone, what RAFT has behind its encoders.

    Raises:
        ValueError: the model's class does not say which features it has.
    """
    model = unwrapped(model)
    declared = required_layers(model, hint="; or set requires_grad of its parameters")
    heads = [path for path in (declared.head, *declared.auxiliary) if path is not None]
    # Modules are registered in the order in which they run.
    order = {path: place for place, (path, _) in enumerate(model.named_modules())}
    ends = {
        stage: max(place for path, place in order.items() if _is_below(path, [layer.path]))
        for stage, layer in declared.layers.items()
        if layer.key is None
    }
    parts: dict[str, list[str]] = {part: [] for part in (*ends, NECK, HEAD)}
    for name, _ in model.named_parameters():
        place = order[name.rpartition(".")[0]]
        if heads and _is_below(name, heads):
            part = HEAD
        else:
            behind = NECK if heads or _is_below(name, declared.body) else HEAD
            part = next((stage for stage, end in ends.items() if place <= end), behind)
        parts[part].append(name)
    return {part: found for part, found in parts.items() if found}


def freeze(model: nn.Module, *parts: str, until: str | None = None) -> list[str]:
    """Freezes parts of a model: their parameters require no gradients, and their batch norms keep their statistics.

    What becomes wholly frozen is put into eval mode, which a later ``model.train()`` undoes; call this again behind it
    (``zoo train`` keeps frozen modules in eval mode by itself).

    Args:
        model: of any task; it may be wrapped (``DataParallel``) or compiled.
        *parts: ``"stage1"``, ..., ``"neck"``, ``"head"`` (``features.freezing.parts_of`` lists them),
            ``"body"`` for all but the head.
        until: a part up to which all are frozen, itself too.

    Returns:
        The names of the parameters of these parts.

    Raises:
        ValueError: the model has no such part.
    """
    found = _set(model, parts, until, requires_grad=False)
    _eval_frozen(model)
    return found


def unfreeze(model: nn.Module, *parts: str, until: str | None = None) -> list[str]:
    """Lets parts of a model train again, in training mode if the model is in it; see :func:`freeze`."""
    found = _set(model, parts, until, requires_grad=True)
    if model.training:
        model.train()
        _eval_frozen(model)
    return found


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them requires a gradient."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _set(model: nn.Module, parts: Iterable[str], until: str | None, *, requires_grad: bool) -> list[str]:
    there = parts_of(model)
    chosen = list(parts)
    if until is not None:
        if until == BODY:
            chosen.append(BODY)
        else:
            _check(model, until, there)
            chosen += list(there)[: list(there).index(until) + 1]
    if not chosen:
        raise ValueError(f"name parts: {', '.join([*there, BODY])}")
    names: dict[str, None] = {}
    for part in chosen:
        if part != BODY:
            _check(model, part, there)
        for name, of_part in there.items():
            if name == part or (part == BODY and name != HEAD):
                names |= dict.fromkeys(of_part)
    parameters = dict(unwrapped(model).named_parameters())
    for name in names:
        parameters[name].requires_grad_(requires_grad)
    return list(names)


def _check(model: nn.Module, part: str, there: Iterable[str]) -> None:
    if part not in there:
        raise ValueError(f"{type(model).__name__} has no part {part!r}; it has {', '.join([*there, BODY])}")


def _is_below(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def _eval_frozen(module: nn.Module) -> None:
    """Puts what is frozen as a whole into eval mode."""
    for child in module.children():
        if is_frozen(child):
            child.eval()
        else:
            _eval_frozen(child)
