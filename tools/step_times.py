"""How long a training step takes on this machine, without reading data: what the page on clusters computes from.

    python -m tools.step_times [MODEL...] [--device cuda] [--steps 20] [--json FILE]

Forward, loss, backward and SGD in mixed precision (bfloat16) with channels last, on random inputs that are on the
device already. Reading and augmentation come on top where the processors cannot keep pace.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo_core
from zoo_core import catalog

# Samples of a step that fit an accelerator of 80 GB, and the shape of one.
CLASSIFICATION = (256, (3, 224, 224))
DETECTION = (4, (3, 800, 1088))
MODELS = ["resnet50", "vit_b_16", "convnext_tiny", "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"]


def classification_step(model: nn.Module, batch: int, shape: tuple[int, ...], device: str) -> Callable[[], Tensor]:
    images = torch.randn(batch, *shape, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device=device)
    return lambda: F.cross_entropy(model(images), labels)


def detection_step(model: nn.Module, batch: int, shape: tuple[int, ...], device: str) -> Callable[[], Tensor]:
    """Seven objects an image, as COCO has."""
    channels, height, width = shape
    images = [torch.rand(channels, height, width, device=device) for _ in range(batch)]
    corners = torch.rand(batch, 7, 2, device=device) * torch.tensor([width - 200, height - 200], device=device)
    boxes = torch.cat((corners, corners + 40 + 150 * torch.rand(batch, 7, 2, device=device)), -1)
    labels = torch.randint(1, 91, (batch, 7), device=device)
    masks = torch.zeros(batch, 7, height, width, dtype=torch.uint8, device=device)
    masks[..., 100:300, 100:300] = 1
    targets = [{"boxes": boxes[i], "labels": labels[i], "masks": masks[i]} for i in range(batch)]
    return lambda: torch.stack(list(model(images, targets).values())).sum()


def measure(name: str, device: str, steps: int, batch: int | None) -> dict[str, Any]:
    """Seconds of a step (the median), samples a second, peak memory, bytes of the gradients that processes exchange."""
    classifies = catalog.model(name).task == "classification"
    usual, shape = CLASSIFICATION if classifies else DETECTION
    batch = batch or usual
    arguments = {} if classifies else {"weights_backbone": None}
    model = zoo_core.get_model(name, weights=None, **arguments).to(device).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss_of = (classification_step if classifies else detection_step)(model, batch, shape, device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, fused=True)
    kind = torch.device(device).type
    finish: Callable[[], None] = torch.cuda.synchronize if kind == "cuda" else lambda: None
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(kind, torch.bfloat16):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        finish()

    for _ in range(min(5, steps)):
        step()
    seconds = []
    for _ in range(steps):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    return {
        "model": name,
        "device": torch.cuda.get_device_name() if kind == "cuda" else "cpu",
        "batch_size": batch,
        "shape": list(shape),
        "step_seconds": round(median, 5),
        "samples_per_second": round(batch / median, 1),
        "gradient_bytes": sum(4 * parameter.numel() for parameter in trained),
        "peak_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20) if kind == "cuda" else None,
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = []
    for name in args.models or MODELS:
        found.append(measure(name, args.device, args.steps, args.batch_size))
        print(json.dumps(found[-1]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
