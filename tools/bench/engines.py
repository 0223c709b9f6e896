"""Engines beside runtimes set up by hand on torchvision's models, and beside torchvision in eager mode, on the CPU.

All get the same parameters and inputs, and run in turn. Processor time counts, which other processes disturb least; a
ratio is the median of those of the rounds. Threads of torch that wait for each other count as well, so on a machine
that does other work OMP_NUM_THREADS=1 says more. By hand is what a careful user does: the model exported for this one
shape by `torch.onnx.export`, the file in a session of ONNX Runtime, or compiled by OpenVINO for latency.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated; `resnet50*`, its rows have the batch behind the name) for some
of them only, ZOO_BENCH_BATCHES for other batches than 1 and 8, ZOO_BENCH_SECONDS for how long each row takes, and
ZOO_BENCH_ALL=1 for every builder that torchvision has, the smallest first, at batch 1 and without the runtimes by hand.
ZOO_BENCH_RESULTS names a file that rows are added to, one a line; rows that it has are not measured again, so that a
run may be interrupted.
"""

import contextlib
import copy
import io
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools import counterparts, oracle, reference_values, trained_like
from tools.bench.measure import measure_models, table
from tools.torchvision_operators import torchvision_operators
from zoo_core import catalog
from zoo_core.engines import EngineError, compile_for
from zoo_core.engines.changes import largest_change

MODELS = (
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "swin_t",
    "vit_b_16",
    "convnext_tiny",
    "deeplabv3_mobilenet_v3_large",
    "r3d_18",
)
DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
    "fcos_resnet50_fpn",
)
SECONDS = float(os.environ.get("ZOO_BENCH_SECONDS", "8"))
OURS = {
    "torch": ("torch", "fp32"),
    "ORT": ("onnxruntime", "fp32"),
    "OV": ("openvino", "fp32"),
    "OV bf16": ("openvino", "bf16"),
}
IN_FLOAT32 = tuple(title for title, (_, precision) in OURS.items() if precision == "fp32")


def compiled(model: nn.Module) -> dict[str, Callable[..., Any]]:
    """The model by each of our engines. Torch changes it, so that gets a copy."""
    return {
        title: compile_for(copy.deepcopy(model) if way[0] == "torch" else model, *way) for title, way in OURS.items()
    }


def rounds(runs: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Processor time in ms of each in each round; all run in turn for about `SECONDS`, three times at least."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    started = time.perf_counter()
    while len(next(iter(times.values()))) < 3 or time.perf_counter() - started < SECONDS:
        for name, run in runs.items():
            begun = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - begun))
    return times


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times as fast one is: the median of the rounds."""
    return statistics.median(one / other for one, other in zip(times[slow], times[fast], strict=True))


def fastest(times: Mapping[str, list[float]], names: Iterable[str]) -> str:
    return min(names, key=lambda name: statistics.median(times[name]))


def kept_rows(kind: str) -> dict[str, list[str]]:
    """The rows of that kind which the file of results has, by their first cell."""
    path = Path(os.environ.get("ZOO_BENCH_RESULTS", ""))
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [entry["row"] for entry in map(json.loads, lines) if entry["kind"] == kind]
    return {row[0]: row for row in rows}


def measured(kind: str, key: str, measure: Callable[[], list[str]]) -> list[str]:
    """A row, which is kept."""
    kept = kept_rows(kind).get(key)
    if kept is not None:
        return kept
    row = measure()
    if path := os.environ.get("ZOO_BENCH_RESULTS"):
        with open(path, "a") as file:
            print(json.dumps({"kind": kind, "row": row, "threads": torch.get_num_threads()}), file=file)
    return row


def inputs(name: str, batch: int, model: nn.Module | None = None) -> Tensor:
    """What the weights were made for: 224 pixels, or the size and the frames that the family or the model takes."""
    entry = catalog.models()[name]
    if entry.task == "segmentation":
        return reference_values.image(1, batch, 3, 520, 520)
    preset = dict(entry.checkpoint("DEFAULT").preset_arguments) if entry.checkpoints else {}
    sides = getattr(model, "image_size", preset.get("crop_size", 224))
    height, width = (sides, sides) if isinstance(sides, int) else sides
    if entry.task == "video":
        return reference_values.image(1, batch, 3, 16, height, width)
    return reference_values.image(1, batch, 3, height, width)


class _Flat(nn.Module):
    """The one tensor that is compared."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        found: Any = self.model(x)
        return found["out"] if isinstance(found, dict) else found


def by_hand(model: nn.Module, x: Tensor, folder: Path) -> dict[str, Callable[[], Any]]:
    """The runtimes as one sets them up without us."""
    import numpy as np
    import onnxruntime
    import openvino

    path = folder / "by_hand.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(_Flat(model).eval(), (x,), path, dynamo=True, verbose=False, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    values = np.ascontiguousarray(x.numpy())
    runs: dict[str, Callable[[], Any]] = {
        "ORT": lambda: session.run(None, {session.get_inputs()[0].name: values})  # as most examples do
    }
    for title, precision in (("OV", "f32"), ("OV bf16", "bf16")):
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        runs[title] = _run_of(compiled, values)
    return runs


def _run_of(compiled: Any, values: Any) -> Callable[[], Any]:
    return lambda: compiled([values])


def measure(name: str, batch: int) -> list[str]:
    """The row of one model and batch."""
    ours, theirs = counterparts.pair(name)
    x = inputs(name, batch, ours)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        engines = compiled(ours)
        expected = _Flat(theirs)(x)
        error = max(relative(_flat(engines[title](x)), expected) for title in IN_FLOAT32)
        with torch.inference_mode(False), torch.no_grad():
            hand = by_hand(theirs, x.clone(), Path(folder))
        runs: dict[str, Callable[[], Any]] = {"torchvision": lambda: theirs(x)}
        runs |= {f"hand {title}": run for title, run in hand.items()}
        runs |= {title: _call(engine, x) for title, engine in engines.items()}
        times = rounds(runs)
    best, best_by_hand = fastest(times, IN_FLOAT32), fastest(times, ("hand ORT", "hand OV"))
    row = [f"{name} {batch}", f"{statistics.median(times['torchvision']):.0f}"]
    row += [f"{ratio(times, 'torchvision', title):.2f}" for title in OURS]
    row += [f"{ratio(times, best_by_hand, best):.2f}", f"{ratio(times, 'hand OV bf16', 'OV bf16'):.2f}"]
    return [*row, f"{error:.0e}"]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def measure_best(name: str) -> list[str]:
    """The row of one model in the table of all: what the best engine reaches at batch 1."""
    task = catalog.models()[name].task
    if task in ("detection", "flow"):
        ours, theirs, given = _as_user(name, task)
    else:
        ours, theirs = counterparts.pair(name)
        given = (inputs(name, 1, ours),)
    with torch.inference_mode():
        engines = compiled(ours)
        runs: dict[str, Callable[[], Any]] = {"torchvision": lambda: theirs(*given)}
        refused = []
        for title, engine in engines.items():
            try:
                engine(*given)
            except EngineError:
                refused.append(title)
                continue
            runs[title] = _call(engine, *given)
        times = rounds(runs)
    cells = ["-" if title in refused else f"{ratio(times, 'torchvision', title):.2f}" for title in OURS]
    return [name, f"{statistics.median(times['torchvision']):.0f}", *cells]


def _as_user(name: str, task: str) -> tuple[nn.Module, nn.Module, tuple[Any, ...]]:
    """Our model and torchvision's, and inputs, of a detector or a model of flow."""
    if task == "detection":
        ours = trained_like.detector(name)
        with reference_values.no_random_init():
            theirs: nn.Module = oracle.builder(name)(weights=None, weights_backbone=None).eval()
        theirs.load_state_dict(ours.state_dict(), assign=True)
        return ours, theirs, ([trained_like.image(1, 480, 640)],)
    ours, theirs = counterparts.pair(name)
    return ours, theirs, tuple(reference_values.image(seed, 1, 3, 360, 520) * 2 - 1 for seed in (1, 2))


def _call(engine: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
    return lambda: engine(*inputs)


def _flat(found: Any) -> Tensor:
    tensor: Tensor = found["out"] if isinstance(found, dict) else found
    return tensor


def measure_detector(name: str) -> list[str]:
    """The row of one detector, end to end on an image of 480x640 pixels."""
    ours, theirs, (images,) = _as_user(name, "detection")
    expected = theirs(images)[0]
    runs: dict[str, Callable[[], Any]] = {"torchvision": lambda: theirs(images)}
    same = {}
    for title, engine in compiled(ours).items():
        found = engine(images)[0]
        same[title] = f"{matched(expected, found)}/{len(expected['boxes'])}"
        change = largest_change([expected], [found])
        same[title] += f" {change.largest:.0e}"
        runs[title] = _call(engine, images)
    times = rounds(runs)
    row = [name, f"{statistics.median(times['torchvision']):.0f}"]
    return [*row, *(f"{ratio(times, 'torchvision', title):.2f}" for title in OURS), *(same[title] for title in OURS)]


def matched(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> int:
    """How many detections have one of the same label at the same place, with nearly the same score."""
    from zoo_detection.ops import box_iou

    if not len(found["boxes"]):
        return 0
    wanted, boxes = expected["boxes"].double(), found["boxes"].double()
    near = box_iou(wanted, boxes) > 0.95
    # Flat boxes overlap nothing, not even themselves: they are to be at the same place, by a hundredth of a pixel.
    near |= torch.cdist(wanted, boxes, p=float("inf")) < 0.01
    near &= expected["labels"][:, None] == found["labels"]
    near &= (expected["scores"][:, None] - found["scores"]).abs() < 0.02
    return int(near.any(dim=1).sum())


def _parameters(name: str) -> int:
    entry = catalog.models()[name]
    return (entry.checkpoint("DEFAULT").num_params if entry.checkpoints else None) or 0


def main() -> None:
    torch.set_grad_enabled(False)
    torchvision_operators()  # before torchvision is imported without them
    threads = f"{torch.get_num_threads()} threads"
    if os.environ.get("ZOO_BENCH_ALL"):
        names = sorted((name for name, entry in catalog.models().items() if entry.torchvision), key=_parameters)
        found = measure_models(names, lambda name: measured("best", name, lambda: measure_best(name)))
        if found:
            header = ["model", "torchvision ms", *OURS]
            table(f"One input: times as fast as torchvision in eager mode, {threads}", header, found)
        return
    batches = [int(word) for word in os.environ.get("ZOO_BENCH_BATCHES", "1,8").split(",")]
    keys = {f"{name} {batch}": (name, batch) for name in MODELS for batch in batches}
    found = measure_models(keys, lambda key: measured("by hand", key, lambda: measure(*keys[key])))
    if found:
        header = ["model, batch", "torchvision ms", *OURS, "to the best by hand", "in bf16", "difference"]
        table(f"Times as fast as torchvision in eager mode, {threads}", header, found)
    found = measure_models(DETECTORS, lambda name: measured("detectors", name, lambda: measure_detector(name)))
    if found:
        header = ["detector", "torchvision ms", *OURS, *(f"equal: {title}" for title in OURS)]
        title = "Detectors end to end, one image of 480x640: times as fast as torchvision in eager mode"
        table(f"{title}, {threads}", header, found)


if __name__ == "__main__":
    main()
