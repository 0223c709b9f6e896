"""Checkpoint files that anybody may have written: read as torch reads them, or refused in our words."""

import io
import itertools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from zoo_core.checkpoints import CheckpointError, StateDictError, assign_state_dict, read_state_dict

from .fuzzing import corpus, damaged, damaged_bytes, evidence, fuzz

pytestmark = pytest.mark.filterwarnings("ignore")

_names = itertools.count()


class Model(nn.Module):
    """What the files of the corpus fit."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.bn = nn.BatchNorm2d(3)


def _read(directory: Path, content: bytes, name: str) -> None:
    """Reads a file in both ways, compares with torch where it reads it too, and gives it to a model."""
    path = directory / f"{next(_names)}.pth"
    path.write_bytes(content)
    with evidence(content, name):
        read = {}
        for mapped in (False, True):
            try:
                read[mapped] = read_state_dict(path, mapped=mapped)
            except CheckpointError as error:
                assert str(path) in str(error)
                assert str(error).isprintable()
        assert len(read) in (0, 2), "mapping makes a difference"
        if read:
            _compare(read[False], read[True])
            _assign(read[True])
            try:
                expected = torch.load(path, weights_only=True)
            except Exception:
                expected = None
            if isinstance(expected, dict) and list(expected) == list(read[False]):
                _compare(read[False], expected)
    path.unlink()


def _compare(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert list(first) == list(second)
    for key, value in first.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == second[key].dtype
            assert value.shape == second[key].shape
            if value.layout == torch.strided and not value.is_quantized:
                values = [
                    torch.view_as_real(v).double() if v.is_complex() else v.double() for v in (value, second[key])
                ]
                assert torch.equal(values[0].nan_to_num(), values[1].nan_to_num())


def _assign(state_dict: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = Model()
    try:
        assign_state_dict(model, state_dict, source="x")
    except StateDictError:
        return
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)


@fuzz
@given(damaged("checkpoints"))
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    _read(tmp_path, content, "checkpoint.pth")


def _archives() -> list[bytes]:
    return [content for content in corpus("checkpoints") if content.startswith(b"PK")]


@st.composite
def _with_damaged_pickle(draw: st.DrawFn) -> bytes:
    """Archives that are whole, but for the pickle in them or one other member; some members compressed."""
    target = draw(st.sampled_from(["data.pkl", "data.pkl", "data.pkl", "data/0", "byteorder", "version"]))
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(draw(st.sampled_from(_archives())))) as old,
        zipfile.ZipFile(changed, "w") as new,
    ):
        for info in old.infolist():
            content = old.read(info)
            if info.filename.partition("/")[2] == target:
                content = draw(damaged_bytes([content]))
            method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
            new.writestr(info.filename, content, method)
    return changed.getvalue()


@fuzz
@given(_with_damaged_pickle())
def test_damaged_members(tmp_path: Path, content: bytes) -> None:
    _read(tmp_path, content, "checkpoint.pth")


_DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.uint8, torch.bool),
]


@st.composite
def _state_dicts(draw: st.DrawFn) -> OrderedDict[str, torch.Tensor]:
    """State dicts whose tensors share memory, are expanded, transposed, empty, of all dtypes."""
    bases = [torch.arange(draw(st.integers(1, 40))).to(draw(st.sampled_from(_DTYPES))) for _ in range(2)]
    names = draw(st.lists(st.text(max_size=5) | st.sampled_from(list(Model().state_dict())), max_size=8, unique=True))
    content: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name in names:
        base = draw(st.sampled_from(bases))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        stride = [draw(st.integers(0, 4)) for _ in shape]
        reach = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True) if n)
        if reach <= len(base) or 0 in shape:
            offset = draw(st.integers(0, max(len(base) - reach, 0)))
            content[name] = base.as_strided(shape, stride, offset)
    return content


@fuzz
@given(_state_dicts(), st.booleans(), st.booleans())
def test_what_torch_saves(tmp_path: Path, content: OrderedDict[str, torch.Tensor], mapped: bool, legacy: bool) -> None:
    path = tmp_path / f"{next(_names)}.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if content:
        loaded = read_state_dict(path, mapped=mapped)
        _compare(loaded, content)
        assert all(loaded[key].stride() == value.stride() for key, value in content.items())
        _assign(loaded)
    path.unlink()


@fuzz
@given(_state_dicts(), st.booleans())
def test_what_safetensors_saves(tmp_path: Path, content: OrderedDict[str, torch.Tensor], mapped: bool) -> None:
    path = tmp_path / f"{next(_names)}.safetensors"
    content = OrderedDict((key, value.clone().contiguous()) for key, value in content.items() if key != "__metadata__")
    safetensors.torch.save_file(content, path, {"format": "pt"})
    if content:
        loaded = read_state_dict(path, mapped=mapped)
        _compare(dict(sorted(loaded.items())), dict(sorted(content.items())))
    path.unlink()
