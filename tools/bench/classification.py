"""Each classification builder in eval mode on the CPU, alternately with torchvision's.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import torch

from tools import counterparts, reference_values
from tools.bench.measure import compare, least_ratio, measure_models, table, with_counterpart


def measure(name: str) -> list[str]:
    """The row of one builder."""
    ours, theirs = counterparts.pair(name)
    size = 299 if name == "inception_v3" else 224
    x = reference_values.image(1, 1, 3, size, size)
    error = float((ours(x) - theirs(x)).abs().max() / theirs(x).abs().max())
    result = compare(lambda: ours(x), lambda: theirs(x), seconds=4.0, at_least=12)
    fastest = f"{1e3 * min(result.ours):.1f}", f"{1e3 * min(result.reference):.1f}"
    return [name, *fastest, f"{result.ratio:.2f}", f"{result.median_ratio:.2f}", f"{error:.0e}"]


def main() -> None:
    import zoo_classification

    torch.set_grad_enabled(False)
    rows = measure_models(with_counterpart(zoo_classification), measure)
    table(
        f"Classification, one image, {torch.get_num_threads()} threads: milliseconds (fastest run)",
        ["model", "ours", "torchvision", "ratio", "of medians", "difference"],
        rows,
    )
    least_ratio(rows, 3)


if __name__ == "__main__":
    main()
