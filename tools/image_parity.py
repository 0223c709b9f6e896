"""Compares our functions for images with those of `torchvision.io` and `torchvision.utils` as a black box.

    python -m tools.image_parity

Values must be equal, but for what is said beside the cases. What we decode otherwise on purpose is left out: files of
16 bits in other modes than UNCHANGED (we give 8 bits).
"""

import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tools.reference_values import noise
from tools.torchvision_operators import torchvision_codecs
from zoo_core import drawing, images
from zoo_core.images import to_pil_image


@dataclass(frozen=True)
class Case:
    """A call of a function that both have.

    Args:
        name: for the list.
        function, arguments, options: the call; of ``mode`` the name.
        allowed: the largest difference that is no failure, in levels.
    """

    name: str
    function: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    allowed: int = 0


def smooth(height: int = 90, width: int = 122) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return (torch.stack([x, y, (x * y).sqrt()]) * 255).to(torch.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> Tensor:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def deep_png(channels: int, height: int = 7, width: int = 5) -> Tensor:
    """A PNG file of 16 bits a channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = noise(channels, height, 2 * channels * width).tolist()
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return torch.frombuffer(bytearray(b"\x89PNG\r\n\x1a\n" + parts), dtype=torch.uint8)


def decoding() -> Iterator[Case]:
    for channels, name in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        png = encoded(to_pil_image(noise(channels, channels, 33, 47)), "PNG")
        for mode in ("UNCHANGED", "GRAY", "GRAY_ALPHA", "RGB", "RGB_ALPHA", "RGBA"):
            # libpng and Pillow weigh red, green and blue for grey in other roundings.
            allowed = 1 if mode.startswith("GRAY") and channels > 2 else 0
            yield Case(f"png {name}, {mode}", "decode_png", (png,), {"mode": mode}, allowed)
        yield Case(f"png {name}, 16 bits", "decode_image", (deep_png(channels),))
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        jpeg = encoded(to_pil_image(smooth()), "JPEG", quality=85, exif=exif)
        yield Case(f"jpeg, orientation {orientation}", "decode_image", (jpeg,), {"apply_exif_orientation": True})
    kinds: tuple[dict[str, Any], ...] = (
        *({"quality": 30}, {"quality": 90}),
        *({"quality": 90, "progressive": True}, {"quality": 90, "subsampling": 0}),
    )
    for name, image in (("noise", noise(5, 3, 50, 70)), ("smooth", smooth()), ("grey", noise(6, 1, 50, 70))):
        for options in kinds:
            jpeg = encoded(to_pil_image(image), "JPEG", **options)
            for mode in ("UNCHANGED", "GRAY", "RGB"):
                yield Case(f"jpeg {name}, {options}, {mode}", "decode_jpeg", (jpeg,), {"mode": mode})
    for name, image, is_lossless in (("lossless", noise(7, 4, 20, 31), True), ("lossy", smooth(), False)):
        webp = encoded(to_pil_image(image), "WEBP", lossless=is_lossless)
        for mode in ("UNCHANGED", "RGB", "RGB_ALPHA"):
            yield Case(f"webp {name}, {mode}", "decode_webp", (webp,), {"mode": mode})
    frames = [to_pil_image(noise(seed, 3, 20, 31)).quantize() for seed in range(3)]
    yield Case("gif", "decode_gif", (encoded(frames[0], "GIF"),))
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield Case("gif, three frames", "decode_gif", (moving,))
    for mode in ("UNCHANGED", "RGB"):
        yield Case(f"gif, three frames as an image, {mode}", "decode_image", (moving,), {"mode": mode})
        yield Case(f"png with a palette, {mode}", "decode_image", (encoded(frames[0], "PNG"),), {"mode": mode})
    cmyk = Image.merge("CMYK", [to_pil_image(noise(seed, 1, 40, 24)) for seed in range(4)])
    yield Case("jpeg in CMYK", "decode_image", (encoded(cmyk, "JPEG", quality=90),))


def encoding() -> Iterator[Case]:
    for image in (smooth(), noise(1, 3, 30, 40), noise(2, 1, 30, 40)):
        for quality in (1, 30, 75, 100):
            yield Case(f"jpeg of {list(image.shape)}, quality {quality}", "encode_jpeg", (image, quality))
        yield Case(f"png of {list(image.shape)}", "encode_png", (image,))


def drawn() -> Iterator[Case]:
    image, boxes = noise(3, 3, 80, 100), torch.tensor([[5, 6, 70, 60], [20.7, 2.2, 99, 79], [50, 50, 50, 60]])
    colors = ["red", "#00ff80", (1, 2, 3)]
    for width in (1, 3):
        for fill in (False, True):
            options = {"colors": colors, "width": width, "fill": fill}
            yield Case(f"boxes {options}", "draw_bounding_boxes", (image, boxes), options)
    labels = ["cat", "dog", "a long one"]
    yield Case("labels", "draw_bounding_boxes", (image, boxes, labels), {"colors": colors})
    masks = noise(4, 3, 80, 100) > 128
    for alpha in (0.0, 0.3, 0.8, 1.0):
        yield Case(f"masks, {alpha}", "draw_segmentation_masks", (image, masks, alpha), {"colors": colors})
    points = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(1)) * 80
    seen = noise(5, 2, 5) > 60
    yield Case("keypoints", "draw_keypoints", (image, points, [(0, 1), (1, 4)], "blue", 3, 2, seen))
    flow = torch.randn(2, 2, 40, 50, generator=torch.Generator().manual_seed(2))
    yield Case("flow", "flow_to_image", (flow,))
    batch = torch.rand(7, 3, 20, 30, generator=torch.Generator().manual_seed(3))
    grids: tuple[dict[str, Any], ...] = (
        *({}, {"nrow": 3, "padding": 0}, {"pad_value": 0.5}),
        *({"normalize": True}, {"normalize": True, "scale_each": True}, {"normalize": True, "value_range": (0.2, 0.7)}),
    )
    for options in grids:
        yield Case(f"grid {options}", "make_grid", (batch,), options)
    yield Case("file of a grid", "save_image", (batch,), {"nrow": 4})


def value(module: Any, case: Case) -> Tensor:
    """What a module makes of a case, as pixels."""
    if case.function == "save_image":
        with tempfile.TemporaryDirectory() as folder:
            module.save_image(*case.arguments, Path(folder) / "grid.png", **case.options)
            return images.read_image(Path(folder) / "grid.png")
    options = dict(case.options)
    if "mode" in options:
        options["mode"] = module.ImageReadMode[options["mode"]]
    result: Tensor = getattr(module, case.function)(*case.arguments, **options)
    return images.decode_image(result) if case.function.startswith("encode") else result


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest, or infinity where dtype or shape differ."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).abs().max())


def main() -> None:
    torchvision = torchvision_codecs()
    failed = []
    for cases, ours, theirs in (
        (decoding(), images, torchvision.io),
        (encoding(), images, torchvision.io),
        (drawn(), drawing, torchvision.utils),
    ):
        for case in cases:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = difference(value(ours, case), value(theirs, case))
            print(f"{found:5.1f}  {case.name}", flush=True)
            if found > case.allowed:
                failed.append(case.name)
    if failed:
        raise SystemExit(f"{len(failed)} differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
