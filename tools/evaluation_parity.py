"""Compares `zoo evaluate`, from reading to the score, with loops by hand over torchvision as a black box.

    python -m tools.evaluation_parity [TASK ...] [--count N]

200 images a task, made here; 30 for masks and keypoints, 60 pairs for flow and 20 videos, which take longer.
Parameters are seeded, and truths are drawn around what torchvision finds, so that every sample moves the figures.
"""

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tools import counterparts, described_checkpoints, oracle
from tools.torchvision_operators import torchvision_operators
from zoo_core import specs
from zoo_core.data import synset_ids
from zoo_core.engines import EagerEngine
from zoo_core.evaluating import Evaluation, evaluate, score_share
from zoo_core.images import write_jpeg
from zoo_core.tasks import task_class

COUNT = 200
# In percent, or in pixels of flow.
TOLERANCE = 1e-2
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: for the list.
        model: name of the model.
        count: how many samples.
        by_hand: makes the data set in a folder, and returns the figures of torchvision's model by our names.
        arguments: of the builder.
    """

    name: str
    model: str
    count: int
    by_hand: Callable[["Case", nn.Module, Path], Figures]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def images(folder: Path, count: int) -> Iterator[Path]:
    """JPEG files of soft and hard edges, of many sizes, the same each time."""
    generator = torch.Generator().manual_seed(0)
    rng = random.Random(0)
    folder.mkdir(parents=True)
    for number in range(count):
        height, width = rng.randint(180, 420), rng.randint(180, 420)
        rough = torch.rand(1, 3, rng.randint(3, 40), rng.randint(3, 40), generator=generator)
        image = F.interpolate(rough, size=(height, width), mode="bicubic")[0].clamp(0, 1)
        for _ in range(rng.randint(1, 6)):
            x, y = rng.randrange(width - 40), rng.randrange(height - 40)
            color = torch.rand(3, 1, 1, generator=generator)
            image[:, y : y + rng.randint(20, 160), x : x + rng.randint(20, 160)] = color
        path = folder / f"{number:06d}.jpg"
        write_jpeg((image * 255).byte(), str(path), quality=90)
        yield path


def weights(name: str) -> Any:
    """torchvision's default weights of a model, for their transforms."""
    return oracle.torchvision().models.get_model_weights(name).DEFAULT


def coco(module: str) -> Any:
    return importlib.import_module(f"pycocotools.{module}")


def opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def classification(case: Case, model: nn.Module, folder: Path) -> Figures:
    """Folders of ImageNet's classes, whose order by name is that of its labels. Truths are among the ten likeliest."""
    transform = weights(case.model).transforms()
    rng = random.Random(1)
    right = {1: 0, 5: 0}
    for path in images(folder / "made", case.count):
        order = model(transform(opened(path))[None])[0].argsort(descending=True)
        truth = int(order[rng.randrange(10)])
        for k in right:
            right[k] += truth in order[:k].tolist()
        placed = folder / "val" / sorted(synset_ids())[truth] / path.name
        placed.parent.mkdir(parents=True, exist_ok=True)
        path.rename(placed)
    (folder / "made").rmdir()
    return {f"acc@{k}": 100 * count / case.count for k, count in right.items()}


def segmentation(case: Case, model: nn.Module, folder: Path) -> Figures:
    """Pascal VOC's layout. Truths are what torchvision finds, but for some rectangles."""
    transform = weights(case.model).transforms()
    rng = random.Random(1)
    classes = 21
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    (folder / "SegmentationClass").mkdir(parents=True)
    names = []
    for path in images(folder / "JPEGImages", case.count):
        image = opened(path)
        scores = model(transform(image)[None])["out"]
        size = image.height, image.width
        found = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)[0].argmax(0)
        truth = found.clone()
        for _ in range(4):
            x, y = rng.randrange(image.width), rng.randrange(image.height)
            truth[y : y + 80, x : x + 80] = rng.choice([255, *range(classes)])
        counted = truth != 255
        matrix += torch.bincount(classes * truth[counted] + found[counted], minlength=classes**2).view_as(matrix)
        Image.fromarray(truth.byte().numpy(), "L").save(folder / "SegmentationClass" / f"{path.stem}.png")
        names.append(path.stem)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(names))
    hits = matrix.diagonal().double()
    union = matrix.sum(0) + matrix.sum(1) - hits
    return {
        "miou": 100 * float((hits / union)[union > 0].mean()),
        "pixel_acc": 100 * float(hits.sum() / matrix.sum()),
    }


def detection(kind: str) -> Callable[[Case, nn.Module, Path], Figures]:
    """COCO's layout. Truths are near some of what torchvision finds; pycocotools reads files.

    In double precision: of a thousand boxes of untrained parameters, some would be suppressed or not by rounding.
    """

    def by_hand(case: Case, model: nn.Module, folder: Path) -> Figures:
        rng = random.Random(1)
        transform, names = weights(case.model).transforms(), weights(case.model).meta["categories"]
        entries: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for number, path in enumerate(images(folder / "val2017", case.count), 1):
            image = opened(path)
            (found,) = model([transform(image).double()])
            entries.append({"id": number, "file_name": path.name, "width": image.width, "height": image.height})
            results += [_result(kind, number, found, place) for place in range(len(found["scores"]))]
            sizes = found["boxes"][:, 2:] - found["boxes"][:, :2]
            usable = [
                place
                for place, label in enumerate(found["labels"].tolist())
                if names[label] != "N/A" and float(sizes[place].min()) > 30
            ]
            for place in rng.sample(usable, min(4, len(usable))):
                objects.append(_object(kind, number, found, place, image, rng) | {"id": len(objects) + 1})
        numbers = sorted({entry["category_id"] for entry in objects})
        content = {
            "images": entries,
            "annotations": objects,
            "categories": [{"id": number, "name": names[number]} for number in numbers],
        }
        file = folder / "annotations" / f"{'person_keypoints' if kind == 'keypoints' else 'instances'}_val2017.json"
        file.parent.mkdir()
        file.write_text(json.dumps(content))
        (folder / "results.json").write_text(json.dumps(results))
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco("coco").COCO(str(file))
            evaluation = coco("cocoeval").COCOeval(truth, truth.loadRes(str(folder / "results.json")), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        prefix = {"bbox": "box", "segm": "mask", "keypoints": "kp"}[kind]
        figures = (
            ("map", "map_50", "map_75", "map_medium", "map_large", "mar")
            if kind == "keypoints"
            else (
                *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
                *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
            )
        )
        found_figures = zip(figures, evaluation.stats, strict=False)
        return {f"{prefix}_{name}": 100 * float(value) for name, value in found_figures if value > -1}

    return by_hand


def _result(kind: str, number: int, found: Mapping[str, Tensor], place: int) -> dict[str, Any]:
    score = float(found["scores"][place].float())  # as results have it: equal scores are ranked by image
    result = {"image_id": number, "category_id": int(found["labels"][place]), "score": score}
    x1, y1, x2, y2 = found["boxes"][place].tolist()
    if kind == "bbox":
        return result | {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    if kind == "segm":
        return result | {"segmentation": _run_lengths(found["masks"][place, 0] > 0.5)}
    points = [value for x, y, _ in found["keypoints"][place].tolist() for value in (x, y, 1)]
    return result | {"keypoints": points}


def _object(
    kind: str, number: int, found: Mapping[str, Tensor], place: int, image: Image.Image, rng: random.Random
) -> dict[str, Any]:
    """What is found, moved by some pixels; a few are crowds."""
    dx, dy = rng.randint(-12, 12), rng.randint(-12, 12)
    x1, y1, x2, y2 = found["boxes"][place].tolist()
    x1, x2 = (min(max(x + dx, 0), image.width) for x in (x1, x2))
    y1, y2 = (min(max(y + dy, 0), image.height) for y in (y1, y2))
    entry: dict[str, Any] = {
        "image_id": number,
        "category_id": int(found["labels"][place]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": 0.7 * (x2 - x1) * (y2 - y1),
        "iscrowd": int(rng.random() < 0.1),
    }
    if kind == "segm":
        entry["segmentation"] = _run_lengths(torch.roll(found["masks"][place, 0] > 0.4, (dy, dx), (0, 1)))
    if kind == "keypoints":
        points = [
            [x + rng.gauss(0, 4), y + rng.gauss(0, 4), rng.choice([0, 1, 2])]
            for x, y, _ in found["keypoints"][place].tolist()
        ]
        entry["keypoints"] = [value for point in points for value in point]
        entry["num_keypoints"] = sum(point[2] > 0 for point in points)
    return entry


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    import numpy as np

    encoded = coco("mask").encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def video(case: Case, model: nn.Module, folder: Path) -> Figures:
    """A CSV file. Clips are picked by hand among all frames: evenly spread, at 15 frames a second."""
    import av

    transform = weights(case.model).transforms()
    names = weights(case.model).meta["categories"]
    rng = random.Random(1)
    folder.mkdir()
    right = {1: 0, 5: 0}
    lines = []
    for number, still in enumerate(images(folder / "stills", case.count)):
        image = opened(still)
        path = folder / f"{number}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
            for frame_number in range(75 + number):
                left, top = frame_number % 40, frame_number % 30
                part = image.crop((left, top, left + 140, top + 140)).resize((176, 144))
                file.mux(stream.encode(av.VideoFrame.from_image(part)))
            file.mux(stream.encode())
        with av.open(str(path)) as file:
            decoded = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        length, step, clips = 16, 30 / 15, 5
        slack = len(decoded) - 1 - (length - 1) * step
        probabilities = torch.zeros(len(names))
        for clip in range(clips):
            begin = slack * clip / (clips - 1)
            chosen = [decoded[int(begin + place * step + 1e-6)].permute(2, 0, 1) for place in range(length)]
            probabilities += model(transform(torch.stack(chosen))[None])[0].softmax(0) / clips
        order = probabilities.argsort(descending=True)
        truth = int(order[rng.randrange(8)])
        for k in right:
            right[k] += truth in order[:k].tolist()
        lines.append(f"{path.name},{truth}")
    (folder / "val.csv").write_text("\n".join(lines))
    return {f"acc@{k}": 100 * count / case.count for k, count in right.items()}


def flow(case: Case, model: nn.Module, folder: Path) -> Figures:
    """Own pairs with `.flo` files. Truths are what torchvision finds, with noise, and unknown here and there."""
    import numpy as np

    transform = weights(case.model).transforms()
    rng = np.random.default_rng(1)
    paths = list(images(folder / "made", case.count + 1))
    for kind in ("frames", "flow"):
        (folder / kind).mkdir()
    errors, lengths, means = [], [], []
    for number, still in enumerate(paths):
        shift = 3 * number
        opened(still if number % 20 == 0 else paths[number - number % 20]).resize((260, 240)).crop(
            (shift % 60, shift % 47, shift % 60 + 180, shift % 47 + 150)
        ).save(folder / "frames" / f"{number:03d}.png")
    for number in range(case.count):
        pair = [opened(folder / "frames" / f"{place:03d}.png") for place in (number, number + 1)]
        height, width = pair[0].height, pair[0].width
        right, below = -width % 8, -height % 8
        padding = (right // 2, right - right // 2, below // 2, below - below // 2)
        first, second = (F.pad(image[None], padding, mode="replicate") for image in transform(*pair))
        found = model(first, second)[-1][0]
        found = found[:, padding[2] : padding[2] + height, padding[0] : padding[0] + width].numpy()
        truth = (found + rng.normal(0, 2 + number % 3, found.shape)).astype("<f4")
        truth[:, : number % 20, :60] = 2e9
        header = b"PIEH" + np.array([width, height], "<i4").tobytes()
        (folder / "flow" / f"{number:03d}.flo").write_bytes(header + truth.transpose(1, 2, 0).tobytes())
        known = np.abs(truth).max(0) < 1e9
        error = np.hypot(*(found - truth))[known]
        errors.append(error)
        lengths.append(np.hypot(*truth)[known])
        means.append(error.mean())
    error, length = np.concatenate(errors), np.concatenate(lengths)
    return {
        "epe": float(error.mean()),
        "per_image_epe": float(np.mean(means)),
        **{f"{limit}px": 100 * float((error < limit).mean()) for limit in (1, 3, 5)},
        "fl_all": 100 * float(((error > 3) & (error / length > 0.05)).mean()),
    }


# Fresh parameters are sure of nothing.
ANY = {"box_score_thresh": 0.0, "box_detections_per_img": 20}
SMALL = {"min_size": 200, "max_size": 280, **ANY}
CASES = {
    "classification": (Case("classification", "resnet18", COUNT, classification),),
    "segmentation": (Case("segmentation", "lraspp_mobilenet_v3_large", COUNT, segmentation),),
    "detection": (
        Case("detection, boxes", "fasterrcnn_mobilenet_v3_large_320_fpn", COUNT, detection("bbox"), ANY),
        Case("detection, masks", "maskrcnn_resnet50_fpn", 30, detection("segm"), SMALL),
        Case("detection, keypoints", "keypointrcnn_resnet50_fpn", 30, detection("keypoints"), SMALL),
    ),
    "video": (Case("video", "mc3_18", 20, video),),
    "flow": (Case("flow", "raft_small", 60, flow),),
}


@torch.inference_mode()
def compare(case: Case, folder: Path) -> tuple[Figures, Figures]:
    """Our figures and those by hand."""
    ours, theirs = counterparts.pair(case.model, **case.arguments)
    is_detector = case.name.startswith("detection")
    by_hand = case.by_hand(case, theirs.double() if is_detector else theirs, folder / "data")
    spec = dataclasses.replace(specs.find(case.model), weights=None, arguments=dict(case.arguments))
    described_checkpoints.save(folder / "model.pth", ours, spec)
    if is_detector:
        return _in_double(specs.find(folder / "model.pth"), folder / "data"), by_hand
    found = evaluate(folder / "model.pth", folder / "data", device="cpu")
    assert isinstance(found, Evaluation)
    assert found.samples == case.count, f"{found.samples} samples of {case.count}; {found.bad[:1]}"
    return found.metrics, by_hand


def _in_double(spec: specs.ModelSpec, folder: Path) -> Figures:
    """What :func:`evaluate` does, with a model in double precision."""

    class Engine(EagerEngine):
        def __call__(self, *inputs: Tensor | Sequence[Tensor]) -> Any:
            (images,) = inputs
            return super().__call__([image.double() for image in images])

    task = task_class(spec.task)(spec, scoring=True)
    samples = task.samples(folder)
    score, bad = score_share(task, Engine(specs.build(spec).double(), "cpu"), samples, range(len(samples)))
    assert not bad, bad[0]
    return score.compute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{', '.join(CASES)}; all by default")
    parser.add_argument("--count", type=int, help="at most so many samples a comparison")
    arguments = parser.parse_args()
    chosen = arguments.tasks or list(CASES)
    if unknown := [task for task in chosen if task not in CASES]:
        parser.error(f"there is no comparison of {', '.join(unknown)}; there are {', '.join(CASES)}")
    torchvision_operators()
    failed = []
    for case in (case for task in chosen for case in CASES[task]):
        if arguments.count is not None:
            case = dataclasses.replace(case, count=min(case.count, arguments.count))
        with tempfile.TemporaryDirectory() as folder:
            ours, by_hand = compare(case, Path(folder))
        print(f"\n{case.name}: {case.model}, {case.count} samples", flush=True)
        for name, value in by_hand.items():
            equal = name in ours and abs(ours[name] - value) <= TOLERANCE
            print(f"  {name:14s} {ours.get(name, float('nan')):10.5f} {value:10.5f}  {'equal' if equal else 'DIFFERS'}")
            if not equal:
                failed.append(f"{name} of {case.name}")
    if failed:
        raise SystemExit(f"{len(failed)} figures differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
