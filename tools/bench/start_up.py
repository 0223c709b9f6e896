"""Imports, the `zoo` command, and models from a cached checkpoint: wall time and peak memory."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tools.bench.measure import in_process, table
from zoo_core import get_model_weights

# Peak resident memory above that after the imports, without what the interpreter freed in between.
_BUILD = """
import json, time
import torch, {package}
from tools.bench.measure import resident
from {package} import {builder} as build
before, started = resident(peak=True), time.perf_counter()
model = build({arguments})
seconds = time.perf_counter() - started
print(json.dumps([seconds, resident(peak=True) - before]))
"""
_ORACLE = "from tools import oracle; oracle.torchvision()\n"


def _wall(command: list[str], runs: int = 7) -> float:
    """Fastest wall time of a command in seconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def _import_seconds(code: str, runs: int = 7) -> float:
    """Fastest time in seconds of an import, above that of torch."""
    measured = "import json, time, torch; t = time.perf_counter()\n{}\nprint(json.dumps(time.perf_counter() - t))"
    return min(in_process(measured.format(code)) for _ in range(runs))


def _median_build(code: str, home: str, runs: int = 3) -> tuple[float, float]:
    results = [in_process(code, TORCH_HOME=home) for _ in range(runs)]
    return min(r[0] for r in results), statistics.median(r[1] for r in results)


def main() -> None:
    zoo = shutil.which("zoo")
    if zoo is None:
        raise SystemExit("the command `zoo` is not on PATH; run this as `nox -s bench -- start_up`")
    table(
        "Start-up, seconds",
        ["", "ours", "torchvision", "ratio"],
        [
            ["zoo list", f"{_wall([zoo, 'list']):.3f}", "-", "-"],
            _row(
                "import, above torch's",
                _import_seconds("import zoo_classification"),
                _import_seconds(f"{_ORACLE}"),
            ),
        ],
    )
    rows = []
    for name, arguments in (("resnet50", ""), ("vgg16", ""), ("vit_h_14", "image_size=518")):
        weights = get_model_weights(name)["DEFAULT"]
        with tempfile.TemporaryDirectory() as home:
            path = Path(home, "hub", "checkpoints", os.path.basename(weights.url))
            path.parent.mkdir(parents=True)
            extra = f", {arguments}" if arguments else ""
            in_process(
                f"import json, torch, zoo_classification\nmodel = zoo_classification.{name}({arguments})\n"
                f"torch.save(model.state_dict(), {str(path)!r})\nprint(json.dumps(0))"
            )
            size = path.stat().st_size / 2**20
            call = f"weights={str(weights)!r}"
            ours = _median_build(
                _BUILD.format(package="zoo_classification", builder=name, arguments=call + extra), home
            )
            theirs = _median_build(
                _ORACLE + _BUILD.format(package="torchvision.models", builder=name, arguments=call + extra), home
            )
        rows.append([*_row(f"{name} ({size:.0f} MiB)", ours[0], theirs[0])])
        rows.append([*_row("  peak memory / file size", ours[1] / size, theirs[1] / size)])
    table(
        "A model from a cached checkpoint: seconds, and peak memory above the imports",
        ["", "ours", "torchvision", "ratio"],
        rows,
    )


def _row(label: str, ours: float, theirs: float) -> list[str]:
    return [label, f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / max(ours, 1e-9):.1f}"]


if __name__ == "__main__":
    main()
