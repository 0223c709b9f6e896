"""RAFT in eval mode on the CPU: time and peak memory of both forms of the correlation, against torchvision's.

Small images alternate in this process; large ones run in a process each, which also tells their memory. Set
ZOO_BENCH_SIZES to `HEIGHTxWIDTH` (comma-separated) for other large sizes, ZOO_BENCH_MODELS for one of the models.
"""

import gc
import os

import torch

from tools import counterparts, reference_values
from tools.bench.measure import compare, in_process, table
from zoo_core import get_model_builder

MODELS = ("raft_small", "raft_large")
SMALL_SIZES = ((128, 160), (256, 320))
LARGE_SIZES = "440x1024,1088x1920"

# One run of a model in a fresh process: wall and CPU seconds (the latter are what a busy machine disturbs least), and
# peak resident memory in MiB, that of the imports included.
_RUN = """
import json, time
import torch
from tools.bench.measure import resident
torch.set_grad_enabled(False)
{build}
model.eval()
first, second = (torch.rand(1, 3, {height}, {width}) * 2 - 1 for _ in range(2))
started = time.perf_counter(), time.process_time()
flow = model(first, second{arguments})
seconds = time.perf_counter() - started[0], time.process_time() - started[1]
print(json.dumps([*seconds, resident(peak=True)]))
"""
_OURS = "import zoo_flow; model = zoo_flow.{name}(correlation={form!r})"
_THEIRS = "from tools import oracle; model = oracle.builder({name!r})()"


def small(name: str, height: int, width: int) -> list[str]:
    """The row of a model at a size that takes little memory."""
    ours, theirs = counterparts.pair(name)
    on_demand = get_model_builder(name)(correlation="on_demand").eval()
    on_demand.load_state_dict(ours.state_dict(), assign=True)
    images = [2 * reference_values.image(seed, 1, 3, height, width) - 1 for seed in (1, 2)]
    expected = theirs(*images)[-1]
    difference = float((ours(*images)[-1] - expected).abs().max() / expected.abs().max())
    runs = {
        "ours": compare(lambda: ours(*images), lambda: theirs(*images), seconds=6.0),
        "last only": compare(lambda: ours(*images, last_only=True), lambda: theirs(*images), seconds=6.0),
        "on demand": compare(lambda: on_demand(*images), lambda: theirs(*images), seconds=6.0),
    }
    milliseconds = [f"{1e3 * min(run.ours):.0f}" for run in runs.values()]
    milliseconds.append(f"{1e3 * min(runs['ours'].reference):.0f}")
    ratios = [f"{run.ratio:.2f}" for run in runs.values()]
    return [f"{name} {height}x{width}", *milliseconds, *ratios, f"{difference:.0e}"]


def large(name: str, height: int, width: int) -> list[list[str]]:
    """The rows of a model at a size where memory matters."""
    candidates = {
        "all pairs": (_OURS.format(name=name, form="all_pairs"), ""),
        "on demand": (_OURS.format(name=name, form="on_demand"), ""),
        "on demand, last only": (_OURS.format(name=name, form="on_demand"), ", last_only=True"),
        "torchvision": (_THEIRS.format(name=name), ""),
    }
    results = {}
    for label, (build, arguments) in candidates.items():
        code = _RUN.format(build=build, height=height, width=width, arguments=arguments)
        results[label] = in_process(code)
    _, cpu_seconds, memory = results["torchvision"]
    return [
        [
            f"{name} {height}x{width} {label}",
            f"{result[0]:.1f}",
            f"{result[1]:.1f}",
            f"{cpu_seconds / result[1]:.2f}",
            f"{result[2]:.0f}",
            f"{memory / result[2]:.2f}",
        ]
        for label, result in results.items()
    ]


def main() -> None:
    torch.set_grad_enabled(False)
    names = [name for name in MODELS if name in os.environ.get("ZOO_BENCH_MODELS", ",".join(MODELS)).split(",")]
    rows = [small(name, *size) for name in names for size in SMALL_SIZES]
    gc.collect()
    table(
        f"RAFT, one pair, 12 updates, {torch.get_num_threads()} threads: milliseconds (fastest run), and how much "
        "faster than torchvision that is",
        ["", "ours", "last only", "on demand", "torchvision", "ours", "last only", "on demand", "difference"],
        rows,
    )
    sizes = [tuple(map(int, size.split("x"))) for size in os.environ.get("ZOO_BENCH_SIZES", LARGE_SIZES).split(",")]
    rows = [row for name in names for height, width in sizes for row in large(name, height, width)]
    table(
        "RAFT, one pair, 12 updates, each in its own process: time and memory, also as ratios to torchvision",
        ["", "seconds", "CPU seconds", "ratio", "peak MiB", "ratio"],
        rows,
    )


if __name__ == "__main__":
    main()
