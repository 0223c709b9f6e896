"""Images with results: what `zoo predict --output` takes more than without, and how large the files are.

Six JPEGs of about 12 megapixels; the ratios include the start of the program. Drawing and writing run in a thread
beside the model; the second table has the work on one image.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tools import described_checkpoints
from tools.bench import photos
from tools.bench.measure import table
from zoo_core import specs
from zoo_core.images import open_image
from zoo_core.predicting.saving import write_image
from zoo_core.tasks import Task, task_class
from zoo_detection.detections import Detections
from zoo_segmentation.task import Segmentation

_PHOTOS = 6
_OBJECTS = 20


def main() -> None:
    zoo = shutil.which("zoo")
    if zoo is None:
        raise SystemExit("the command `zoo` is not on PATH; run this as `nox -s bench -- saving`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = photos.write(folder / "photos", _PHOTOS, sides=(4000, 4000))
        rows = []
        for model in ("resnet18", "mobilenet_v3_large"):
            # What it finds does not matter.
            checkpoint = described_checkpoints.save_fresh(folder / f"{model}.pth", model)
            command = [zoo, "predict", str(checkpoint), str(folder / "photos")]
            out = folder / "out"
            without, with_images = _alternately(command, [*command, "--output", str(out)])
            written = [next(out.rglob(file.name)).stat().st_size / file.stat().st_size for file in files]
            sizes = [sum(f.stat().st_size for f in found) / 1e6 for found in (files, list(out.rglob("*.jpg")))]
            rows.append(
                [
                    *(model, f"{without:.2f}", f"{with_images:.2f}", f"{with_images / without:.2f}"),
                    *(f"{sizes[0]:.1f}", f"{sizes[1]:.1f}", f"{max(written):.2f}"),
                ]
            )
        table(
            f"`zoo predict` on {_PHOTOS} photos of 12 megapixels: seconds, MB, and the largest ratio to an input",
            ["", "without --output", "with", "ratio", "MB in", "MB out", "largest"],
            rows,
        )
        _one_image(files[0], folder)


def _alternately(*commands: list[str], runs: int = 5) -> list[float]:
    """Seconds of the fastest run of each command."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(runs):
        for command, taken in zip(commands, times, strict=True):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=os.environ | {"ZOO_OFFLINE": "1"})
            taken.append(time.perf_counter() - started)
    return [min(taken) for taken in times]


def _milliseconds(function: Callable[..., Any], *arguments: Any, runs: int = 5, **options: Any) -> str:
    """The fastest call of a function."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        function(*arguments, **options)
        times.append(time.perf_counter() - started)
    return f"{1000 * min(times):.0f}"


def _one_image(file: Path, folder: Path) -> None:
    image = open_image(file)
    reading = _milliseconds(open_image, file)
    rows = []
    for label, task, result in _results(image):
        drawn = task.draw(image, result)
        writing = _milliseconds(write_image, drawn, folder / "x.jpg", like=file)
        rows.append([label, reading, _milliseconds(task.draw, image, result), writing])
    table("One photo, milliseconds", ["", "reading it", "drawing", "writing"], rows)


def _results(image: Image.Image) -> list[tuple[str, Task[Any, Any], Any]]:
    """Results as models give them, made up, with a seed."""
    generator = torch.Generator().manual_seed(0)

    def of(name: str) -> Task[Any, Any]:
        spec = specs.find(name)
        return task_class(spec.task)(spec)

    classifier, detector, segmenter = of("resnet18"), of("maskrcnn_resnet50_fpn"), of("lraspp_mobilenet_v3_large")
    persons = of("keypointrcnn_resnet50_fpn")
    sides = torch.tensor([image.width, image.height, image.width, image.height])
    corners = torch.rand((_OBJECTS, 2), generator=generator) * 0.8
    extents = 0.05 + torch.rand((_OBJECTS, 2), generator=generator) * 0.25
    boxes = torch.cat((corners, (corners + extents).clamp(max=1)), 1) * sides
    found: dict[str, Any] = {
        "boxes": boxes,
        "classes": torch.randint(1, 5, (_OBJECTS,), generator=generator),
        "scores": torch.linspace(0.99, 0.5, _OBJECTS),
        "labels": detector.labels,
    }
    masks = torch.zeros((_OBJECTS, image.height, image.width), dtype=torch.bool)
    classes = torch.zeros((image.height, image.width), dtype=torch.uint8)
    for index, (x1, y1, x2, y2) in enumerate(boxes.long().tolist()):
        masks[index, y1:y2, x1:x2] = True
        classes[y1:y2, x1:x2] = index % 5
    points = boxes[:, None, :2] + torch.rand((_OBJECTS, 17, 2), generator=generator) * extents[:, None] * sides[:2]
    names = tuple(persons.spec.facts["keypoint_names"])
    scores = classifier.result(torch.randn(1000, generator=generator), image)
    return [
        ("labels", classifier, scores),
        (f"{_OBJECTS} boxes", detector, Detections(**found)),
        (f"{_OBJECTS} masks", detector, Detections(**found, masks=masks)),
        (
            f"{_OBJECTS} skeletons",
            persons,
            Detections(
                **found | {"labels": persons.labels, "classes": found["classes"].clamp(max=1)},
                keypoints=points,
                keypoint_scores=torch.ones(_OBJECTS, 17),
                keypoint_labels=names,
            ),
        ),
        ("classes of pixels", segmenter, Segmentation(classes, segmenter.labels)),
    ]


if __name__ == "__main__":
    main()
