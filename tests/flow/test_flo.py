"""Files of optical flow, byte by byte."""

import struct
import zlib

import pytest
import torch

from zoo_core.images import write_png
from zoo_flow import read_flo, read_flow, read_kitti_flow, write_flo


def test_bytes(tmp_path):
    path = tmp_path / "flow.flo"
    flow = torch.tensor([[[1.0, 2.5, -3.0]], [[0.0, 4.0, 1e-3]]])
    write_flo(flow, path)
    expected = b"PIEH" + struct.pack("<ii6f", 3, 1, 1.0, 0.0, 2.5, 4.0, -3.0, 1e-3)
    assert path.read_bytes() == expected
    torch.testing.assert_close(read_flo(path), flow, rtol=0, atol=0)
    # The header is the number 202021.25.
    assert struct.unpack("<f", expected[:4])[0] == 202021.25


def test_big_endian_machines_write_the_same(tmp_path, monkeypatch):
    # There the bytes of each float come the other way round from memory; swapping must undo just that.
    flow = torch.rand(2, 3, 4)
    write_flo(flow, tmp_path / "little.flo")
    monkeypatch.setattr("sys.byteorder", "big")
    write_flo(flow, tmp_path / "big.flo")
    little, big = ((tmp_path / name).read_bytes()[12:] for name in ("little.flo", "big.flo"))
    assert struct.unpack("<24f", little) == struct.unpack(">24f", big)
    torch.testing.assert_close(read_flo(tmp_path / "big.flo"), flow, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_layouts_and_dtypes(tmp_path, dtype):
    flow = torch.rand(7, 5, 2).to(dtype).permute(2, 1, 0).requires_grad_()
    write_flo(flow, tmp_path / "a.flo")
    torch.testing.assert_close(read_flo(tmp_path / "a.flo"), flow.detach().float(), rtol=0, atol=0)


def test_unknown_flow(tmp_path):
    flow = torch.zeros(2, 2, 3)
    flow[0, 0, 1], flow[1, 1, 2], flow[0, 1, 0] = float("nan"), float("inf"), -float("inf")
    write_flo(flow, tmp_path / "a.flo")
    read = read_flo(tmp_path / "a.flo")
    unknown = torch.tensor([[False, True, False], [True, False, True]])
    assert read[:, unknown].isnan().all()
    assert (read[:, ~unknown] == 0).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with PIEH"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), r"begins with b'\\x89PNG'"),
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(31), "2x2 pixels takes 44 bytes, but the file has 43"),
        (b"PIEH" + struct.pack("<ii", 2, 2) + bytes(33), "has 45"),
        (b"PIEH" + struct.pack("<ii", -1, 4), "damaged"),
    ],
)
def test_damaged_files(tmp_path, data, words):
    path = tmp_path / "bad.flo"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_flo(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "flow", [torch.zeros(1, 2, 4, 4), torch.zeros(3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)]
)
def test_refuses(tmp_path, flow):
    with pytest.raises(ValueError, match=r"floating Tensor\[2, H, W\]"):
        write_flo(flow, tmp_path / "a.flo")


def kitti_png(path, rows, width):
    """A PNG file put together by hand: rows of (u, v, valid), 16 bits each."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + b"".join(struct.pack(">3H", *pixel) for pixel in row) for row in rows)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_kitti(tmp_path):
    path = kitti_png(
        tmp_path / "000000_10.png",
        [
            [(32768, 32768, 1), (32768 + 64, 32768 - 96, 1), (0, 0, 0)],
            [(65535, 0, 1), (32769, 32767, 1), (40000, 1, 0)],
        ],
        3,
    )
    for read in (read_kitti_flow, read_flow):
        flow = read(path)
        assert flow.dtype == torch.float32
        assert flow[:, 0, :2].tolist() == [[0, 1], [0, -1.5]]
        assert flow[:, 1, :2].tolist() == [[32767 / 64, 1 / 64], [-512, -1 / 64]]
        assert flow[:, :, 2].isnan().all()


def test_read_flow_goes_by_the_ending(tmp_path):
    flow = torch.rand(2, 3, 4)
    write_flo(flow, tmp_path / "a.flo")
    torch.testing.assert_close(read_flow(tmp_path / "a.flo"), flow, rtol=0, atol=0)


@pytest.mark.parametrize(("channels", "words"), [(3, "has 3 of 8"), (1, "has 1 of 8")])
def test_a_png_that_is_no_flow(tmp_path, channels, words):
    write_png(torch.zeros(channels, 4, 4, dtype=torch.uint8), tmp_path / "a.png")
    with pytest.raises(ValueError, match=words):
        read_flow(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        read_flow(tmp_path / "none.png")
