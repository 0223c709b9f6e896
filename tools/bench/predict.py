"""`zoo predict` on a folder of JPEGs, alternately with the script that a user would write; start-up included.

The script is a DataLoader of torchvision's preset, and torchvision's model with the same parameters, in one process.
It runs with as many workers and threads as there are processors, and with fewer; the fastest of these is what counts.
Where another engine than torch is installed, `--engine auto` is timed as well, after a run that fills its cache.

ZOO_BENCH_IMAGES is the number of images (1000), ZOO_BENCH_MODELS shell patterns of the models, ZOO_BENCH_FOLDER a
folder in which the images stay for the next time.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tools import oracle
from tools.bench import photos
from tools.bench.measure import in_process, measure_models, table
from tools.distributions import ROOT
from zoo_core.processes import available_processors
from zoo_core.runtimes import installed

MODELS = ("resnet18", "mobilenet_v3_large")
TOPK = 5
ROUNDS = 3
_AUTO = "zoo predict --engine auto"

SCRIPT = """
import json, sys
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from tools import oracle

name, checkpoint, folder, output, workers, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torchvision = oracle.torchvision()
preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()


class Photos(Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            return preset(image.convert("RGB"))


model = oracle.builder(name)()
model.load_state_dict(torch.load(checkpoint))
model.eval()
paths = sorted(Path(folder).glob("*.jpg"))
results = []
with torch.inference_mode():
    for batch in DataLoader(Photos(paths), batch_size=8, num_workers=int(workers)):
        best = model(batch).softmax(1).topk(5)
        results += [list(zip(*pair)) for pair in zip(best.indices.tolist(), best.values.tolist())]
Path(output).write_text(json.dumps([[str(path), found] for path, found in zip(paths, results)]))
"""

# What the two parts of the work take by themselves, on one processor.
LIMITS = """
import json, sys, time
from pathlib import Path
import torch
from zoo_core.images import open_image
from zoo_core import get_model, get_model_weights
from zoo_core.inference import optimize_for_inference
torch.set_num_threads(1)
name, paths = {name!r}, sorted(Path({folder!r}).glob("*.jpg"))[::{step}]
preset = get_model_weights(name).DEFAULT.transforms()
started = time.perf_counter()
for path in paths:
    sample = preset(open_image(path))
reading = (time.perf_counter() - started) / len(paths)
model, batch = optimize_for_inference(get_model(name).eval()), torch.stack([sample] * 8)
with torch.inference_mode():
    model(batch)
    started = time.perf_counter()
    for _ in range(10):
        model(batch)
print(json.dumps([reading, (time.perf_counter() - started) / 80]))
"""


def _seconds(command: list[str], **environment: str) -> tuple[float, float]:
    """Seconds on the clock, and of processors, its workers' included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    completed = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    if completed.returncode:
        raise SystemExit(f"{' '.join(command)}\n{completed.stderr}")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _difference(ours: Path, theirs: Path) -> float:
    """The largest difference of two scores; checks that the labels are the same ones, where they do not tie."""
    expected: list[Any] = json.loads(theirs.read_text())
    with ours.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TOPK * len(expected), (len(rows), len(expected))
    largest = 0.0
    for number, (path, found) in enumerate(expected):
        mine = rows[TOPK * number : TOPK * (number + 1)]
        assert {row["file"] for row in mine} == {path}
        scores = [float(row["score"]) for row in mine]
        largest = max(largest, *(abs(score - other) for score, (_, other) in zip(scores, found, strict=True)))
        if found[0][1] - found[1][1] > 1e-4:
            assert mine[0]["label"] == f"class {found[0][0]}", (path, mine[0], found[0])
    return largest


def measure(name: str, folder: Path, count: int, work: Path) -> list[str]:
    """The row of one model."""
    torch.manual_seed(0)
    checkpoint = work / f"{name}.pth"
    torch.save(oracle.builder(name)().state_dict(), checkpoint)
    script = work / "script.py"
    script.write_text(SCRIPT)
    labels = work / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(1000)))
    processors = available_processors()
    theirs = {
        f"{workers} workers, {threads} threads": [
            *(sys.executable, str(script), name, str(checkpoint), str(folder)),
            *(str(work / "theirs.json"), str(workers), str(threads)),
        ]
        for workers, threads in ((processors, processors), (processors, 1), (0, processors))
    }
    ours = [
        *(sys.executable, "-m", "zoo_core", "predict", name, str(folder), "--checkpoint", str(checkpoint)),
        *("--labels", str(labels), "--workers", str(processors), "--topk", str(TOPK), "--format", "csv"),
    ]
    own = {"zoo predict": ours}
    home = {"TORCH_HOME": str(work / "torch")}
    if len(installed()) > 1:
        own[_AUTO] = [*ours, "--engine", "auto"]
        _seconds([*own[_AUTO], "--results", str(work / f"warm-{name}.csv")], **home)
    root = str(ROOT)
    times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in (*own, *theirs)}
    difference = 0.0
    for round_ in range(ROUNDS):
        written: list[Path] = []
        for variant in list(times)[:: 1 if round_ % 2 else -1]:
            if variant in own:
                results = work / f"{variant.replace(' ', '-')}-{name}-{round_}.csv"
                times[variant].append(_seconds([*own[variant], "--results", str(results)], **home))
                written.append(results)
            else:
                times[variant].append(_seconds(theirs[variant], PYTHONPATH=root))
        difference = max(difference, *(_difference(results, work / "theirs.json") for results in written))
        print(
            name,
            {variant: [tuple(round(value, 1) for value in pair) for pair in pairs] for variant, pairs in times.items()},
            flush=True,
        )
    fastest = {variant: min(pairs)[0] for variant, pairs in times.items()}
    cpu = {variant: min(pair[1] for pair in pairs) for variant, pairs in times.items()}
    best = min(theirs, key=lambda variant: fastest[variant])
    reading, model = in_process(LIMITS.format(name=name, folder=str(folder), step=max(1, count // 50)))
    return [
        name,
        f"{fastest['zoo predict']:.1f}",
        f"{fastest[best]:.1f}",
        best,
        f"{fastest[best] / fastest['zoo predict']:.2f}",
        f"{fastest[best] / fastest[_AUTO]:.2f}" if _AUTO in fastest else "-",
        f"{cpu['zoo predict']:.1f}",
        f"{min(cpu[variant] for variant in theirs):.1f}",
        f"{count * reading / processors:.1f}",
        f"{count * model / processors:.1f}",
        f"{difference:.0e}",
    ]


def main() -> None:
    count = int(os.environ.get("ZOO_BENCH_IMAGES", "1000"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("ZOO_BENCH_FOLDER", temporary), f"photos-{count}")
        photos.write(folder, count)
        rows = measure_models(MODELS, lambda name: measure(name, folder, count, Path(temporary)))
    table(
        f"zoo predict, {count} JPEGs of 500 to 4,000 pixels, {available_processors()} processors: seconds",
        [
            *("model", "ours", "script", "with", "ratio", "with auto", "our CPU", "least CPU of a script"),
            *("reading alone", "model alone", "difference"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
