"""How long every model takes for one input on this machine: what the catalogue page shows as latency.

    python -m tools.latencies --device cpu --threads 4 --output cpu.json [MODEL...]

Each model runs as `zoo predict` runs it, made fast by `optimize_for_inference`, in float32, on one input as the preset
of its weights prepares it: of a 640 x 480 image, of a clip of as many frames as the figures were measured with, or of
a pair of 960 x 520 images. The median of several runs, in milliseconds. Parameters are those of the tests: no
checkpoint is fetched. The file is written anew after each model; those that it has already are not measured again.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo_core
from tools import reference_values
from zoo_core import catalog
from zoo_core.inference import optimize_for_inference
from zoo_core.registry import get_model_weights

RUNS = 12
SECONDS = 3.0


def model_of(name: str, task: str) -> nn.Module:
    arguments: dict[str, Any] = {"quantize": True} if task == "quantized" else {}
    if task in ("detection", "segmentation"):
        arguments |= {"weights_backbone": None}
    if name.startswith("vit_"):  # one made for the size that its weights take
        arguments |= {"image_size": catalog.model(name).checkpoint().preset_arguments["crop_size"]}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"init_weights": False}
    if task == "quantized":  # its parameters are packed: those of a fresh model will do
        return zoo_core.get_model(name, weights=None, **arguments).eval()
    with reference_values.no_random_init():
        model = zoo_core.get_model(name, weights=None, **arguments)
    return reference_values.fill_parameters(model).eval()


def input_of(name: str, task: str, checkpoint: catalog.Checkpoint) -> tuple[Any, ...]:
    preset = get_model_weights(name).DEFAULT.transforms()  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    if task == "flow":
        return tuple(part[None] for part in preset(noise(3, 520, 960), noise(3, 520, 960)))
    if task == "video":
        return (preset(noise(checkpoint.clip_length or 16, 3, 480, 640))[None],)
    image = preset(noise(3, 480, 640))
    return ([image],) if task == "detection" else (image[None],)


def moved(value: Any, device: str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else type(value)(moved(part, device) for part in value)


@torch.inference_mode()
def milliseconds(name: str, device: str) -> float:
    entry = catalog.model(name)
    checkpoint = entry.checkpoint()
    model = optimize_for_inference(model_of(name, entry.task).to(device))
    inputs = moved(input_of(name, entry.task, checkpoint), device)
    finish: Callable[[], None] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for _ in range(2):
        model(*inputs)
    finish()
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < 3 or (len(found) < RUNS and time.perf_counter() - begun < SECONDS):
        before = time.perf_counter()
        model(*inputs)
        finish()
        found.append(time.perf_counter() - before)
    return 1e3 * statistics.median(found)


def machine(device: str, threads: int) -> str:
    """What it ran on, in words."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {threads} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    on_gpu = args.device.startswith("cuda")
    models = catalog.models()
    names = args.models or [name for name, entry in models.items() if not (on_gpu and entry.task == "quantized")]
    facts = {"machine": machine(args.device, args.threads), "torch": torch.__version__, "zoo": zoo_core.__version__}
    content: dict[str, Any] = (
        json.loads(args.output.read_text()) if args.output.exists() else facts | {"milliseconds": {}}
    )
    for name in names:
        if name in content["milliseconds"]:
            continue
        try:
            content["milliseconds"][name] = round(milliseconds(name, args.device), 3)
        except (RuntimeError, ValueError, TypeError) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {content['milliseconds'][name]} ms", flush=True)
        args.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
