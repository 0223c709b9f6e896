"""Reading, writing and converting pictures, with the files that users really have."""

import inspect
import io
import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from support.reference import ASSETS, noise
from zoo_core import images
from zoo_core.images import (
    ImageReadError,
    ImageReadMode,
    convert_mode,
    decode_image,
    open_image,
    pil_to_tensor,
    read_image,
    to_pil_image,
    write_jpeg,
    write_png,
)


def smooth(height: int = 40, width: int = 60) -> Tensor:
    """A picture that lossy formats keep well."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return (torch.stack([x, y, (x + y) / 2]) * 255).to(torch.uint8)


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, bit_depth: int, color_type: int, rows: list[bytes], *chunks: tuple[bytes, bytes]
) -> bytes:
    """A PNG file put together by hand, from its specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


NAMES = json.loads((ASSETS.parent / "image_functions.json").read_text())


@pytest.mark.parametrize("name", NAMES["torchvision.io"])
def test_names_and_parameters_are_those_of_torchvision(name: str) -> None:
    assert name in images.__all__
    for parameter, (expected, kind, default) in zip(
        inspect.signature(getattr(images, name)).parameters.values(), NAMES["torchvision.io"][name], strict=True
    ):
        assert (parameter.name, parameter.kind.name) == (expected, kind)
        ours = "<required>" if parameter.default is parameter.empty else parameter.default
        assert (f"ImageReadMode.{ours.name}" if isinstance(ours, ImageReadMode) else ours) == default


def test_modes_are_those_of_torchvision() -> None:
    assert {name: mode.value for name, mode in ImageReadMode.__members__.items()} == NAMES["ImageReadMode"]


# Tensors and PIL pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_to_pil_and_back(channels: int, mode: str) -> None:
    picture = noise(channels, channels, 7, 11)
    converted = to_pil_image(picture)
    assert (converted.mode, converted.size) == (mode, (11, 7))
    pixel = converted.getpixel((4, 2))  # x, y
    assert (list(pixel) if isinstance(pixel, tuple) else [pixel]) == picture[:, 2, 4].tolist()
    back = pil_to_tensor(converted)
    assert back.is_contiguous()
    assert torch.equal(back, picture)
    back.fill_(0)  # the tensor owns its memory
    assert torch.equal(pil_to_tensor(converted), picture)


def test_tensors_of_any_layout_convert() -> None:
    picture = noise(0, 3, 9, 13)
    for same in (picture.permute(1, 2, 0).contiguous().permute(2, 0, 1), picture.repeat_interleave(2, 2)[..., ::2]):
        assert torch.equal(pil_to_tensor(to_pil_image(same)), picture)
    assert torch.equal(pil_to_tensor(to_pil_image(picture[0])), picture[:1])
    assert torch.equal(pil_to_tensor(to_pil_image(picture[:1].expand(3, -1, -1))), picture[:1].expand(3, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_float_pictures_are_rounded_and_clamped(dtype: torch.dtype) -> None:
    values = torch.tensor([[0.0, 1.0, 0.5, -0.5, 1.5, float("nan"), float("inf"), -float("inf"), 0.25]], dtype=dtype)
    assert pil_to_tensor(to_pil_image(values)).flatten().tolist() == [0, 255, 128, 0, 255, 0, 255, 0, 64]


def test_all_grey_levels_survive_the_way_over_floats() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(pil_to_tensor(to_pil_image(levels / 255)), levels)


def test_other_dtypes_and_modes() -> None:
    assert pil_to_tensor(to_pil_image(torch.tensor([[True, False]]))).tolist() == [[[255, 0]]]
    levels = torch.tensor([[[0, 1, 256, 65535]]], dtype=torch.int32).to(torch.uint16)
    assert pil_to_tensor(to_pil_image(levels)).tolist() == levels.tolist()
    assert to_pil_image(noise(0, 3, 2, 2), mode="YCbCr").mode == "YCbCr"
    assert to_pil_image((noise(0, 3, 2, 2) / 255).requires_grad_()).mode == "RGB"
    assert to_pil_image(torch.empty(3, 0, 5)).size == (5, 0)
    assert pil_to_tensor(Image.new("RGB", (5, 0))).shape == (3, 0, 5)


def test_pil_modes_keep_their_values() -> None:
    assert pil_to_tensor(Image.new("1", (2, 1), 1)).tolist() == [[[True, True]]]
    assert pil_to_tensor(Image.new("I", (1, 1), -70000)).tolist() == [[[-70000]]]
    assert pil_to_tensor(Image.new("F", (1, 1), 0.25)).tolist() == [[[0.25]]]
    assert pil_to_tensor(Image.new("I;16B", (1, 1), 258)).tolist() == [[[258]]]
    assert pil_to_tensor(Image.new("CMYK", (1, 1), (1, 2, 3, 4))).flatten().tolist() == [1, 2, 3, 4]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert pil_to_tensor(palette).tolist() == [[[1]]]


@pytest.mark.parametrize("target", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I"]
)
def test_every_mode_converts_to_every_mode(mode: str, target: str) -> None:
    assert convert_mode(Image.new(mode, (3, 2)), target).mode == target


@pytest.mark.parametrize(
    ("input", "error", "message"),
    [
        (noise(0, 5, 4, 4), ValueError, r"1 to 4 channels, got shape \[5, 4, 4\]"),
        (noise(0, 2, 3, 4, 4), ValueError, r"index a batch"),
        (noise(0, 4), ValueError, "shape"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), TypeError, "int64"),
        (torch.zeros(3, 4, 4, dtype=torch.uint16), ValueError, "one channel"),
        ("picture", TypeError, "expected a tensor, got str"),
    ],
)
def test_what_to_pil_image_refuses(input: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        to_pil_image(input)


def test_wrong_modes_and_types() -> None:
    with pytest.raises(ValueError, match="'RGBA' does not have 3 channels"):
        to_pil_image(noise(0, 3, 4, 4), mode="RGBA")
    with pytest.raises(TypeError, match=r"expected a PIL\.Image\.Image, got torch\.Tensor"):
        pil_to_tensor(noise(0, 3, 4, 4))  # type: ignore[arg-type]


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_is_lossless(tmp_path: Path, channels: int) -> None:
    picture = noise(channels, channels, 17, 23)
    for path in (tmp_path / "a.png", str(tmp_path / "b.png")):
        write_png(picture, path, compression_level=1)
        output = read_image(path)
        assert output.dtype == torch.uint8
        assert torch.equal(output, picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near(tmp_path: Path, channels: int) -> None:
    picture = smooth()[:channels]
    write_jpeg(picture, tmp_path / "a.jpg", quality=95)
    output = read_image(tmp_path / "a.jpg")
    assert output.shape == picture.shape
    assert (output.int() - picture.int()).abs().float().mean() < 2


def test_quality_and_compression_matter(tmp_path: Path) -> None:
    picture = noise(0, 3, 64, 64)
    write_jpeg(picture, tmp_path / "low.jpg", quality=10)
    write_jpeg(picture, tmp_path / "high.jpg", quality=95)
    assert (tmp_path / "low.jpg").stat().st_size * 2 < (tmp_path / "high.jpg").stat().st_size
    write_png(smooth(), tmp_path / "stored.png", compression_level=0)
    write_png(smooth(), tmp_path / "small.png", compression_level=9)
    assert (tmp_path / "small.png").stat().st_size * 2 < (tmp_path / "stored.png").stat().st_size


def test_lossless_webp() -> None:
    picture = noise(0, 4, 12, 9)
    assert torch.equal(decode_image(encoded(to_pil_image(picture), "WEBP", lossless=True, exact=True)), picture)
    opaque = noise(0, 3, 12, 9)
    assert torch.equal(decode_image(encoded(to_pil_image(opaque), "WEBP", lossless=True)), opaque)


def test_animations(tmp_path: Path) -> None:
    """Of GIF files torchvision gives all frames."""
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "animation.webp", save_all=True, append_images=frames[1:], lossless=True)
    output = read_image(tmp_path / "animation.webp", "RGB")
    assert output.shape == (3, 4, 6)
    assert output[:, 2, 3].tolist() == [255, 0, 0]
    path = tmp_path / "animation.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for mode in ("UNCHANGED", "RGB"):
        output = read_image(path, mode)
        assert output.shape == (3, 3, 4, 6)
        assert output[:, :, 2, 3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert read_image(path, "GRAY")[:, :, 2, 3].tolist() == [[76], [150], [29]]
    frames[0].save(tmp_path / "still.gif")
    assert read_image(tmp_path / "still.gif").shape == (3, 4, 6)


def test_one_bit_png() -> None:
    data = png(8, 2, 1, 0, [bytes([0b10110000]), bytes([0b00000001])])
    expected = [[255, 0, 255, 255, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 255]]
    assert decode_image(data).tolist() == [expected]
    assert decode_image(data, "RGB").tolist() == [expected] * 3


def test_palette_png() -> None:
    palette = (b"PLTE", bytes([10, 20, 30, 200, 100, 0]))
    data = png(2, 1, 8, 3, [bytes([1, 0])], palette)
    assert decode_image(data).tolist() == [[[1, 0]]], "indices, as torchvision gives: masks have palettes"
    assert decode_image(data, "RGB").tolist() == [[[200, 10]], [[100, 20]], [[0, 30]]]
    two_bits = png(5, 1, 2, 3, [bytes([0b01000001, 0b01000000])], palette)
    assert decode_image(two_bits).tolist() == [[[1, 0, 0, 1, 1]]]
    transparent = png(2, 1, 8, 3, [bytes([1, 0])], palette, (b"tRNS", bytes([0, 128])))
    assert decode_image(transparent).tolist() == [[[1, 0]]]
    assert decode_image(transparent, "RGBA")[3].tolist() == [[128, 0]]
    assert decode_image(transparent, "RGB").tolist() == [[[200, 10]], [[100, 20]], [[0, 30]]]


def test_16_bit_png() -> None:
    grey = png(3, 1, 16, 0, [struct.pack(">HHH", 0, 0x1234, 0xFFFF)])
    unchanged = decode_image(grey)
    assert unchanged.dtype == torch.uint16
    assert unchanged.tolist() == [[[0, 0x1234, 0xFFFF]]]
    for mode, channels in (("GRAY", 1), ("RGB", 3)):
        output = decode_image(grey, mode)
        assert output.dtype == torch.uint8
        assert output.tolist() == [[[0, 0x12, 255]]] * channels
    color = png(1, 1, 16, 2, [struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF)])
    assert decode_image(color).dtype == torch.uint16
    assert decode_image(color).flatten().tolist() == [0x1234, 0x8000, 0xFFFF]
    assert decode_image(color, "RGB").flatten().tolist() == [0x12, 0x80, 0xFF]


def test_cmyk_jpeg() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)
    output = decode_image(data, "RGB")
    assert output.shape == (3, 16, 16)
    assert (output[:, 8, 8].int() - torch.tensor([255, 0, 0])).abs().max() <= 4
    # As it is stored, that is inverted: a program that reads CMYK itself does as torchvision does.
    unchanged = decode_image(data)
    assert unchanged.shape == (4, 16, 16)
    assert (unchanged[:, 8, 8].int() - torch.tensor([255, 0, 0, 255])).abs().max() <= 4


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("UNCHANGED", [200, 100, 50, 128]),
        ("GRAY", [124]),  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
        ("GRAY_ALPHA", [124, 128]),
        ("RGB", [200, 100, 50]),
        ("RGB_ALPHA", [200, 100, 50, 128]),
        ("RGBA", [200, 100, 50, 128]),
    ],
)
def test_modes(mode: str, expected: list[int]) -> None:
    data = encoded(Image.new("RGBA", (2, 2), (200, 100, 50, 128)), "PNG")
    for spelling in (mode, mode.lower(), ImageReadMode[mode]):
        assert decode_image(data, spelling)[:, 0, 0].tolist() == expected


def test_alpha_of_opaque_pictures_is_full() -> None:
    data = encoded(Image.new("L", (1, 1), 7), "PNG")
    assert decode_image(data, "RGB_ALPHA").flatten().tolist() == [7, 7, 7, 255]
    assert decode_image(data, "GRAY_ALPHA").flatten().tolist() == [7, 255]


class _ForeignMode:
    """Stands for the enum of another library."""

    name = "GRAY"
    value = 1


def test_foreign_and_unknown_modes() -> None:
    data = encoded(Image.new("RGB", (2, 2)), "PNG")
    assert decode_image(data, _ForeignMode()).shape == (1, 2, 2)  # type: ignore[arg-type]
    for unknown in ("BGR", None, 9):
        with pytest.raises(ValueError, match=r"unknown mode .*UNCHANGED, GRAY"):
            decode_image(data, unknown)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("orientation", "corner"),  # where the marked top left corner of the stored picture is to be seen: (row, column)
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))],
)
def test_exif_orientation(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    stored = torch.zeros(3, 32, 48, dtype=torch.uint8)
    stored[:, :8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    to_pil_image(stored).save(path, quality=95, exif=exif)

    assert read_image(path).shape == (3, 32, 48)
    upright = read_image(path, apply_exif_orientation=True)
    assert upright.shape == ((3, 48, 32) if orientation >= 5 else (3, 32, 48))
    assert upright[0, corner[0], corner[1]] > 200
    assert upright.float().mean() < 20
    assert torch.equal(pil_to_tensor(open_image(path)), upright)


def test_decode_takes_bytes_tensors_and_paths(tmp_path: Path) -> None:
    picture = noise(0, 3, 5, 6)
    path = tmp_path / "picture.png"
    write_png(picture, path)
    data = path.read_bytes()
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    for input in (data, tensor, tensor.repeat_interleave(2)[::2], path, str(path)):
        assert torch.equal(decode_image(input), picture)


@pytest.mark.parametrize("input", [torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(16), 5, None])
def test_decode_refuses_other_inputs(input: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        decode_image(input)


# What is wrong with files --------------------------------------------------------------------------------------------


def unreadable_files(directory: Path) -> dict[Path, str]:
    """Files, and what the error is to say."""
    whole = encoded(to_pil_image(noise(0, 3, 64, 64)), "PNG")
    contents = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"This is no picture.\n" * 20, "not an image"),
        "zeros.png": (bytes(4096), "not an image"),
        "header-only.png": (whole[:40], "not an image, damaged"),
        "truncated.png": (whole[: len(whole) // 2], "cannot be decoded"),
        "truncated.jpg": (encoded(to_pil_image(noise(0, 3, 64, 64)), "JPEG")[:-500], "cannot be decoded.*truncated"),
        "truncated.gif": (encoded(to_pil_image(noise(0, 3, 64, 64)), "GIF")[:-500], "cannot be decoded"),
        "truncated.webp": (encoded(to_pil_image(noise(0, 3, 64, 64)), "WEBP")[:-500], "cannot be decoded"),
        "flipped.png": (whole[:2000] + bytes(b ^ 255 for b in whole[2000:2100]) + whole[2100:], "cannot be decoded"),
        "bomb.png": (png(60_000, 60_000, 8, 0, [b"\0"]), "too large.*MAX_IMAGE_PIXELS"),
        "float.tiff": (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point"),
    }
    expected = {}
    for name, (content, message) in contents.items():
        (directory / name).write_bytes(content)
        expected[directory / name] = message
    (directory / "folder.png").mkdir()
    expected[directory / "folder.png"] = "is a directory"
    expected[directory / "missing.png"] = "no such file"
    (directory / "dangling.png").symlink_to(directory / "nowhere")
    expected[directory / "dangling.png"] = "no such file"
    expected[directory / "text.jpg" / "below-a-file.png"] = "cannot be decoded"
    return expected


def test_unreadable_files_give_one_line_that_names_them(tmp_path: Path) -> None:
    for path, message in unreadable_files(tmp_path).items():
        for read in (read_image, open_image, lambda path: decode_image(str(path), "RGB")):
            with pytest.raises(ImageReadError, match=message) as raised:
                read(path)
            assert path.name in str(raised.value)
            assert "\n" not in str(raised.value)
            assert raised.value.__cause__ is not None or "empty" in str(raised.value)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_file_cut_anywhere_never_gives_half_a_picture(format: str) -> None:
    picture = to_pil_image(smooth(24, 24))
    data = encoded(picture, format)
    whole = decode_image(data)
    for length in range(len(data)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                output = decode_image(data[:length])
            except ImageReadError:
                continue
        assert torch.equal(output, whole)  # only what follows the pixels is missing


def test_damaged_bytes_are_named_by_their_length() -> None:
    with pytest.raises(ImageReadError, match="<3 bytes>: not an image"):
        decode_image(b"abc")
    with pytest.raises(ImageReadError, match="empty"):
        decode_image(torch.empty(0, dtype=torch.uint8))


def test_read_errors_are_value_errors() -> None:
    assert issubclass(ImageReadError, ValueError)


@pytest.mark.parametrize(
    ("write", "input", "options", "error", "message"),
    [
        (write_png, noise(0, 3, 4, 4) / 255, {}, TypeError, "uint8.*float32"),
        (write_png, noise(0, 5, 4, 4), {}, ValueError, "channels"),
        (write_png, noise(0, 1, 3, 4, 4), {}, ValueError, "shape"),
        (write_png, noise(0, 3, 0, 4), {}, ValueError, "empty"),
        (write_png, noise(0, 3, 4, 4), {"compression_level": 10}, ValueError, "between 0 and 9"),
        (write_jpeg, noise(0, 4, 4, 4), {}, ValueError, "1 or 3 channels, got 4"),
        (write_jpeg, noise(0, 3, 4, 4), {"quality": 0}, ValueError, "between 1 and 100"),
        (write_jpeg, "picture", {}, TypeError, "expected a tensor"),
    ],
)
def test_what_writing_refuses(
    tmp_path: Path, write: Any, input: Any, options: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write(input, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
