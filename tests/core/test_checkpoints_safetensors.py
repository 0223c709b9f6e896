"""Files in the format safetensors, put together by hand from its description."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo_core.checkpoints import UnreadableCheckpointError, read_state_dict

WEIGHT = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
STEPS = {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}
DATA = struct.pack("<6fq", *range(6), -7)


def write(path: Path, header: Any, data: bytes = DATA, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_reading(tmp_path: Path, mapped: bool, name: str) -> None:
    header = {"__metadata__": {"format": "pt"}, "weight": WEIGHT, "steps": STEPS}
    loaded = read_state_dict(write(tmp_path / name, header), mapped=mapped)
    assert list(loaded) == ["weight", "steps"]
    assert loaded["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["weight"].dtype == torch.float32
    assert loaded["steps"].item() == -7
    loaded["weight"].add_(1)
    assert read_state_dict(tmp_path / name)["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_state_dict(tmp_path / name, map_location="meta")["weight"].is_meta


@pytest.mark.parametrize(
    ("name", "data", "dtype", "value"),
    [
        ("F64", struct.pack("<d", 1.5), torch.float64, 1.5),
        ("F16", struct.pack("<e", 1.5), torch.float16, 1.5),
        ("BF16", b"\xc0\x3f", torch.bfloat16, 1.5),
        ("F8_E5M2", b"\x3e", torch.float8_e5m2, 1.5),
        ("F8_E4M3", b"\x3c", torch.float8_e4m3fn, 1.5),
        ("C64", struct.pack("<2f", 1, 2), torch.complex64, 1 + 2j),
        ("I32", struct.pack("<i", -3), torch.int32, -3),
        ("I16", struct.pack("<h", -3), torch.int16, -3),
        ("I8", struct.pack("<b", -3), torch.int8, -3),
        ("U64", struct.pack("<Q", 2**40), torch.uint64, 2**40),
        ("U32", struct.pack("<I", 2**31), torch.uint32, 2**31),
        ("U16", struct.pack("<H", 2**15), torch.uint16, 2**15),
        ("U8", b"\xff", torch.uint8, 255),
        ("BOOL", b"\x01", torch.bool, True),
    ],
)
def test_dtypes(tmp_path: Path, name: str, data: bytes, dtype: torch.dtype, value: Any) -> None:
    path = write(tmp_path / "x", {"a": {"dtype": name, "shape": [1], "data_offsets": [0, len(data)]}}, data)
    loaded = read_state_dict(path)["a"]
    assert loaded.dtype == dtype
    assert loaded.tolist() == [value]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": WEIGHT}, "has .* bytes instead of"),
        ({"a": WEIGHT, "b": STEPS | {"data_offsets": [20, 28]}}, "values of b do not follow"),
        ({"a": WEIGHT, "b": STEPS | {"data_offsets": [28, 36]}}, "values of b do not follow"),
        ({"a": WEIGHT, "b": WEIGHT}, "values of b do not follow"),
        ({"a": WEIGHT | {"shape": [2, 4]}, "b": STEPS}, "a takes another number of bytes"),
        ({"a": WEIGHT | {"shape": [-2, -3]}, "b": STEPS}, "what is no tensor"),
        ({"a": WEIGHT | {"shape": [2.0, 3]}, "b": STEPS}, "what is no tensor"),
        ({"a": WEIGHT | {"shape": [2**70, 0]}, "b": STEPS}, "takes another number|do not follow|cannot read"),
        ({"a": WEIGHT | {"data_offsets": [True, 24]}, "b": STEPS}, "what is no tensor|another number"),
        ({"a": WEIGHT | {"dtype": "F4\x1b"}, "b": STEPS}, r"dtype F4\\x1b, which is not known"),
        ({"a\x1b": 5}, r"says of a\\x1b what is no tensor"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": ' + b"[" * 100_000, "no JSON"),
        (b'{"a": \xff}', "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"{}", "instead of"),
    ],
)
def test_damaged_headers(tmp_path: Path, header: Any, message: str) -> None:
    for mapped in (False, True):
        with pytest.raises(UnreadableCheckpointError, match=message) as caught:
            read_state_dict(write(tmp_path / "x.safetensors", header), mapped=mapped)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("size", [0, 5, 9, 50, 150])
def test_truncated_files(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "x.safetensors", {"weight": WEIGHT, "steps": STEPS})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UnreadableCheckpointError):
        read_state_dict(path)
