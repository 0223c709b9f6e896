"""Changes of the augmentation with given parameters, ours beside torchvision's.

`tools.transform_parity` compares them with torchvision and writes what it gives to tests/assets/transforms.json, with
which the tests compare.
"""

import base64
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tools.distributions import ROOT
from tools.reference_values import noise
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training import transforms as ours
from zoo_core.training.transforms import Sample, color, crops, geometry, policies, tensors
from zoo_core.training.transforms.policies import Operation

ASSET = ROOT / "tests" / "assets" / "transforms.json"

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BILINEAR = Image.Resampling.BILINEAR


def smooth(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return (torch.stack([0.1 + 0.8 * x, y, (x * y).sqrt()]) * 255).to(torch.uint8)


IMAGES = {
    "noise": to_pil_image(noise(1, 3, 9, 12)),
    "smooth": to_pil_image(smooth(8, 7)),
    "grey": to_pil_image(noise(2, 1, 6, 9)),
}
BOXES = torch.tensor([[1.0, 2, 7, 8], [0, 0, 12, 9], [6.5, 3.25, 7.75, 8.5], [10, 7, 12, 9]])
MASKS = (noise(3, 4, 9, 12) > 128).to(torch.uint8)
KEYPOINTS = torch.tensor(
    [[[2.0, 3, 2], [6, 7, 1]], [[0, 0, 2], [11, 8, 2]], [[7, 8, 2], [3, 3, 2]], [[11, 7, 1], [10, 8, 2]]]
)
CLIP = noise(4, 2, 3, 6, 9)


def objects() -> Sample:
    return Sample(IMAGES["noise"], boxes=BOXES, labels=torch.arange(4), masks=MASKS, keypoints=KEYPOINTS)


@dataclass(frozen=True)
class Case:
    """A change with given parameters.

    Args:
        name: for the list.
        ours: makes our result, a PIL image or a tensor.
        theirs: makes torchvision's, of its transforms v2, their functional form and its ``tv_tensors``.
        allowed: the largest difference that is no failure.
    """

    name: str
    ours: Any  # () -> image or tensor
    theirs: Any  # (v2, v2.functional, tv_tensors) -> image or tensor
    allowed: float = 0.0


def colors() -> Iterator[Case]:
    """Brightness and the like. Nothing may differ."""
    functions = ("brightness", "contrast", "saturation", "sharpness")
    for (kind, image), name, factor in itertools.product(IMAGES.items(), functions, (0.0, 0.3, 0.85, 1.37, 3.0)):
        change = getattr(color, f"adjust_{name}")
        yield Case(
            f"{name} {factor}, {kind}",
            lambda image=image, change=change, factor=factor: change(image, factor),
            lambda v2, f, tv, image=image, name=name, factor=factor: getattr(f, f"adjust_{name}")(image, factor),
        )
    for (kind, image), shift in itertools.product(IMAGES.items(), (-0.5, -0.1, 0.03, 0.25)):
        yield Case(
            f"hue {shift}, {kind}",
            lambda image=image, shift=shift: color.adjust_hue(image, shift),
            lambda v2, f, tv, image=image, shift=shift: f.adjust_hue(image, shift),
        )
    for kind, image in IMAGES.items():
        for name in ("invert", "autocontrast", "equalize"):
            yield Case(
                f"{name}, {kind}",
                lambda image=image, name=name: getattr(color, name)(image),
                lambda v2, f, tv, image=image, name=name: getattr(f, name)(image),
            )
        for bits in (1, 4, 7):
            yield Case(
                f"posterize {bits}, {kind}",
                lambda image=image, bits=bits: color.posterize(image, bits),
                lambda v2, f, tv, image=image, bits=bits: f.posterize(image, bits),
            )
        for threshold in (0, 77.5, 200):
            yield Case(
                f"solarize {threshold}, {kind}",
                lambda image=image, threshold=threshold: color.solarize(image, threshold),
                lambda v2, f, tv, image=image, threshold=threshold: f.solarize(image, threshold),
            )
        yield Case(
            f"grayscale, {kind}",
            lambda image=image: color.grayscale(image),
            lambda v2, f, tv, image=image: f.to_grayscale(image, len(image.getbands())),
        )
    yield Case(
        "channels",
        lambda: color.permute_channels(IMAGES["noise"], (2, 0, 1)),
        lambda v2, f, tv: f.permute_channels(IMAGES["noise"], [2, 0, 1]),
    )


def places() -> Iterator[Case]:
    """Flips, crops and sizes of images, boxes, masks, keypoints and clips. Nothing may differ but resized clips."""
    wrapped: dict[str, Callable[[Any], Any]] = {
        "boxes": lambda tv: tv.BoundingBoxes(BOXES, format="XYXY", canvas_size=(9, 12)),
        "masks": lambda tv: tv.Mask(MASKS),
        "keypoints": lambda tv: tv.KeyPoints(KEYPOINTS[..., :2], canvas_size=(9, 12)),
        "image": lambda tv: IMAGES["noise"],
    }

    def part(sample: Sample, kind: str) -> Any:
        value = getattr(sample, kind)
        return value[..., :2] if kind == "keypoints" else value

    for kind, wrap in wrapped.items():
        yield Case(
            f"horizontal flip of {kind}",
            lambda kind=kind: part(geometry.horizontal_flip(objects()), kind),
            lambda v2, f, tv, wrap=wrap: f.horizontal_flip(wrap(tv)),
        )
        yield Case(
            f"vertical flip of {kind}",
            lambda kind=kind: part(geometry.vertical_flip(objects()), kind),
            lambda v2, f, tv, wrap=wrap: f.vertical_flip(wrap(tv)),
        )
        for size in ((18, 24), (5, 7), (9, 20), (1, 1), (17, 5)):
            yield Case(
                f"size {size} of {kind}",
                lambda kind=kind, size=size: part(geometry.resize(objects(), *size), kind),
                lambda v2, f, tv, wrap=wrap, size=size: f.resize(wrap(tv), list(size), antialias=True),
                1e-5 if kind in ("boxes", "keypoints") else 0,
            )
    for window in ((0, 0, 9, 12), (2, 1, 6, 10), (-3, -2, 14, 17), (5, 6, 2, 15)):
        # Which objects stay is ours to say: those whose clipped box has a pixel. Compared is what is left.
        clipped = geometry.crop(objects(), *window)
        numbers = clipped.labels
        assert numbers is not None
        for kind in ("boxes", "masks", "image"):
            yield Case(
                f"window {window} of {kind}",
                lambda kind=kind, window=window: getattr(geometry.crop(objects(), *window), kind),
                lambda v2, f, tv, kind=kind, window=window, numbers=numbers: (
                    f.crop(wrapped[kind](tv), *window)
                    if kind == "image"
                    else f.crop(wrapped[kind](tv), *window)[numbers]
                ),
            )
    for (name, image), size, mode in itertools.product(
        IMAGES.items(), ((2, 14), (11, 4)), ("nearest", "bilinear", "bicubic")
    ):
        yield Case(
            f"crop resized to {size} by {mode}, {name}",
            lambda image=image, size=size, mode=mode: (
                ours.RandomResizedCrop(size, interpolation=mode).apply(Sample(image), crops.Window(2, 1, 3, 5)).image
            ),
            lambda v2, f, tv, image=image, size=size, mode=mode: f.resized_crop(
                image, 2, 1, 3, 5, list(size), v2.InterpolationMode(mode), antialias=True
            ),
        )
    yield Case(
        "padding of a colour",
        lambda: ours.ZoomOut((10, 20, 30)).apply(objects(), crops.Window(-2, -5, 13, 20)).image,
        lambda v2, f, tv: f.pad(IMAGES["noise"], [5, 2, 3, 2], fill=[10, 20, 30]),
    )
    yield Case(
        "labels beside the image",
        lambda: (
            ours.RandomCrop((15, 16))
            .apply(Sample(IMAGES["noise"], label_map=MASKS[0]), crops.Window(-3, -2, 15, 16))
            .label_map
        ),
        lambda v2, f, tv: f.pad(tv.Mask(MASKS[0]), [2, 3, 2, 3], fill=255),
    )
    for size in ((4, 5), (8, 15)):
        # Torch resizes integers in fixed point, and by other instructions on other processors.
        yield Case(
            f"size {size} of a clip",
            lambda size=size: geometry.resize(Sample(CLIP), *size).image,
            lambda v2, f, tv, size=size: f.resize(tv.Video(CLIP), list(size), antialias=False),
            1,
        )
    yield Case(
        "flip of a clip",
        lambda: geometry.horizontal_flip(Sample(CLIP)).image,
        lambda v2, f, tv: f.horizontal_flip(tv.Video(CLIP)),
    )


def operations() -> Iterator[Case]:
    """What the policies move. Nothing may differ."""
    modes = {"nearest": Image.Resampling.NEAREST, "bilinear": BILINEAR}
    for (kind, image), (mode, resample), fill in itertools.product(IMAGES.items(), modes.items(), (None, 90)):
        for angle in (-30.0, 7.3, 135.0):
            yield Case(
                f"rotation by {angle}, {mode}, fill {fill}, {kind}",
                lambda image=image, angle=angle, resample=resample, fill=fill: policies.apply_operation(
                    image, Operation("Rotate", angle), resample, fill or 0
                ),
                lambda v2, f, tv, image=image, angle=angle, mode=mode, fill=fill: f.rotate(
                    image, angle, v2.InterpolationMode(mode), fill=fill
                ),
            )
        for x, y in ((3, 0), (-5, 0), (0, 4), (0, -2)):
            yield Case(
                f"translation by {x}, {y}, {mode}, fill {fill}, {kind}",
                lambda image=image, x=x, y=y, resample=resample, fill=fill: policies.apply_operation(
                    image, Operation("TranslateX" if x else "TranslateY", x or y), resample, fill or 0
                ),
                lambda v2, f, tv, image=image, x=x, y=y, mode=mode, fill=fill: f.affine(
                    image, 0.0, [x, y], 1.0, [0.0, 0.0], v2.InterpolationMode(mode), fill=fill
                ),
            )


def tensors_and_batches() -> Iterator[Case]:
    yield Case(
        "normalised tensor",
        lambda: ours.ToTensor(MEAN, STD).apply(Sample(IMAGES["noise"])).image,
        lambda v2, f, tv: f.normalize(
            f.to_dtype(f.pil_to_tensor(IMAGES["noise"]), torch.float32, scale=True), MEAN, STD
        ),
        1e-6,
    )
    yield Case(
        "normalised clip",
        lambda: ours.ToTensor(MEAN, STD).apply(Sample(CLIP)).image,
        lambda v2, f, tv: f.normalize(f.to_dtype(CLIP, torch.float32, scale=True), MEAN, STD).transpose(0, 1),
        1e-6,
    )
    batch = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(5))
    for value in (0.0, (1.0, 2.0, 3.0)):
        yield Case(
            f"erased with {value}",
            lambda value=value: ours.RandomErasing(value=value).apply(Sample(batch), tensors.Erased(2, 3, 4, 5)).image,
            lambda v2, f, tv, value=value: f.erase(batch, 2, 3, 4, 5, torch.tensor(value).view(-1, 1, 1)),
        )


def cases() -> dict[str, Case]:
    """All of them, by name."""
    return {case.name: case for case in itertools.chain(colors(), places(), operations(), tensors_and_batches())}


def as_tensor(value: Any) -> Tensor:
    """An image or tensor as a plain tensor."""
    if isinstance(value, Image.Image):
        return pil_to_tensor(value)
    return value.as_subclass(Tensor).contiguous()


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, or infinity where dtype or shape differ."""
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return float("inf")
    return float((found.double() - expected.double()).abs().max()) if found.numel() else 0.0


# What torchvision gave, for tests that do not have it -----------------------------------------------------------------


def packed(value: Tensor) -> list[Any]:
    data = zlib.compress(bytes(value.reshape(-1).view(torch.uint8).tolist()), 9)
    return [str(value.dtype).removeprefix("torch."), list(value.shape), base64.b64encode(data).decode("ascii")]


def unpacked(entry: Sequence[Any]) -> Tensor:
    dtype, shape, data = entry
    values = bytearray(zlib.decompress(base64.b64decode(data)))
    return torch.frombuffer(values, dtype=getattr(torch, dtype)).reshape(shape)


def write(results: dict[str, Tensor], version: str) -> None:
    about = f"What torchvision {version}'s transforms v2 give: dtype, shape, packed values (tools/transform_parity.py)."
    lines = [f" {json.dumps(name)}: {json.dumps(packed(value))}" for name, value in results.items()]
    ASSET.write_text("{\n" + ",\n".join([f' "about": {json.dumps(about)}', *lines]) + "\n}\n", encoding="utf-8")
