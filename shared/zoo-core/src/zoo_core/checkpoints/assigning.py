"""From tensors to a model."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo_core.checkpoints.errors import StateDictError
from zoo_core.checkpoints.values import UnfitError, check_kind, converted, separate
from zoo_core.text import listed, printable

if TYPE_CHECKING:
    import torch


def assign_state_dict(
    model: "torch.nn.Module", state_dict: Mapping[str, Any], *, source: str, allow_missing: Iterable[str] = ()
) -> None:
    """Gives a model the tensors of a checkpoint, without copying them.

    The model may have been constructed on the meta device, without storage. Its parameters and persistent buffers
    become the tensors of ``state_dict``, except where the model has another dtype: then they are converted. Parameters
    stay leaves that require gradients or not as the model was constructed, and parameters that the model shares between
    modules stay shared. Others never share: of values in ``state_dict`` that overlap in memory, all but one are copied.
    Modules that read older spellings of their keys do so as in :meth:`torch.nn.Module.load_state_dict`. Counters that
    old files lack (``num_batches_tracked``) start at zero.

    Args:
        model: the model.
        state_dict: values by name. The model and the caller share their memory afterwards.
        source: where they come from, for error messages.
        allow_missing: shell patterns of keys that may be missing (``"head.*"``). What is missing keeps the tensors that
            the model has, without storage if it was constructed so.

    Raises:
        StateDictError: keys are missing, unexpected, have another shape, or values that the model cannot hold (sparse,
            complex, beyond the range of its dtype). The model is then left in between.
    """
    slots = list(_slots(model))
    entries = _entries(state_dict, source)
    unfit = _drop_unfit(entries, slots)
    outcome = _load(model, entries, source)
    missing = dict.fromkeys(key for key in outcome.missing if key not in unfit)  # an ordered set
    for shared in _grouped_by_tensor(slots):
        try:
            _settle(shared, missing)
        except UnfitError as error:
            unfit.setdefault(shared[0].key, str(error))
    present_slots = list(_slots(model))
    separate({id(slot.tensor): slot.tensor for slot in present_slots}.values())

    for pattern in allow_missing:
        missing = {key: None for key in missing if not fnmatchcase(key, pattern)}
    explained = {*outcome.missing, *outcome.misshapen, *unfit}
    # Modules may remake parts of themselves for an old file.
    present = {id(slot.holder) for slot in present_slots}
    empty = [
        slot.key
        for slot in slots
        if id(slot.holder) in present and (held := slot.held) is not None and held.is_meta and slot.key not in explained
    ]
    problems = [
        *_listed("missing from the checkpoint", missing),
        *_listed("unknown to the model", outcome.unexpected),
        *_listed("of another shape", [f"{key} ({shapes})" for key, shapes in outcome.misshapen.items()]),
        *_listed("that the model cannot hold", [f"{key} ({reason})" for key, reason in unfit.items()]),
        *_listed("left without a value, since the checkpoint has none that could be used", empty),
        *outcome.other_errors,
    ]
    if problems:
        hint = "Was it saved by another variant of the model, or for another num_classes?"
        lines = (f"{source} does not fit {type(model).__name__}:", *problems, hint)
        raise StateDictError("\n  ".join(map(printable, lines)))


class _Slot(NamedTuple):
    """A place in a model that holds a parameter or a persistent buffer, and what it held before loading."""

    key: str
    holder: "dict[str, torch.Tensor | None]"
    name: str
    tensor: "torch.Tensor"
    dtype: "torch.dtype"

    @property
    def held(self) -> "torch.Tensor | None":
        return self.holder.get(self.name)


def _slots(model: "torch.nn.Module") -> Iterator[_Slot]:
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield _Slot(prefix + name, module._parameters, name, parameter, parameter.dtype)
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield _Slot(prefix + name, module._buffers, name, buffer, buffer.dtype)


def _grouped_by_tensor(slots: Iterable[_Slot]) -> Iterable[list[_Slot]]:
    groups: dict[int, list[_Slot]] = {}
    for slot in slots:
        groups.setdefault(id(slot.tensor), []).append(slot)
    return groups.values()


def _settle(shared: list[_Slot], missing: dict[str, None]) -> None:
    """Puts one tensor of the right dtype into all slots that held one tensor before, if any of them was loaded."""
    import torch

    loaded = [slot for slot in shared if slot.key not in missing and slot.held is not None]
    first = (loaded or shared)[0]
    value = first.held
    is_counter = first.name == "num_batches_tracked"
    if is_counter and (not loaded or value is None or value.is_meta):
        value = torch.zeros(first.tensor.shape, dtype=first.dtype, device="cpu")
    elif not loaded or value is None:
        return
    check_kind(value, first.tensor)
    if value.dtype != first.dtype and not value.is_quantized:
        value.data = converted(value.data, first.dtype)
    for slot in shared:
        slot.holder[slot.name] = value
        missing.pop(slot.key, None)


def _entries(state_dict: Mapping[str, Any], source: str) -> OrderedDict[str, Any]:
    """A copy that loading may change. Its tensors share memory with the originals, but are objects of their own.

    Otherwise a parameter in the file would replace a buffer of the model, and :meth:`load_state_dict` leaves marks in
    the metadata.
    """
    import torch

    entries: OrderedDict[str, Any] = OrderedDict()
    for key, value in state_dict.items():
        if not isinstance(key, str):
            raise StateDictError(
                f"{source} is no state dict: it has the key {printable(repr(key))}, but names of parameters are strings"
            )
        is_plain_tensor = isinstance(value, torch.Tensor) and not torch.nn.parameter.is_lazy(value)
        entries[key] = value.detach() if is_plain_tensor else value
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        entries._metadata = _checked_metadata(metadata, source)  # type: ignore[attr-defined]
    return entries


def _checked_metadata(metadata: Any, source: str) -> dict[str, dict[str, Any]]:
    """A copy of what a state dict says of its modules: their versions, by their paths."""
    if not isinstance(metadata, Mapping):
        raise StateDictError(f"{source} has a damaged _metadata: {type(metadata).__name__} where a dict is expected")
    for path, facts in metadata.items():
        if not isinstance(path, str) or not isinstance(facts, Mapping):
            raise StateDictError(
                f"{source} has a damaged _metadata: its entry {printable(repr(path))} should be a dict"
            )
        version = facts.get("version")
        if version is not None and type(version) is not int:
            raise StateDictError(
                f"{source} has a damaged _metadata: the version of {printable(repr(path))} is "
                f"{printable(repr(version)[:80])}, no integer"
            )
    return {path: dict(facts) for path, facts in metadata.items()}


def _drop_unfit(entries: dict[str, Any], slots: Iterable[_Slot]) -> dict[str, str]:
    """Takes values out that would break the loading itself; what is wrong with them, by key.

    Modules with a loading of their own may want them otherwise, so all else is looked at when it is in its place.
    """
    import torch

    unfit: dict[str, str] = {}
    for slot in slots:
        value = entries.get(slot.key)
        if not isinstance(value, torch.Tensor) or torch.nn.parameter.is_lazy(slot.tensor):
            continue
        try:
            check_kind(value, slot.tensor)
            # Only numbers that have a gradient can become the value of a parameter.
            if slot.dtype.is_floating_point and not value.dtype.is_floating_point and not value.is_quantized:
                entries[slot.key] = converted(value, slot.dtype)
        except UnfitError as error:
            unfit[slot.key] = str(error)
            del entries[slot.key]
    return unfit


class _Outcome(NamedTuple):
    missing: list[str]
    unexpected: list[str]
    misshapen: dict[str, str]
    other_errors: list[str]


def _load(model: "torch.nn.Module", entries: Mapping[str, Any], source: str) -> _Outcome:
    """Loads, and collects what did not fit.

    :meth:`load_state_dict` alone knows what its modules' hooks make of the keys. Where it raises on a wrong shape it
    doesn't return the missing and unexpected keys, so a hook takes them down.
    """
    incompatible: list[Any] = []
    hook = model.register_load_state_dict_post_hook(lambda module, keys: incompatible.append(keys))
    errors: list[str] = []
    try:
        model.load_state_dict(entries, strict=False, assign=True)
    except KeyError as error:  # modules with a loading of their own may not ask before they take a key
        raise StateDictError(f"{source} does not fit {type(model).__name__}: it lacks the key {error}") from error
    except RuntimeError as error:
        if not incompatible:
            raise
        errors = str(error).split("\n\t")[1:]
    finally:
        hook.remove()

    misshapen: dict[str, str] = {}
    other_errors: list[str] = []
    for line in errors:
        if match := re.fullmatch(
            r"size mismatch for (.+): copying a param with shape torch\.Size\(\[(.*)\]\) from checkpoint, "
            r"the shape in current model is torch\.Size\(\[(.*)\]\)\.",
            line,
        ):
            misshapen[match[1]] = f"checkpoint [{match[2]}], model [{match[3]}]"
        else:
            other_errors.append(line)
    (keys,) = incompatible
    return _Outcome(list(keys.missing_keys), list(keys.unexpected_keys), misshapen, other_errors)


def _listed(what: str, entries: Iterable[str]) -> Iterator[str]:
    entries = list(entries)
    if entries:
        yield f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} {what}: {listed(entries)}"
