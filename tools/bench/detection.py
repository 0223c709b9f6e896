"""Each detector end to end in eval mode on the CPU, alternately with torchvision's on its own operators; peak memory.

Both get the same parameters, filled from their names, and one image of 480x640 pixels. With such parameters far more
candidates pass the thresholds than with trained ones. A second table has the masks of 40 objects on 12 megapixels: as
probabilities of the whole image, and cut to their boxes. Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for
some of the models only.
"""

import gc
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from tools import counterparts, reference_values
from tools.bench.measure import compare, in_process, measure_models, resident, table, with_counterpart
from tools.torchvision_operators import torchvision_operators

SIZE = (480, 640)
OBJECTS, LARGE = 40, (3000, 4000)


def image() -> Tensor:
    return reference_values.image(1, 3, *SIZE)


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Our detector and torchvision's, on its own operators, with the same parameters."""
    torchvision_operators()
    return counterparts.pair(name)


def peak(name: str, which: str) -> float:
    """MiB that a forward pass in a fresh process needs at most, beside what the models take."""
    return in_process(
        f"from tools.bench.detection import peak_of; print(peak_of({name!r}, {which!r}))",
        OMP_NUM_THREADS=str(torch.get_num_threads()),
    )


@torch.inference_mode()
def peak_of(name: str, which: str) -> float:
    # Both are there in either case, so that the process has the same history.
    models = dict(zip(("ours", "theirs"), pair(name), strict=True))
    images = [image()]
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident()
    models[which](images)
    return resident(peak=True) - before


def measure(name: str) -> list[str]:
    """The row of one model."""
    ours, theirs = pair(name)
    images = [image()]
    with torch.inference_mode():
        found, expected = ours(images)[0], theirs(images)[0]
        result = compare(lambda: ours(images), lambda: theirs(images), seconds=12.0, at_least=4)
    fastest = f"{1e3 * min(result.ours):.0f}", f"{1e3 * min(result.reference):.0f}"
    memory = [peak(name, which) for which in ("ours", "theirs")] if sys.platform == "linux" else [0.0, 0.0]
    counts = f"{len(found['boxes'])}/{len(expected['boxes'])}"
    ratios = f"{result.ratio:.2f}", f"{result.median_ratio:.2f}"
    return [name, *fastest, *ratios, f"{memory[0]:.0f}", f"{memory[1]:.0f}", counts]


def objects() -> tuple[Tensor, Tensor]:
    """Masks and boxes of 40 objects, each of a sixth of the image's sides on average."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(OBJECTS, 1, 28, 28, generator=generator)
    sides = torch.tensor([LARGE[1], LARGE[0]])
    corners = torch.rand(OBJECTS, 2, generator=generator) * sides * 0.7
    return masks, torch.cat((corners, corners + (0.05 + 0.25 * torch.rand(OBJECTS, 2, generator=generator)) * sides), 1)


def pasted(form: str) -> object:
    from zoo_detection.masks import crop_masks, paste_masks_in_image

    return (crop_masks if form == "crops" else paste_masks_in_image)(*objects(), LARGE)


def peak_of_masks(form: str) -> float:
    """MiB that the masks take at most."""
    from zoo_detection.masks import crop_masks

    crop_masks(*objects(), (64, 64))  # what the first call needs once
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    pasted(form)
    return resident(peak=True) - before


def measure_masks() -> None:
    result = compare(lambda: pasted("crops"), lambda: pasted("full"), seconds=6.0, at_least=3)
    rows = []
    for form, times in (("full", result.reference), ("crops", result.ours)):
        memory = 0.0
        if sys.platform == "linux":
            memory = in_process(
                f"from tools.bench.detection import peak_of_masks; print(peak_of_masks({form!r}))",
                OMP_NUM_THREADS=str(torch.get_num_threads()),
            )
        rows.append([form, f"{1e3 * min(times):.0f}", f"{memory:.0f}"])
    table(f"Masks of {OBJECTS} objects on {LARGE[0]}x{LARGE[1]}", ["masks", "ms", "MiB"], rows)


def main() -> None:
    import zoo_detection

    print(f"operators: {zoo_detection.ops.backend()}")
    rows = measure_models(with_counterpart(zoo_detection), measure)
    table(
        f"Detection, one image of {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads: ms (fastest run), peak MiB",
        ["model", "ours", "torchvision", "ratio", "of medians", "MiB", "MiB torchvision", "detections"],
        rows,
    )
    measure_masks()


if __name__ == "__main__":
    main()
