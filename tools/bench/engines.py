"""Engines beside runtimes set up by hand on torchvision's models, and beside torchvision in eager mode, on the CPU.

All get the same parameters and inputs, and run in turn. Processor time counts, which other processes disturb least: of
each the run that took least. By hand is what a careful user does: the model exported for this one shape by
`torch.onnx.export`, the file in a session of ONNX Runtime, or compiled by OpenVINO for latency.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only, ZOO_BENCH_BATCHES for other batches than
1 and 8, and ZOO_BENCH_ALL=1 for every builder of images and videos instead of ten.
"""

import contextlib
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tools import oracle, reference_values, trained_like
from tools.bench.measure import measure_models, table
from tools.torchvision_operators import torchvision_operators
from zoo_core import catalog, get_model_builder, list_models
from zoo_core.engines import compile_for
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
SECONDS = 8.0
OURS = {
    "ORT": ("onnxruntime", "fp32"),
    "OV": ("openvino", "fp32"),
    "OV bf16": ("openvino", "bf16"),
}


def least_times(runs: Mapping[str, Callable[[], Any]], seconds: float = SECONDS) -> dict[str, float]:
    """Processor time in ms of the run of each that took least; all run in turn for about that long."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    started = time.perf_counter()
    while len(next(iter(times.values()))) < 3 or time.perf_counter() - started < seconds:
        for name, run in runs.items():
            begun = time.process_time()
            run()
            times[name].append(time.process_time() - begun)
    return {name: 1e3 * min(found) for name, found in times.items()}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Our model and torchvision's, with the same parameters."""
    task = catalog.models()[name].task
    plain = name.removeprefix("quantized_")
    arguments: dict[str, Any] = {"weights_backbone": None} if task == "segmentation" else {}
    arguments |= {"init_weights": True} if plain in ("googlenet", "inception_v3") else {}
    with reference_values.no_random_init():
        ours = reference_values.fill_parameters(get_model_builder(name)(**arguments)).eval()
        theirs = oracle.builder(name)(**arguments).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    return ours, theirs


def inputs(name: str, batch: int) -> Tensor:
    """What the weights were made for: 224 pixels, or the size and the frames that the family takes."""
    entry = catalog.models()[name]
    if entry.task == "segmentation":
        return reference_values.image(1, batch, 3, 520, 520)
    preset = dict(entry.checkpoint("DEFAULT").preset_arguments) if entry.checkpoints else {}
    sides = preset.get("crop_size", 224)
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


def measure(name: str, batches: Iterable[int]) -> list[list[str]]:
    """The rows of one model, one for each batch."""
    rows = []
    for batch in batches:
        ours, theirs = pair(name)
        x = inputs(name, batch)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            engines = {title: compile_for(ours, *way) for title, way in OURS.items()}
            expected = _Flat(theirs)(x)
            error = max(
                float((_flat(engines[title](x)) - expected).abs().max() / expected.abs().max())
                for title in ("ORT", "OV")
            )
            with torch.inference_mode(False), torch.no_grad():
                hand = by_hand(theirs, x.clone(), Path(folder))
            runs: dict[str, Callable[[], Any]] = {"torchvision": lambda theirs=theirs, x=x: theirs(x)}  # type: ignore[misc]
            runs |= {f"hand {title}": run for title, run in hand.items()}
            runs |= {title: _call(engine, x) for title, engine in engines.items()}
            found = least_times(runs)
        best = min(found["ORT"], found["OV"])
        best_by_hand = min(found["hand ORT"], found["hand OV"])
        row = [f"{name} {batch}", f"{found['torchvision']:.0f}"]
        row += [f"{found['torchvision'] / found[title]:.2f}" for title in OURS]
        row += [f"{best_by_hand / best:.2f}", f"{found['hand OV bf16'] / found['OV bf16']:.2f}", f"{error:.0e}"]
        print("  ".join(row), flush=True)
        rows.append(row)
    return rows


def _call(engine: Callable[..., Any], x: Any) -> Callable[[], Any]:
    return lambda: engine(x)


def _flat(found: Any) -> Tensor:
    tensor: Tensor = found["out"] if isinstance(found, dict) else found
    return tensor


def measure_detector(name: str) -> list[str]:
    """The row of one detector, end to end on an image of 480x640 pixels."""
    ours = trained_like.detector(name)
    with reference_values.no_random_init():
        theirs = oracle.builder(name)(weights=None, weights_backbone=None).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    picture = trained_like.image(1, 480, 640)
    expected = theirs([picture])[0]
    runs: dict[str, Callable[[], Any]] = {"torchvision": lambda: theirs([picture])}
    same = {}
    for title, way in OURS.items():
        engine = compile_for(ours, *way)
        found = engine([picture])[0]
        same[title] = f"{matched(expected, found)}/{len(expected['boxes'])}"
        change = largest_change([expected], [found])
        same[title] += f" {change.largest:.0e}"
        runs[title] = _call(engine, [picture])
    times = least_times(runs)
    row = [name, f"{times['torchvision']:.0f}"]
    return [*row, *(f"{times['torchvision'] / times[title]:.2f}" for title in OURS), *(same[title] for title in OURS)]


def matched(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> int:
    """How many detections have one of the same label at the same place, with nearly the same score."""
    from zoo_detection.ops import box_iou

    if not len(found["boxes"]):
        return 0
    near = box_iou(expected["boxes"].double(), found["boxes"].double()) > 0.95
    near &= expected["labels"][:, None] == found["labels"]
    near &= (expected["scores"][:, None] - found["scores"]).abs() < 0.02
    return int(near.any(dim=1).sum())


def main() -> None:
    torch.set_grad_enabled(False)
    torchvision_operators()  # before torchvision is imported without them
    names = list(MODELS)
    if os.environ.get("ZOO_BENCH_ALL"):
        tasks = ("classification", "segmentation", "video")
        names = [name for name in list_models() if catalog.models()[name].task in tasks]
    batches = [int(word) for word in os.environ.get("ZOO_BENCH_BATCHES", "1,8").split(",")]
    rows: list[list[str]] = []

    def each(name: str) -> list[str]:
        rows.extend(measure(name, batches))
        return [name]

    measure_models(names, each)
    header = ["model, batch", "torchvision ms", *OURS, "to the best by hand", "in bf16", "difference"]
    if rows:
        table(f"Times as fast as torchvision in eager mode, {torch.get_num_threads()} threads", header, rows)
    found = measure_models(DETECTORS, measure_detector)
    header = ["detector", "torchvision ms", *OURS, *(f"equal: {title}" for title in OURS)]
    if found:
        table("Detectors end to end, one image of 480x640: times as fast as torchvision in eager mode", header, found)


if __name__ == "__main__":
    main()
