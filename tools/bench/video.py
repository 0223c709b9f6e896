"""Each video builder in eval mode on the CPU, alternately with torchvision's: time of a clip, and peak memory.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import gc

import torch
from torch import nn

from tools import oracle, reference_values
from tools.bench.measure import Comparison, compare, in_process, measure_models, table
from zoo_core import get_model_builder, list_models

# Peak resident memory while clips are classified, above that before.
_MEMORY = """
import json
import torch
from tools.bench.measure import resident
{imports}
torch.set_num_threads({threads})
with torch.inference_mode():
    model = build().eval()
    x = torch.rand{shape}
    before = resident()
    for _ in range(3):
        model(x)
print(json.dumps(resident(peak=True) - before))
"""
_OURS = "import zoo_video\nbuild = zoo_video.{name}"
_THEIRS = "from tools import oracle\nbuild = oracle.builder({name!r})"


def shape(name: str) -> tuple[int, ...]:
    """Of a clip: 16 frames of the size that the weights are for."""
    size = 112 if name in ("r3d_18", "mc3_18", "r2plus1d_18") else 224
    return 1, 3, 16, size, size


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Our model and torchvision's, with the same parameters."""
    with reference_values.no_random_init():
        ours = reference_values.fill_parameters(get_model_builder(name)())
        theirs = oracle.builder(name)().eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    return ours, theirs


def peak(imports: str, name: str) -> float:
    """Megabytes. Freed memory goes back to the system at once, so that only what is in use counts."""
    code = _MEMORY.format(imports=imports.format(name=name), shape=shape(name), threads=torch.get_num_threads())
    return in_process(code, MALLOC_MMAP_THRESHOLD_="1048576")


def timed(name: str) -> tuple[Comparison, float]:
    """Times of both, and the largest difference of their outputs relative to the largest output."""
    ours, theirs = pair(name)
    x = reference_values.image(1, *shape(name))
    expected = theirs(x)
    error = float((ours(x) - expected).abs().max() / expected.abs().max())
    return compare(lambda: ours(x), lambda: theirs(x), seconds=10.0, at_least=5), error


def measure(name: str) -> list[str]:
    """The row of one builder."""
    result, error = timed(name)
    gc.collect()
    memory = peak(_OURS, name), peak(_THEIRS, name)
    return [
        name,
        f"{1e3 * min(result.ours):.0f}",
        f"{1e3 * min(result.reference):.0f}",
        f"{result.ratio:.2f}",
        f"{result.median_ratio:.2f}",
        f"{error:.0e}",
        *(f"{amount:.0f}" for amount in memory),
        f"{memory[1] / memory[0]:.2f}",
    ]


def main() -> None:
    import zoo_video

    torch.set_grad_enabled(False)
    rows = measure_models(list_models(module=zoo_video), measure)
    table(
        f"Video, one clip, {torch.get_num_threads()} threads: milliseconds (fastest run), and MB of peak memory",
        ["model", "ours", "torchvision", "ratio", "of medians", "difference", "ours", "torchvision", "ratio"],
        rows,
    )


if __name__ == "__main__":
    main()
