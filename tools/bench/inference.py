"""Models as `optimize_for_inference` makes them, on the CPU, alternately with torchvision's as they are.

With OMP_NUM_THREADS=1, the process's own time is taken, which what else runs on the machine disturbs less.
Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from tools import counterparts, reference_values
from tools.bench.measure import Comparison, compare, measure_models, table
from zoo_core.inference import optimize_for_inference

# One of each family, the size that is used most.
MODELS = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "regnet_y_1_6gf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x1_0",
    "swin_t",
    "swin_v2_t",
    "vgg16_bn",
    "vit_b_16",
)
BATCHES = (1, 8)


def measure(name: str) -> list[str]:
    """The row of one builder: for each batch torchvision's time, and how many times faster we are."""
    ours, theirs = counterparts.pair(name)
    inputs = {size: reference_values.image(1, size, 3, 224, 224) for size in BATCHES}
    optimized = optimize_for_inference(ours)
    error = float((optimized(inputs[1]) - theirs(inputs[1])).abs().max() / theirs(inputs[1]).abs().max())
    in_float32 = {size: _compare(optimized, theirs, x) for size, x in inputs.items()}
    optimized = optimized.to(torch.bfloat16)
    in_bfloat16 = {size: _compare(lambda x: optimized(x.bfloat16()).float(), theirs, x) for size, x in inputs.items()}
    row = [name]
    for size in BATCHES:
        milliseconds = 1e3 * min(in_float32[size].reference)
        row += [f"{milliseconds:.1f}", f"{in_float32[size].ratio:.2f}", f"{in_bfloat16[size].ratio:.2f}"]
    return [*row, f"{error:.0e}"]


def _compare(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], x: Tensor) -> Comparison:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    return compare(lambda: ours(x), lambda: theirs(x), seconds=4.0, at_least=8, clock=clock)


def main() -> None:
    torch.set_grad_enabled(False)
    rows = measure_models(MODELS, measure)
    table(
        f"optimize_for_inference, batches of {BATCHES[0]} and of {BATCHES[1]}, {torch.get_num_threads()} threads: "
        "milliseconds of torchvision's, and ratios (fastest runs)",
        ["model", *(cell for size in BATCHES for cell in (f"{size}: ms", "float32", "bfloat16")), "difference"],
        rows,
    )


if __name__ == "__main__":
    main()
