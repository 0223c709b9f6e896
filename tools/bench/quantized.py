"""Each int8 builder on the CPU: time and size against its float form, and time against torchvision's int8 model.

Set ZOO_BENCH_MODELS to shell patterns (comma-separated) for some of them only.
"""

import io
from typing import Any

import torch

from tools import oracle, reference_values
from tools.bench.measure import compare, least_ratio, measure_models, table, with_counterpart
from zoo_core import get_model_builder, get_model_weights
from zoo_quantized import quantize_model, select_engine


def mebibytes(state_dict: dict[str, Any]) -> float:
    """Size of the file that holds a state dict, in MiB."""
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    return buffer.tell() / 2**20


def measure(name: str) -> list[str]:
    """The row of one builder."""
    arguments = reference_values.arguments(name)
    backend = get_model_weights(name)["DEFAULT"].meta["backend"]
    size = 299 if name == "quantized_inception_v3" else 224
    x = reference_values.image(1, 1, 3, size, size)
    with reference_values.no_random_init():
        floating = reference_values.fill_parameters(get_model_builder(name)(**arguments))
    ours = quantize_model(floating, [x], backend=backend)
    theirs = oracle.builder(name)(quantize=True, **arguments)
    theirs.load_state_dict(ours.state_dict())
    # Building torchvision's has selected an engine of its own choice.
    select_engine(backend)
    error = float((ours(x) - theirs(x)).abs().max())
    against_float = compare(lambda: ours(x), lambda: floating(x), seconds=4.0, at_least=5)
    against_theirs = compare(lambda: ours(x), lambda: theirs(x), seconds=4.0, at_least=5)
    small, large = mebibytes(ours.state_dict()), mebibytes(floating.state_dict())
    return [
        name,
        backend,
        f"{1e3 * min(against_float.ours):.1f}",
        f"{1e3 * min(against_float.reference):.1f}",
        f"{against_float.ratio:.2f}",
        f"{1e3 * min(against_theirs.reference):.1f}",
        f"{against_theirs.ratio:.2f}",
        f"{against_theirs.median_ratio:.2f}",
        f"{error:.0e}",
        f"{small:.1f}",
        f"{large:.1f}",
        f"{small / large:.2f}",
    ]


def main() -> None:
    import zoo_quantized

    torch.set_grad_enabled(False)
    rows = measure_models(with_counterpart(zoo_quantized), measure)
    timing = ["model", "backend", "int8", "float", "ratio", "torchvision", "ratio", "of medians", "difference"]
    table(
        f"Int8 classification, one image, {torch.get_num_threads()} threads: milliseconds (fastest run), MiB",
        [*timing, "int8 MiB", "float MiB", "ratio"],
        rows,
    )
    least_ratio(rows, 6, "least ratio to torchvision's")


if __name__ == "__main__":
    main()
