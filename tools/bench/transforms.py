"""Each transform of the augmentation on PIL images, alternately with torchvision's transforms v2.

A run draws and applies a transform many times from one seed; ranges that decide on the work are narrow, so that both
have the same to do. Times are those of the processor. Set ZOO_BENCH_MODELS to shell patterns (comma-separated) of the
names for some of them only.
"""

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from tools import oracle
from tools.bench.measure import compare, least_ratio, measure_models, table
from zoo_core.images import to_pil_image
from zoo_core.training import transforms as ours
from zoo_core.training.transforms import Sample, pipelines

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pair(NamedTuple):
    """What both do in a run: our transform on a sample, and torchvision's on its arguments."""

    ours: Callable[[Sample, random.Random], Any]
    sample: Sample
    theirs: Callable[..., Any]
    arguments: tuple[Any, ...]
    calls: int = 20


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth with some noise, as photos are."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=g)
    levels = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0] * 255
    levels += 6 * torch.randn(3, height, width, generator=g)
    return to_pil_image(levels.clamp(0, 255).to(torch.uint8))


def pairs() -> dict[str, Pair]:
    """Everything that is measured."""
    oracle.torchvision()
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    large, small = photo(375, 500), photo(224, 224)
    on_large, on_small = Sample(large), Sample(small)
    half: dict[str, Any] = {"scale": (0.5, 0.5), "ratio": (1.0, 1.0)}
    kinds: dict[str, Pair] = {
        "RandomResizedCrop": Pair(
            ours.RandomResizedCrop(224, **half), on_large, v2.RandomResizedCrop(224, **half, antialias=True), (large,)
        ),
        "Resize": Pair(ours.Resize(256), on_large, v2.Resize(256, antialias=True), (large,)),
        "RandomCrop": Pair(ours.RandomCrop(200), on_small, v2.RandomCrop(200), (small,), 400),
        "RandomHorizontalFlip": Pair(
            ours.RandomHorizontalFlip(1.0), on_small, v2.RandomHorizontalFlip(1.0), (small,), 200
        ),
        "RandomVerticalFlip": Pair(ours.RandomVerticalFlip(1.0), on_small, v2.RandomVerticalFlip(1.0), (small,), 400),
        "RandomGrayscale": Pair(ours.RandomGrayscale(1.0), on_small, v2.RandomGrayscale(1.0), (small,), 200),
        "RandomSolarize": Pair(ours.RandomSolarize(128, 1.0), on_small, v2.RandomSolarize(128, 1.0), (small,), 200),
        "RandomPosterize": Pair(ours.RandomPosterize(4, 1.0), on_small, v2.RandomPosterize(4, 1.0), (small,), 200),
        "ColorJitter": Pair(
            ours.ColorJitter(0.4, 0.4, 0.4, 0.1), on_small, v2.ColorJitter(0.4, 0.4, 0.4, 0.1), (small,)
        ),
        "PhotometricDistort": Pair(
            ours.PhotometricDistort(p=1.0), on_small, v2.RandomPhotometricDistort(p=1.0), (small,)
        ),
        "TrivialAugmentWide": Pair(
            ours.TrivialAugmentWide(interpolation="bilinear"),
            on_small,
            v2.TrivialAugmentWide(interpolation=bilinear),
            (small,),
            280,
        ),
        "RandAugment": Pair(
            ours.RandAugment(interpolation="bilinear"), on_small, v2.RandAugment(interpolation=bilinear), (small,), 140
        ),
        "AutoAugment": Pair(
            ours.AutoAugment(interpolation="bilinear"), on_small, v2.AutoAugment(interpolation=bilinear), (small,), 200
        ),
        "AugMix": Pair(ours.AugMix(), on_small, v2.AugMix(), (small,), 30),
        "ToTensor": Pair(
            ours.ToTensor(MEAN, STD),
            on_small,
            v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
            (small,),
        ),
    }
    enhanced = {
        "brightness": ours.ColorJitter(brightness=0.4),
        "contrast": ours.ColorJitter(contrast=0.4),
        "saturation": ours.ColorJitter(saturation=0.4),
        "hue": ours.ColorJitter(hue=0.1),
    }
    for name, jitter in enhanced.items():
        theirs = v2.ColorJitter(**{name: 0.1 if name == "hue" else 0.4})
        kinds[f"ColorJitter {name}"] = Pair(jitter, on_small, theirs, (small,), 100)
    for name, magnitude in (
        *(("ShearX", 0.2), ("TranslateX", 20), ("Rotate", 20), ("Sharpness", 0.5), ("AutoContrast", 0)),
        *(("Equalize", 0), ("Invert", 0)),
    ):
        kinds[f"operation {name}"] = operation(v2, name, magnitude, on_small)
    tensor = torch.randn(3, 224, 224)
    small_part: dict[str, Any] = {"scale": (0.2, 0.2), "ratio": (1.0, 1.0)}
    kinds["RandomErasing"] = Pair(
        ours.RandomErasing(1.0, **small_part), Sample(tensor), v2.RandomErasing(1.0, **small_part), (tensor,)
    )
    kinds |= mixing(v2) | detection(v2, tv_tensors) | compositions(v2, tv_tensors)
    return kinds


def operation(v2: Any, name: str, magnitude: float, sample: Sample) -> Pair:
    """One of the operations of the policies."""
    bilinear, f = v2.InterpolationMode.BILINEAR, v2.functional
    functions: dict[str, Callable[[Any], Any]] = {
        "ShearX": lambda image: f.affine(
            image, 0.0, [0, 0], 1.0, [torch.tensor(magnitude).atan().rad2deg().item(), 0.0], bilinear, center=[0, 0]
        ),
        "TranslateX": lambda image: f.affine(image, 0.0, [int(magnitude), 0], 1.0, [0.0, 0.0], bilinear),
        "Rotate": lambda image: f.rotate(image, magnitude, bilinear),
        "Sharpness": lambda image: f.adjust_sharpness(image, 1 + magnitude),
        "AutoContrast": f.autocontrast,
        "Equalize": f.equalize,
        "Invert": f.invert,
    }
    policy = ours.TrivialAugmentWide(interpolation="bilinear")
    given = (ours.policies.Operation(name, magnitude),)
    return Pair(lambda one, rng: policy.apply(one, given), sample, functions[name], (sample.image,), 100)


def mixing(v2: Any) -> dict[str, Pair]:
    """Batches of 32; ours take the batch and the classes in place of a sample."""
    batch, classes = torch.randn(32, 3, 224, 224), torch.randint(0, 1000, (32,))
    sample = Sample(batch, label=classes)

    def on_batch(mix: ours.MixUp | ours.CutMix) -> Callable[[Sample, random.Random], Any]:
        return lambda one, rng: mix(batch, one.label, rng)

    return {
        "MixUp": Pair(on_batch(ours.MixUp(1000)), sample, v2.MixUp(num_classes=1000), (batch, classes), 3),
        "CutMix": Pair(on_batch(ours.CutMix(1000)), sample, v2.CutMix(num_classes=1000), (batch, classes), 3),
    }


def objects(tv: Any, height: int = 480, width: int = 640) -> tuple[Sample, tuple[Any, ...]]:
    """An image with eight objects and their masks, for ours and for torchvision's."""
    g = torch.Generator().manual_seed(0)
    corners = torch.rand(8, 2, generator=g) * torch.tensor([width, height]) * 0.7
    sides = 20 + torch.rand(8, 2, generator=g) * torch.tensor([width, height]) * 0.25
    boxes = torch.cat((corners, corners + sides), 1)
    masks = torch.zeros(8, height, width, dtype=torch.uint8)
    for mask, box in zip(masks, boxes.long().tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = 1
    image, labels = photo(height, width), torch.arange(8)
    target = {
        "boxes": tv.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": labels,
        "masks": tv.Mask(masks),
    }
    return Sample(image, boxes=boxes, labels=labels, masks=masks), (image, target)


def detection(v2: Any, tv: Any) -> dict[str, Pair]:
    """Images with boxes and masks; each ends with taking away boxes that are none, as ours always do."""
    sample, arguments = objects(tv)
    fill = {tv.Mask: 0, "others": [123, 117, 104]}

    def cleaned(transform: Any) -> Any:
        return v2.Compose([transform, v2.SanitizeBoundingBoxes()])

    scale, sides = (1.2, 1.2), (2.0, 2.0)
    lsj = v2.Compose([v2.ScaleJitter((640, 640), scale), v2.RandomCrop(640, pad_if_needed=True)])
    kinds: dict[str, tuple[Any, Any]] = {
        "horizontal flip": (ours.RandomHorizontalFlip(1.0), v2.RandomHorizontalFlip(1.0)),
        "ScaleJitter": (ours.ScaleJitter(640, scale), cleaned(v2.ScaleJitter((640, 640), scale))),
        "LargeScaleJitter": (ours.LargeScaleJitter(640, scale), cleaned(lsj)),
        "RandomShortestSize": (
            ours.RandomShortestSize(800, 1333),
            cleaned(v2.RandomShortestSize(800, 1333)),
        ),
        "IoUCrop": (ours.IoUCrop(), cleaned(v2.RandomIoUCrop())),
        "ZoomOut": (ours.ZoomOut((123, 117, 104), sides, 1.0), cleaned(v2.RandomZoomOut(fill, sides, 1.0))),
        "FixedSizeCrop": (ours.FixedSizeCrop(400), cleaned(v2.RandomCrop(400))),
        "Sanitize": (ours.Sanitize(), v2.SanitizeBoundingBoxes()),
    }
    return {f"boxes, {name}": Pair(mine, sample, theirs, arguments, 12) for name, (mine, theirs) in kinds.items()}


def compositions(v2: Any, tv: Any) -> dict[str, Pair]:
    """What recipes name, from a decoded image to a tensor."""
    bilinear = v2.InterpolationMode.BILINEAR
    large = photo(375, 500)
    half: dict[str, Any] = {"scale": (0.5, 0.5), "ratio": (1.0, 1.0)}
    to_tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    normalized = [*to_tensor, v2.Normalize(MEAN, STD)]
    start = [v2.RandomResizedCrop(224, **half, interpolation=bilinear, antialias=True), v2.RandomHorizontalFlip(0.5)]
    kinds = {
        "classification": Pair(pipelines.classification(), Sample(large), v2.Compose([*start, *normalized]), (large,)),
        "classification, v2 recipe": Pair(
            pipelines.classification(auto_augment="ta_wide", random_erase=0.1, **half),
            Sample(large),
            v2.Compose([*start, v2.TrivialAugmentWide(interpolation=bilinear), *normalized, v2.RandomErasing(0.1)]),
            (large,),
            140,
        ),
    }
    sample, arguments = objects(tv)
    end = [v2.RandomHorizontalFlip(0.5), v2.SanitizeBoundingBoxes(), *to_tensor]
    steps: dict[str, list[Any]] = {
        "hflip": [],
        "multiscale": [v2.RandomShortestSize(640, 1333)],
        "lsj": [v2.ScaleJitter((1024, 1024), (1.2, 1.2)), v2.RandomCrop(1024, pad_if_needed=True)],
        "ssd": [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut({tv.Mask: 0, "others": [123, 117, 104]}),
            v2.RandomIoUCrop(),
        ],
        "ssdlite": [v2.RandomIoUCrop()],
    }
    for name, first in steps.items():
        kinds[f"detection {name}"] = Pair(
            pipelines.detection(data_augmentation=name, min_size=640, scale_range=(1.2, 1.2)),
            sample,
            v2.Compose([*first, *end]),
            arguments,
            12,
        )
    labels = torch.randint(0, 21, (375, 500), dtype=torch.uint8)
    kinds["segmentation"] = Pair(
        pipelines.segmentation(scale=(1.2, 1.2)),
        Sample(large, label_map=labels),
        v2.Compose(
            [
                v2.RandomResize(624, 625, antialias=True),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(480, pad_if_needed=True, fill={tv.Mask: 255, "others": 0}),
                *normalized,
            ]
        ),
        (large, tv.Mask(labels)),
        12,
    )
    video = v2.Compose(
        [
            v2.Resize((128, 171), antialias=False),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomCrop(112),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
            v2.Lambda(lambda frames: frames.transpose(-4, -3)),
        ]
    )
    clip: Tensor = torch.randint(0, 256, (16, 3, 240, 320), dtype=torch.uint8)
    decoded = torch.randint(0, 256, (16, 240, 320, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    for name, frames in (("video", clip), ("video, channels last", decoded)):
        kinds[name] = Pair(pipelines.video(), Sample(frames), video, (tv.Video(frames),), 4)
    return kinds


def measure(name: str, pair: Pair, seconds: float) -> list[str]:
    """The row of one transform."""

    def of_ours() -> None:
        rng = random.Random(0)
        for _ in range(pair.calls):
            pair.ours(pair.sample, rng)

    def of_theirs() -> None:
        torch.manual_seed(0)
        random.seed(0)
        for _ in range(pair.calls):
            pair.theirs(*pair.arguments)

    result = compare(of_ours, of_theirs, seconds=seconds, clock=time.process_time)
    fastest = [f"{1e6 * min(times) / pair.calls:.0f}" for times in (result.ours, result.reference)]
    return [name, *fastest, f"{result.ratio:.2f}", f"{result.median_ratio:.2f}"]


def main(seconds: float = 2.0) -> None:
    everything = pairs()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        rows = measure_models(everything, lambda name: measure(name, everything[name], seconds))
    finally:
        torch.set_num_threads(threads)
    table(
        "Augmentation in one thread: microseconds a call (fastest run), and how many times as fast as torchvision's",
        ["transform", "ours", "torchvision", "ratio", "of medians"],
        rows,
    )
    least_ratio(rows, 3)


if __name__ == "__main__":
    main()
