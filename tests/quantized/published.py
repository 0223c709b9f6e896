"""Checkpoints of int8 models as they were published over the years."""

import gzip
import json
from collections import OrderedDict

import torch
from torch import Tensor

from support import reference


def manifest(name):
    """The int8 state dict in order, as the reference writes it down."""
    with gzip.open(reference.ASSETS / "state_dicts" / f"{name}.json.gz", "rt") as file:
        return json.load(file)["quantized"]


def manifest_of(state_dict):
    return [[key, *_described(value)] for key, value in state_dict.items()]


def _described(value):
    if isinstance(value, torch.dtype):
        return "dtype", str(value)
    if isinstance(value, tuple):
        return "tuple", [" ".join(_compact(*_described(part))) for part in value]
    scheme = [str(value.qscheme()).removeprefix("torch.")] if value.is_quantized else []
    return str(value.dtype).removeprefix("torch."), list(value.shape), *scheme


def _compact(dtype, shape, *scheme):
    return f"{dtype}{shape}", *scheme


def copied(state_dict, drop=(), **added):
    """A copy whose metadata is its own too."""
    copy = OrderedDict((key, value) for key, value in state_dict.items() if key not in drop)
    copy.update(added)
    copy._metadata = OrderedDict((path, dict(facts)) for path, facts in state_dict._metadata.items())
    return copy


def with_old_linear(state_dict, path, version):
    """Packed parameters of a linear layer as torch wrote them before 1.5 (2: dtype kept) and before 1.3 (1)."""
    inner = f"{path}._packed_params"
    weight, bias = state_dict[f"{inner}._packed_params"]
    old = copied(state_dict, drop={f"{inner}._packed_params", f"{inner}.dtype"})
    home = {1: path, 2: inner}[version]
    old.update({f"{home}.weight": weight, f"{home}.bias": bias})
    if version == 2:
        old[f"{inner}.dtype"] = torch.qint8
    old._metadata[path]["version"] = {1: 1, 2: 3}[version]
    old._metadata[inner]["version"] = version
    return old


def without_metadata(state_dict):
    """As it is after `dict(state_dict)`: nothing says which versions the modules had."""
    return dict(state_dict)


def assert_same(one, other):
    """Two int8 state dicts are equal to the last bit."""
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, tuple):
            for ours, theirs in zip(value, other[key], strict=True):
                _assert_equal(ours, theirs, key)
        elif isinstance(value, Tensor):
            _assert_equal(value, other[key], key)
        else:
            assert value == other[key], key


def _assert_equal(ours, theirs, key):
    assert ours.dtype == theirs.dtype, key
    assert ours.shape == theirs.shape, key
    if ours.is_quantized:
        assert torch.equal(ours.int_repr(), theirs.int_repr()), key
        assert ours.qscheme() == theirs.qscheme(), key
        if ours.qscheme() == torch.per_channel_affine:
            assert torch.equal(ours.q_per_channel_scales(), theirs.q_per_channel_scales()), key
            assert ours.q_per_channel_axis() == theirs.q_per_channel_axis(), key
        else:
            assert ours.q_scale() == theirs.q_scale(), key
    else:
        assert torch.equal(ours, theirs), key
