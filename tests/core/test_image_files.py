"""Which image files are decoded, how deep and how large they may be; and the functions for one format each."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import BufrStubImagePlugin, GribStubImagePlugin, Hdf5StubImagePlugin, Image, WmfImagePlugin
from torch import Tensor

from support.reference import noise
from zoo_core.images import (
    ImageReadError,
    decode_avif,
    decode_gif,
    decode_heic,
    decode_image,
    decode_jpeg,
    decode_png,
    decode_webp,
    encode_jpeg,
    encode_png,
    open_image,
    pil_to_tensor,
    read_file,
    read_image,
    to_pil_image,
    write_file,
)
from zoo_core.images.files import FORMATS
from zoo_core.presets import ImageClassification


def deep_noise(seed: int, *shape: int) -> Tensor:
    levels = torch.randint(0, 65536, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    return levels.to(torch.uint16)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def gif(width: int, height: int) -> bytes:
    """An image of one colour in 35 bytes, whatever its size; the data end after a few pixels."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0" + b"\x02\x02\x44\x01\0;"


# Formats -------------------------------------------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\n%%EndComments\n0 0 moveto\nshowpage\n%%EOF\n"


def test_no_file_starts_ghostscript(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    mark = tmp_path / "gs-was-here"
    for name in ("gs", "gswin32c", "gswin64c"):
        (programs / name).write_text(f"#!/bin/sh\n: > '{mark}'\n")
        (programs / name).chmod(0o755)
    names = ["photo.jpg", "photo.eps", "photo"]
    for name in names:
        (tmp_path / name).write_bytes(EPS)
    code = f"""
import contextlib, os
from PIL import Image
from zoo_core.images import ImageReadError, decode_image, open_image, read_image
for name in {names}:
    for read in (open_image, read_image, lambda name: decode_image(open(name, "rb").read())):
        try:
            read(name)
        except ImageReadError as error:
            assert "not an image, damaged, or of a format that is not decoded here" in str(error)
        else:
            raise AssertionError(name)
print(os.path.exists({str(mark)!r}))
with contextlib.suppress(Exception):
    Image.open("photo.jpg").load()
print(os.path.exists({str(mark)!r}))
"""
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]  # Pillow by itself does start it


@pytest.mark.parametrize(
    ("plugin", "content"),
    [
        (BufrStubImagePlugin, b"BUFR" + bytes(60)),
        (GribStubImagePlugin, b"GRIB\0\0\0\x01" + bytes(60)),
        (Hdf5StubImagePlugin, b"\x89HDF\r\n\x1a\n" + bytes(60)),
        (
            WmfImagePlugin,
            b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 96, 96, 96) + bytes(6) + b"\x01\0\t\0" + bytes(60),
        ),
    ],
    ids=["bufr", "grib", "hdf5", "wmf"],
)
def test_no_file_reaches_a_handler_of_another_package(plugin: Any, content: bytes, request: Any) -> None:
    class Handler:
        def open(self, image: Any) -> None:
            image._size, image._mode = (1, 1), "RGB"
            reached.append("open")

        def load(self, image: Any) -> Image.Image:
            reached.append("load")
            return Image.new("RGB", (1, 1))

    reached: list[str] = []
    plugin.register_handler(Handler())
    request.addfinalizer(lambda: plugin.register_handler(None))
    with pytest.raises(ImageReadError, match="not an image"):
        decode_image(content)
    assert reached == []
    Image.open(io.BytesIO(content)).load()
    assert "load" in reached  # Pillow by itself does call it


def test_every_format_of_pillow_is_decoded_or_left_out_on_purpose() -> None:
    Image.init()
    left_out = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "IPTC", "MPEG", "FPX", "MIC"}
    assert not left_out & set(FORMATS)
    assert set(Image.OPEN) <= left_out | set(FORMATS)


@pytest.mark.parametrize(
    "format",
    [
        *(
            "AVIF",
            "BMP",
            "DDS",
            "DIB",
            "GIF",
            "ICNS",
            "ICO",
            "JPEG",
            "JPEG2000",
            "MPO",
            "PCX",
            "PNG",
            "PPM",
            "QOI",
        ),
        *("SGI", "TGA", "TIFF", "WEBP"),
    ],
)
def test_formats(format: str, tmp_path: Path) -> None:
    Image.init()
    data = encoded(to_pil_image(noise(0, 3, 32, 32)), format)
    expected = pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))
    path = tmp_path / "image.anything"
    path.write_bytes(data)
    assert torch.equal(decode_image(data, "RGB"), expected)
    assert torch.equal(pil_to_tensor(open_image(path)), expected)
    assert torch.equal(pil_to_tensor(open_image(data)), expected)


def test_what_a_heic_file_takes_is_named() -> None:
    """Where pillow-heif is not installed, as in this environment."""
    data = struct.pack(">I", 24) + b"ftypheic" + bytes(200)
    for read in (decode_image, open_image, lambda data: decode_heic(as_tensor(data))):
        with pytest.raises(ImageReadError, match=r"HEIC image.*pip install pillow-heif"):
            read(data)


# The reader for photos -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
def test_a_preset_takes_what_open_image_returns(mode: str, tmp_path: Path) -> None:
    levels = Image.new("L", (40, 60), 200)
    image = (
        levels.convert("I").point(lambda level: level * 257).convert("I;16") if mode == "I;16" else levels.convert(mode)
    )
    path = tmp_path / "image.tif"
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    opened = open_image(path)
    assert type(opened) is Image.Image
    assert (opened.mode, opened.size) == ("RGB", (60, 40))
    assert opened.getpixel((3, 3)) == ((255,) * 3 if mode == "1" else (200,) * 3)
    assert ImageClassification(crop_size=16, resize_size=16)(opened).shape == (3, 16, 16)


# Depth ---------------------------------------------------------------------------------------------------------------


def encoded_by_ffmpeg(levels: Tensor, codec: str) -> bytes:
    """A file of uint16 Tensor[C, H, W], written by another library than the one that reads it."""
    pixel_format = {1: "gray16", 2: "ya16", 3: "rgb48", 4: "rgba64"}[levels.shape[0]]
    pixel_format += "le" if codec == "tiff" else "be"
    height, width = levels.shape[1:]
    rows = levels.permute(1, 2, 0).reshape(height, -1).view(torch.uint8)
    if pixel_format.endswith("be"):
        rows = rows.view(height, -1, 2).flip(-1).reshape(height, -1)
    frame = av.VideoFrame(width, height, pixel_format)
    (plane,) = frame.planes
    padded = torch.zeros(height, plane.line_size, dtype=torch.uint8)
    padded[:, : rows.shape[1]] = rows
    plane.update(bytes(padded.flatten().tolist()))
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, pixel_format, 1
    if codec == "tiff":
        encoder.options = {"compression_algo": "deflate"}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_keeps_all(channels: int) -> None:
    levels = deep_noise(channels, channels, 13, 9)
    data = encoded_by_ffmpeg(levels, "png")
    output = decode_image(data)
    assert output.dtype == torch.uint16
    assert output.is_contiguous()
    assert torch.equal(output.int(), levels.int())
    assert torch.equal(decode_png(as_tensor(data)).int(), levels.int())
    natural = ("GRAY", "GRAY_ALPHA", "RGB", "RGBA")[channels - 1]
    assert torch.equal(decode_image(data, natural), (levels.int() >> 8).to(torch.uint8))


@pytest.mark.parametrize("channels", [3, 4])
def test_compressed_tiff_of_16_bits_keeps_all(channels: int) -> None:
    levels = deep_noise(channels, channels, 11, 14)
    output = decode_image(encoded_by_ffmpeg(levels, "tiff"))
    assert output.dtype == torch.uint16
    assert torch.equal(output.int(), levels.int())


def tiff(order: str, levels: Tensor, extra_samples: int | None = None) -> bytes:
    """An uncompressed file of uint16 Tensor[C, H, W], put together by hand, in either order of bytes."""
    channels, height, width = levels.shape
    pixels = levels.permute(1, 2, 0).flatten().tolist()
    data = struct.pack(f"{order}{len(pixels)}H", *pixels)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8 + 8)]
    tags += [(277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data))]
    tags += [(258, 3, channels, 8)] + ([(338, 3, 1, extra_samples)] if extra_samples is not None else [])
    entries = b""
    for tag, kind, count, value in sorted(tags):
        packed = struct.pack(f"{order}H2x", value) if kind == 3 and count == 1 else None
        entries += struct.pack(f"{order}HHI", tag, kind, count) + (packed or struct.pack(f"{order}I", value))
    depths = struct.pack(f"{order}4H", 16, 16, 16, 16)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 16 + len(data))
    return header + depths + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "extra"), [(3, None), (4, 2)])
def test_tiff_of_16_bits_in_either_order(order: str, channels: int, extra: int | None) -> None:
    levels = deep_noise(channels, channels, 5, 7)
    output = decode_image(tiff(order, levels, extra))
    assert output.dtype == torch.uint16
    assert torch.equal(output.int(), levels.int())


def test_colours_that_are_multiplied_by_alpha_are_refused() -> None:
    data = tiff("<", deep_noise(0, 4, 5, 7), 1)
    with pytest.raises(ImageReadError, match=r"multiplied by alpha.*RGBA"):
        decode_image(data)
    assert decode_image(data, "RGBA").dtype == torch.uint8


def test_32_bit_tiff() -> None:
    image = Image.new("I", (2, 1))
    image.putdata([70000, -5])
    output = decode_image(encoded(image, "TIFF"))
    assert output.dtype == torch.int32
    assert output.tolist() == [[[70000, -5]]]


def test_32_bit_tiff_without_signs() -> None:
    data = struct.pack("<2I", 4000000000, 7)
    entries = [(256, 4, 2), (257, 4, 1), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 1), (279, 4, 8)]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    output = decode_image(b"II*\0" + struct.pack("<I", 16) + data + struct.pack("<H", len(entries)) + tags + bytes(4))
    assert output.dtype == torch.uint32
    assert output.tolist() == [[[4000000000, 7]]]


def test_ppm_of_16_bits() -> None:
    levels = [0, 1, 65535, 256, 255, 30000]
    data = struct.pack(">6H", *levels)
    output = decode_image(b"P6\n2 1\n65535\n" + data)
    assert output.dtype == torch.uint16
    assert output.permute(1, 2, 0).flatten().tolist() == levels
    # 1000 is the brightest, and means 65535.
    scaled = decode_image(b"P6\n1 1\n1000\n" + struct.pack(">3H", 0, 500, 1000))
    assert scaled.flatten().tolist() == [0, 32768, 65535]
    grey = decode_image(b"P5\n2 1\n65535\n" + struct.pack(">2H", 258, 65535))
    assert (grey.dtype, grey.flatten().tolist()) == (torch.uint16, [258, 65535])
    text = b"P3\n1 1\n65535\n0 1 65535\n"
    with pytest.raises(ImageReadError, match="8-bit modes only"):
        decode_image(text)
    assert decode_image(text, "RGB").flatten().tolist() == [0, 0, 255]


def test_16_bits_are_turned_upright() -> None:
    levels = deep_noise(1, 3, 5, 7)
    png = encoded_by_ffmpeg(levels, "png")
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    chunk = b"eXIf" + exif
    data = png[:33] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
    assert torch.equal(decode_image(data).int(), levels.int())
    assert torch.equal(decode_image(data, apply_exif_orientation=True).int(), levels.int().rot90(-1, (1, 2)))


def test_a_16_bit_file_cut_anywhere_never_gives_half_an_image() -> None:
    levels = deep_noise(0, 3, 6, 6)
    data = encoded_by_ffmpeg(levels, "png")
    for length in range(0, len(data) - 12, 3):
        try:
            output = decode_image(data[:length])
        except ImageReadError:
            continue
        assert torch.equal(output.int(), levels.int())


# Size ----------------------------------------------------------------------------------------------------------------


def test_images_of_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", "1_000")
    assert decode_image(encoded(Image.new("L", (40, 25)), "PNG")).shape == (1, 25, 40)
    too_large = encoded(Image.new("L", (40, 26)), "PNG")
    for read in (decode_image, open_image):
        with pytest.raises(
            ImageReadError, match=r"too large: 40 x 26 pixels, where at most 1,000 .*ZOO_MAX_IMAGE_PIXELS"
        ):
            read(too_large)
    for wrong in ("many", "0", "-5", "1.5"):
        monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", wrong)
        with pytest.raises(ValueError, match="ZOO_MAX_IMAGE_PIXELS must be a number of pixels"):
            decode_image(too_large)


def test_the_limit_is_pillows_unless_the_environment_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_MAX_IMAGE_PIXELS", raising=False)
    data = encoded(Image.new("L", (40, 26)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageReadError, match="at most 1,000"):
        decode_image(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # where Pillow refuses it
    with pytest.raises(ImageReadError, match=r"too large.*ZOO_MAX_IMAGE_PIXELS"):
        decode_image(data)
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", "2000")
    assert decode_image(data).shape == (1, 26, 40)
    monkeypatch.delenv("ZOO_MAX_IMAGE_PIXELS")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(data).shape == (1, 26, 40)


def test_a_few_bytes_take_no_gigabytes() -> None:
    data = gif(13000, 13000)
    assert len(data) <= 48
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageReadError, match="13000 x 13000 pixels"):
        decode_image(data)


_PEAK = """
import resource, sys
from zoo_core.images import decode_image, open_image, read_image
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
decode_image(open(sys.argv[2], "rb").read())
before = peak()
read_image(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("format", "mode", "megabytes"),
    [("JPEG", "RGB", 48 + 36), ("PNG", "L", 12 + 12), ("GIF", "P", 12 + 36), ("PNG", "RGBA", 48 + 48)],
)
def test_memory_is_that_of_the_image_and_of_the_tensor(tmp_path: Path, format: str, mode: str, megabytes: int) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, (40, 30)), (large, (4000, 3000))):
        Image.new(mode, size).save(path, format)
    printed = subprocess.run(
        [sys.executable, "-c", _PEAK, large, small], capture_output=True, text=True, check=True
    ).stdout
    assert float(printed) < 1.1 * megabytes + 8


def test_gifs_are_bounded_over_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (20, 10), level) for level in (0, 80, 160)]
    data = as_tensor(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert decode_gif(data).shape == (3, 3, 10, 20)
    monkeypatch.setenv("ZOO_MAX_IMAGE_PIXELS", "599")
    with pytest.raises(ImageReadError, match="3 frames or more of 20 x 10 pixels"):
        decode_gif(data)


# One format each -----------------------------------------------------------------------------------------------------


def test_each_decoder_takes_its_format_only() -> None:
    Image.init()
    image = to_pil_image(noise(0, 3, 24, 24))
    decoders = {"PNG": decode_png, "JPEG": decode_jpeg, "WEBP": decode_webp, "AVIF": decode_avif, "GIF": decode_gif}
    for format in decoders:
        data = encoded(image, format)
        for name, decode in decoders.items():
            if name == format:
                assert torch.equal(decode(as_tensor(data)), decode_image(data))
            else:
                with pytest.raises(ImageReadError, match="not an image"):
                    decode(as_tensor(data))


def test_modes_of_each_decoder() -> None:
    Image.init()
    image = to_pil_image(noise(0, 3, 24, 24))
    for format, decode in (("PNG", decode_png), ("JPEG", decode_jpeg), ("WEBP", decode_webp), ("AVIF", decode_avif)):
        assert decode(as_tensor(encoded(image, format)), "GRAY").shape == (1, 24, 24)
        assert decode(as_tensor(encoded(image, format)), mode="RGBA").shape == (4, 24, 24)
    with pytest.raises(ValueError, match="unknown mode"):
        decode_png(as_tensor(encoded(image, "PNG")), "BGR")


def test_grey_of_a_jpeg_is_the_brightness_that_it_stores() -> None:
    data = encoded(to_pil_image(noise(0, 3, 24, 24)), "JPEG", quality=90)
    expected = pil_to_tensor(Image.open(io.BytesIO(data)).convert("YCbCr"))[:1]
    assert (decode_image(data, "GRAY").int() - expected.int()).abs().max() <= 40  # there and back over RGB clips
    grey = encoded(to_pil_image(noise(1, 1, 24, 24)), "JPEG")
    assert torch.equal(decode_image(grey, "GRAY"), decode_image(grey))


def test_frames_of_a_gif() -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (6, 4), color) for color in colors]
    data = as_tensor(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    output = decode_gif(data)
    assert output.shape == (3, 3, 4, 6)
    assert [tuple(frame[:, 1, 2].tolist()) for frame in output] == colors
    assert torch.equal(decode_image(data), output)
    assert decode_gif(as_tensor(encoded(frames[0], "GIF"))).shape == (3, 4, 6)


def test_lists_of_jpegs() -> None:
    images = [noise(seed, 3, 16, 16 + seed) for seed in range(3)]
    files = encode_jpeg(images, quality=95)
    assert [file.dtype for file in files] == [torch.uint8] * 3
    decoded = decode_jpeg(files, "RGB", "cpu")
    assert [image.shape for image in decoded] == [image.shape for image in images]
    assert torch.equal(decoded[1], decode_jpeg(encode_jpeg(images[1], 95)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_in_memory_is_lossless(channels: int) -> None:
    image = noise(channels, channels, 9, 7)
    file = encode_png(image)
    assert (file.dtype, file.ndim) == (torch.uint8, 1)
    assert torch.equal(decode_png(file), image)
    assert encode_png(torch.zeros(1, 64, 64, dtype=torch.uint8), 9).numel() < 200


def test_bytes_of_files(tmp_path: Path) -> None:
    data = noise(0, 1000)
    write_file(tmp_path / "a.bin", data[::2])
    assert (tmp_path / "a.bin").read_bytes() == bytes(data[::2].tolist())
    read = read_file(str(tmp_path / "a.bin"))
    assert torch.equal(read, data[::2])
    read[0] = 1  # the tensor owns its memory
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty").shape == (0,)
    image = noise(1, 3, 5, 6)
    write_file(str(tmp_path / "a.png"), encode_png(image))
    assert torch.equal(read_image(tmp_path / "a.png"), image)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")
    for wrong in (torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(4), b"abc"):
        with pytest.raises(TypeError, match=r"uint8 tensor of shape \[N\]"):
            write_file(tmp_path / "wrong", wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "wrong").exists()
