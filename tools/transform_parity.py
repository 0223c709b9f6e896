"""Compares our augmentation with torchvision's transforms v2 as a black box.

    python -m tools.transform_parity            # compares, and says what differs
    python -m tools.transform_parity --write    # writes what torchvision gives to tests/assets/transforms.json

Three comparisons. With given parameters, values must be equal, but for what is said beside the cases. Of policies, each
image that torchvision makes of one must be among those that ours can make. Of what is drawn, the distributions of many
draws must be those of torchvision's, by the Kolmogorov-Smirnov statistic.
"""

import argparse
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tools import oracle
from tools.transform_cases import BILINEAR, as_tensor, cases, difference, noise, write
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.training import transforms as ours
from zoo_core.training.transforms import Sample, mixing, policies, policy_tables
from zoo_core.training.transforms.policies import Operation

# What policies and random transforms can give -------------------------------------------------------------------------


def one_operation(space: policies.Space, bins: int, image: Image.Image, place: int | None = None) -> set[bytes]:
    """All images that a policy of one operation can give."""
    return {
        policies.apply_operation(image, operation, BILINEAR).tobytes()
        for name in space
        for operation in variants(space, name, bins, image, place)
    }


def variants(space: policies.Space, name: str, bins: int, image: Image.Image, place: int | None) -> list[Operation]:
    """An operation with all its magnitudes, or that of a place, in both directions."""
    strength = space[name]
    if not strength.highest:
        return [Operation(name)]
    row = policies.magnitudes(name, strength, bins, image.height, image.width)
    chosen = row if place is None else (row[place],)
    return [Operation(name, sign * value) for value in chosen for sign in ((1, -1) if strength.signed else (1,))]


def pairs(policy: str, image: Image.Image) -> set[bytes]:
    """All images that one of AutoAugment's policies can give."""
    found = set()
    for steps in policy_tables.POLICIES[policy]:
        choices: list[list[Operation]] = []
        for name, p, place in steps:
            done = variants(policies.AUTO, name, ours.AutoAugment.BINS, image, place or 0) if p > 0 else []
            choices.append(done + ([Operation("Identity")] if p < 1 else []))
        for operations_of_pair in itertools.product(*choices):
            changed = image
            for operation in operations_of_pair:
                changed = policies.apply_operation(changed, operation, BILINEAR)
            found.add(changed.tobytes())
    return found


def policy_failures(v2: Any) -> list[str]:
    image = to_pil_image(noise(6, 3, 37, 53))
    bilinear = v2.InterpolationMode.BILINEAR
    kinds: list[tuple[str, set[bytes], Any, int]] = [
        (
            "TrivialAugmentWide",
            one_operation(policies.TRIVIAL_WIDE, 31, image),
            v2.TrivialAugmentWide(31, bilinear),
            4000,
        )
    ]
    for magnitude in (0, 9, 30):
        possible = one_operation(policies.RAND, 31, image, magnitude)
        kinds.append((f"RandAugment {magnitude}", possible, v2.RandAugment(1, magnitude, 31, bilinear), 600))
    for policy in policy_tables.POLICIES:
        theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy), bilinear)
        kinds.append((f"AutoAugment {policy}", pairs(policy, image), theirs, 3000))
    failures = []
    for name, possible, theirs, draws in kinds:
        torch.manual_seed(0)
        given = {theirs(image).tobytes() for _ in range(draws)}
        print(f"{name}: {len(given)} images of torchvision's, {len(given - possible)} not among our {len(possible)}")
        # What ours alone can give is what rare draws did not show.
        if given - possible or len(given) < 0.95 * len(possible):
            failures.append(name)
    return failures


def augmix_failures(v2: Any) -> list[str]:
    """Chains of one operation: each image of torchvision's must be a mix of the image and one of our operations on it.

    Compared is the middle, as torchvision moves tensors here, and treats the edges of what it moves otherwise.
    """

    def middle(picture: Image.Image) -> Tensor:
        return pil_to_tensor(picture)[:, 20:40, 30:60].float().flatten()

    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(6))
    image = to_pil_image(torch.nn.functional.interpolate(coarse, size=(60, 90), mode="bicubic")[0].clamp(0, 1))
    failures = []
    for severity, all_ops in ((3, True), (10, False)):
        space = policies.AUGMIX_ALL if all_ops else policies.AUGMIX
        possible = [
            operation
            for name in space
            for place in range(severity)
            for operation in variants(space, name, ours.AugMix.BINS, image, place)
        ]
        changes = torch.stack([middle(policies.apply_operation(image, one, BILINEAR)) for one in possible])
        changes -= middle(image)
        theirs = v2.AugMix(severity, mixture_width=1, chain_depth=1, all_ops=all_ops)
        torch.manual_seed(0)
        worst, seen = 0.0, set()
        for _ in range(200):
            change = middle(theirs(image)) - middle(image)
            shares = ((changes @ change) / changes.square().sum(1).clamp(min=1e-3)).clamp(0, 1)
            # A tenth may be off: levels that are just the threshold of Solarize.
            rest = (change - shares[:, None] * changes).abs().quantile(0.9, dim=1)
            worst = max(worst, float(rest.min()))
            seen.add(possible[int(rest.argmin())].name)
        print(f"AugMix {severity}: {len(seen)} of {len(space)} operations, {worst:.1f} levels beside the nearest mix")
        if worst > 2 or len(seen) < len(space) - 1:
            failures.append(f"AugMix {severity}")
    return failures


def mixing_failures(v2: Any) -> list[str]:
    """Batches mixed by torchvision, and by ours with the parameters that its results show."""
    failures = []
    images, classes = torch.rand(5, 3, 20, 30), torch.tensor([0, 1, 2, 3, 4])
    worst = 0.0
    for seed in range(40):
        torch.manual_seed(seed)
        mixed, soft = v2.MixUp(num_classes=5, alpha=0.4)(images, classes)
        found, targets = ours.MixUp(5, 0.4).apply(images, classes, float(soft[0, 0]))
        worst = max(worst, difference(found, mixed), difference(targets, soft))
    print(f"{worst:.1e}  mixup")
    failures += ["mixup"] if worst > 1e-6 else []
    worst = 0.0
    for seed in range(40):
        torch.manual_seed(seed)
        mixed, soft = v2.CutMix(num_classes=5)(images, classes)
        rows, columns = (mixed != images).any(0).any(0).nonzero(as_tuple=True)
        patch = mixing.Patch(0, 0, 0, 0)
        if len(rows):
            top, left = int(rows.min()), int(columns.min())
            patch = mixing.Patch(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)
        found, targets = ours.CutMix(5).apply(images, classes, patch)
        worst = max(worst, difference(found, mixed), difference(targets, soft))
    print(f"{worst:.1e}  cutmix")
    return failures + (["cutmix"] if worst > 1e-6 else [])


def kolmogorov_smirnov(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest distance of two distributions, in units in which more than 1.95 has a chance of 1 in 1000."""
    a, b = torch.tensor(sorted(first), dtype=torch.float64), torch.tensor(sorted(second), dtype=torch.float64)
    values = torch.cat((a, b))
    shares = [torch.searchsorted(one, values, right=True) / len(one) for one in (a, b)]
    return float((shares[0] - shares[1]).abs().max()) * math.sqrt(len(a) * len(b) / (len(a) + len(b)))


def drawn(
    v2: Any, tv: Any
) -> Iterator[tuple[str, Callable[[random.Random], Sequence[float]], Callable[[], Sequence[float]]]]:
    """Random transforms: numbers that show what ours drew, and what torchvision's did."""
    height, width = 90, 140
    image = Image.new("RGB", (width, height), (255, 255, 255))
    box = torch.tensor([[0.0, 0, width, height]])
    # The corners of a box that is the whole image tell the window, if a small object is there too.
    small = torch.tensor([[40.0, 30, 80, 60], [100, 10, 120, 70]])

    def sample(boxes: Tensor = box) -> Sample:
        return Sample(image, boxes=boxes, labels=torch.arange(len(boxes)))

    def theirs(transform: Any, boxes: Tensor = box) -> tuple[Any, Tensor]:
        target = tv.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
        changed, moved = transform(image, target)
        return changed, moved.as_subclass(Tensor)

    def numbers(changed: Any, moved: Tensor) -> list[float]:
        sizes = (moved[:, 2:] - moved[:, :2]).clamp(min=0)
        return [changed.width, changed.height, float(moved[0, 0]), float(moved[0, 1]), float(sizes[0].prod())]

    kinds: list[tuple[str, Any, Any]] = [
        # Of other sizes torchvision takes the height for the width and the other way round.
        ("ScaleJitter", ours.ScaleJitter(65), v2.ScaleJitter((65, 65))),
        ("RandomShortestSize", ours.RandomShortestSize((40, 50, 60), 80), v2.RandomShortestSize((40, 50, 60), 80)),
        ("RandomResize", ours.RandomResize(30, 59), v2.RandomResize(30, 60)),
        ("RandomZoomOut", ours.ZoomOut(), v2.RandomZoomOut()),
        ("RandomCrop, padded", ours.RandomCrop(150), v2.RandomCrop(150, pad_if_needed=True)),
        ("RandomCrop", ours.RandomCrop(60), v2.RandomCrop(60)),
    ]
    for name, our, their in kinds:

        def of_ours(rng: random.Random, our: Any = our) -> list[float]:
            found = our(sample(), rng)
            assert found.boxes is not None
            return numbers(found.image, found.boxes)

        def of_theirs(their: Any = their) -> list[float]:
            return numbers(*theirs(their))

        yield name, of_ours, of_theirs

    def our_iou(rng: random.Random) -> list[float]:
        found = ours.IoUCrop()(sample(small), rng)
        assert found.boxes is not None
        return [found.size[1], found.size[0], len(found.boxes)]

    def their_iou() -> list[float]:
        changed, moved = theirs(v2.RandomIoUCrop(), small)
        return [changed.width, changed.height, int(((moved[:, 2:] - moved[:, :2]) >= 1).all(1).sum())]

    yield "RandomIoUCrop", our_iou, their_iou

    # Levels that tell the place: red is x, green y. Their range in the crop tells the window.
    map_of_places = torch.stack([*torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")][::-1]).to(
        torch.uint8
    )
    places_image = to_pil_image(torch.cat((map_of_places, map_of_places[:1])))

    def extent(changed: Any) -> list[float]:
        (left, right), (top, bottom) = changed.getextrema()[:2]
        return [left, top, right - left, bottom - top]

    options: dict[str, Any] = {"scale": (0.1, 0.9), "ratio": (0.5, 2.0)}
    yield (
        "RandomResizedCrop",
        lambda rng: extent(
            ours.RandomResizedCrop(150, **options, interpolation="nearest")(Sample(places_image), rng).image
        ),
        lambda: extent(v2.RandomResizedCrop(150, **options, interpolation=v2.InterpolationMode.NEAREST)(places_image)),
    )

    blank = torch.ones(1, height, width)

    def erased(result: Any) -> list[float]:
        rows, columns = (result[0] == 0).nonzero(as_tuple=True)
        if not len(rows):
            return [0.0, 0.0, -1.0, -1.0]
        return [int(rows.max() - rows.min()), int(columns.max() - columns.min()), int(rows.min()), int(columns.min())]

    yield (
        "RandomErasing",
        lambda rng: erased(ours.RandomErasing(0.7)(Sample(blank), rng).image),
        lambda: erased(v2.RandomErasing(0.7)(blank)),
    )
    batch, classes = torch.ones(2, 1, 30, 40), torch.tensor([0, 1])
    yield (
        "MixUp",
        lambda rng: [float(ours.MixUp(2, 0.3)(batch, classes, rng)[1][0, 0])],
        lambda: [float(v2.MixUp(num_classes=2, alpha=0.3)(batch, classes)[1][0, 0])],
    )
    yield (
        "CutMix",
        lambda rng: [float(ours.CutMix(2, 0.8)(batch, classes, rng)[1][0, 0])],
        lambda: [float(v2.CutMix(num_classes=2, alpha=0.8)(batch, classes)[1][0, 0])],
    )


def distribution_failures(v2: Any, tv: Any, draws: int = 1500) -> list[str]:
    failures = []
    for name, of_ours, of_theirs in drawn(v2, tv):
        torch.manual_seed(0)
        rng = random.Random(0)
        found = list(zip(*(of_ours(rng) for _ in range(draws)), strict=True))
        expected = list(zip(*(of_theirs() for _ in range(draws)), strict=True))
        distances = [kolmogorov_smirnov(*both) for both in zip(found, expected, strict=True)]
        print(f"{name}: distance of distributions {', '.join(f'{distance:.2f}' for distance in distances)}", flush=True)
        if max(distances) > 2.3:  # 1 in 20,000
            failures.append(name)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write what torchvision gives for the tests")
    arguments = parser.parse_args()
    torchvision = oracle.torchvision()
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    failed, results = [], {}
    for case in cases().values():
        results[case.name] = as_tensor(case.theirs(v2, v2.functional, tv_tensors))
        found = difference(as_tensor(case.ours()), results[case.name])
        if found > case.allowed:
            print(f"{found:5.1f}  {case.name}")
            failed.append(case.name)
    print(f"{len(results)} changes with given parameters, of which {len(failed)} differ")
    if arguments.write:
        write(results, torchvision.__version__.partition("+")[0])
    failed += policy_failures(v2) + augmix_failures(v2) + mixing_failures(v2) + distribution_failures(v2, tv_tensors)
    if failed:
        raise SystemExit(f"{len(failed)} differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
