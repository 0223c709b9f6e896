"""What it costs to write a video of what a detector sees, and the memory that long videos take.

A clip of 300 frames of 640x360 pixels goes through SSDlite, with and without ``--output``, in turn; beside them, the
decoding alone, and the drawing and the writing alone, are what there is to do at the same time. Then clips of 300 and
of 3,000 frames go through a model that takes next to no time, and the most memory of each is compared.
"""

import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from tools.bench.measure import compare, in_process, table
from zoo_core import predicting, specs
from zoo_core.engines import EagerEngine
from zoo_core.videos import VideoWriter, frames
from zoo_detection import ssdlite320_mobilenet_v3_large
from zoo_detection.task import ObjectDetectionTask

_SIZE = (640, 360)
_FRAMES = 300
_MODEL = "ssdlite320_mobilenet_v3_large"
_MEMORY = """
import json
from pathlib import Path
from tools.bench import annotated_videos as bench
from tools.bench.measure import resident
bench.look(bench.Five(), Path({short!r}), Path({out!r}))
before = resident(peak=True)
bench.look(bench.Five(), Path({path!r}), Path({out!r}))
print(json.dumps([before, resident(peak=True)]))
"""


class Five(nn.Module):
    """Finds five objects in every image; of a model that is given, it takes the time, and not the detections."""

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        if self.model is not None:
            self.model(images)
        left = torch.arange(5) * 110.0 + 20
        boxes = torch.stack([left, torch.full((5,), 90.0), left + 90, torch.full((5,), 250.0)], dim=1)
        found = {"boxes": boxes, "labels": torch.arange(1, 6), "scores": torch.linspace(0.95, 0.6, 5)}
        return [found for _ in images]


def write_clip(path: Path, count: int) -> Path:
    """Shapes that move over a picture with much detail."""
    ground = Image.effect_mandelbrot(_SIZE, (-2, -1.2, 0.6, 1.2), 60).convert("RGB")
    with VideoWriter(path, _SIZE, rate=Fraction(25)) as writer:
        for index in range(count):
            image = ground.copy()
            left = 7 * index % _SIZE[0]
            ImageDraw.Draw(image).ellipse((left, 100, left + 80, 180), fill=(220, 40, 40))
            writer.write(image, Fraction(index, 25))
    return path


def look(model: nn.Module, path: Path, output: Path | None = None) -> None:
    """What ``zoo predict`` does with a video, with ``--output`` or without."""
    task = ObjectDetectionTask(specs.find(_MODEL), {})
    sources, _ = predicting.find_sources(task.declaration, [str(path)])
    outcomes = predicting.run(task, EagerEngine(model.eval()), sources)
    if output is None:
        for outcome in outcomes:
            outcome.record()
        return
    with predicting.Saver(output) as saver:
        for outcome, _ in saver.follow(outcomes):
            outcome.record()


def _seconds(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_clip(folder / "clip.mp4", _FRAMES)
        model = Five(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))
        found = compare(lambda: look(model, clip), lambda: look(model, clip, folder / "out"), seconds=1)
        decoding = _seconds(lambda: sum(1 for _ in frames(clip)))
        writing = _seconds(lambda: look(Five(), clip, folder / "out")) - decoding
        rows = [
            ["without --output", f"{min(found.ours):.1f} s"],
            ["with --output", f"{min(found.reference):.1f} s"],
            ["times as long", f"{found.ratio:.2f}"],
            ["decoding alone", f"{decoding:.1f} s"],
            ["drawing and writing alone", f"{writing:.1f} s"],
        ]
        title = f"{_FRAMES} frames of {_SIZE[0]}x{_SIZE[1]} through SSDlite, {torch.get_num_threads()} threads"
        table(title, ["", ""], rows)
        long = write_clip(folder / "long.mp4", 10 * _FRAMES)
        before, after = in_process(_MEMORY.format(short=str(clip), path=str(long), out=str(folder / "out")))
        peaks = [["300 frames", f"{before:.0f}"], ["3,000 frames", f"{after:.0f}"]]
        table("Most memory, with --output", ["", "MiB"], peaks)
