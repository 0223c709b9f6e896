"""`zoo evaluate` over JPEGs, against a loop that a user would write: torchvision's presets and model, and a DataLoader.

The loop gets the better of no and two worker processes. Both come to the same figures, which is checked. Then the
images a second that one and two processes of `zoo evaluate --nproc-per-node` reach, start-up left out, and those of the
parts of the work by themselves: reading and preparing, and the model.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some models only, ZOO_BENCH_COUNT for another number of
images.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tools import counterparts, described_checkpoints, oracle, reference_values
from tools.bench import photos
from tools.bench.measure import compare, measure_models, table
from zoo_core import specs
from zoo_core.data import synset_ids
from zoo_core.evaluating import Evaluation, check, evaluate, open_data
from zoo_core.inference import optimize_for_inference
from zoo_core.processes import available_processors

COUNT = int(os.environ.get("ZOO_BENCH_COUNT", "256"))
MODELS = ("resnet18", "resnet50", "mobilenet_v3_large")
BATCH = 8
# Those of ImageNet are 500 x 375 pixels, most of them.
SIDES = (400, 600)


class Files(Dataset[tuple[Tensor, int]]):
    """What a user writes: a file, its class, torchvision's preset."""

    def __init__(self, folder: Path, transform: Any) -> None:
        self.items = [(path, synset_ids().index(path.parent.name)) for path in sorted(folder.rglob("*.jpg"))]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, truth = self.items[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), truth


@torch.inference_mode()
def plain_loop(model: nn.Module, files: Files, workers: int) -> Mapping[str, float]:
    right = {1: 0, 5: 0}
    for images, truths in DataLoader(files, BATCH, num_workers=workers):
        order = model(images).topk(5).indices
        for k in right:
            right[k] += int((order[:, :k] == truths[:, None]).sum())
    return {f"acc@{k}": 100 * count / len(files) for k, count in right.items()}


def write(folder: Path) -> None:
    """A folder for each of ImageNet's classes, as many images in all as are wanted."""
    for number, path in enumerate(photos.write(folder / "made", COUNT, sides=SIDES)):
        placed = folder / "val" / synset_ids()[number * 7 % 1000] / path.name
        placed.parent.mkdir(parents=True, exist_ok=True)
        path.rename(placed)
    (folder / "made").rmdir()


def measure(name: str, folder: Path) -> list[str]:
    """The row of one model."""
    ours, theirs = counterparts.pair(name)
    spec = dataclasses.replace(specs.find(name), weights=None)
    described_checkpoints.save(folder / f"{name}.pth", ours, spec)
    files = Files(folder / "val", oracle.torchvision().models.get_model_weights(name).DEFAULT.transforms())

    def our_figures() -> Mapping[str, float]:
        found = evaluate(folder / f"{name}.pth", folder, device="cpu", batch_size=BATCH)
        assert isinstance(found, Evaluation)
        return found.metrics

    assert our_figures() == plain_loop(theirs, files, 0), "the figures differ"
    results = [compare(our_figures, partial(plain_loop, theirs, files, workers), seconds=1) for workers in (0, 2)]
    best = min(results, key=lambda result: min(result.reference))
    fastest = min(min(result.ours) for result in results)
    return [
        name,
        *(f"{COUNT / seconds:.1f}" for seconds in (fastest, *(min(result.reference) for result in results))),
        f"{min(best.reference) / fastest:.2f}",
    ]


def parts(name: str, folder: Path) -> list[str]:
    """Images a second of reading and preparing alone, with one thread and with all; and of the model alone."""
    spec = specs.find(folder / f"{name}.pth")
    task, samples, _ = open_data(spec, folder)
    rates = []
    for workers in (1, available_processors()):
        begun = time.perf_counter()
        for _ in check(task, samples, workers):
            pass
        rates.append(COUNT / (time.perf_counter() - begun))
    model = optimize_for_inference(specs.build(spec))
    batch = reference_values.image(1, BATCH, 3, 224, 224)
    with torch.inference_mode():
        rates.append(BATCH / min(compare(lambda: model(batch), lambda: None, seconds=2).ours))
    return [name, *(f"{rate:.1f}" for rate in rates)]


def rate_of_processes(name: str, folder: Path, processes: int) -> float:
    """Samples a second of the command, between its first image and its last: start-up is left out."""
    seconds = []
    for limit in (COUNT // 4, COUNT):
        words = ["evaluate", str(folder / f"{name}.pth"), str(folder), "--device", "cpu", "--batch-size", str(BATCH)]
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "zoo_core", *words, "--limit", str(limit), "--nproc-per-node", str(processes)],
            check=True,
            capture_output=True,
        )
        seconds.append(time.perf_counter() - begun)
    return (COUNT - COUNT // 4) / (seconds[1] - seconds[0])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        write(folder)
        rows = measure_models(MODELS, lambda name: measure(name, folder))
        table(
            f"{COUNT} JPEGs of {SIDES[0]} to {SIDES[1]} pixels, {torch.get_num_threads()} threads: images a second",
            ["model", "zoo evaluate", "loop, no workers", "loop, 2 workers", "ratio to the better"],
            rows,
        )
        table(
            "The parts of zoo evaluate: images a second",
            ["model", "reading, 1 thread", f"reading, {available_processors()} threads", "model"],
            [parts(row[0], folder) for row in rows],
        )
        processes = [[row[0], *(f"{rate_of_processes(row[0], folder, count):.1f}" for count in (1, 2))] for row in rows]
        table("Processes of zoo evaluate: images a second", ["model", "1", "2"], processes)


if __name__ == "__main__":
    main()
