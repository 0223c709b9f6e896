"""Timing on a noisy machine: two things in turn, many times, and the ratio of their fastest runs."""

import fnmatch
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo_core import catalog, list_models


@dataclass(frozen=True)
class Comparison:
    """Seconds of our runs and of the reference's.

    The fastest run of each is the one that the machine disturbed least. ``ratio`` says how many times faster we are.
    """

    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float:
        return min(self.reference) / min(self.ours)

    @property
    def median_ratio(self) -> float:
        return statistics.median(self.reference) / statistics.median(self.ours)


def compare(
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    *,
    seconds: float = 2.0,
    at_least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Runs both alternately for about ``seconds`` in all, at least ``at_least`` times each, after a warm-up of each.

    What runs in one thread may be timed by ``time.process_time``, which other processes disturb less.
    """
    ours()
    reference()
    times: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    while len(times[0]) < at_least or time.perf_counter() - started < seconds:
        # The order changes, so that neither always runs in the other's wake.
        pair = ((0, ours), (1, reference))
        for index, function in pair if len(times[0]) % 2 else pair[::-1]:
            begun = clock()
            function()
            times[index].append(clock() - begun)
    return Comparison(*times)


def with_counterpart(package: ModuleType) -> list[str]:
    """The models of a package that torchvision has too."""
    return [name for name in list_models(module=package) if catalog.models()[name].torchvision]


def measure_models(names: Iterable[str], measure: Callable[[str], list[str]]) -> list[list[str]]:
    """The table's row of each model, printed as soon as it is there.

    ZOO_BENCH_MODELS may have shell patterns (comma-separated) of the names that are wanted.
    """
    patterns = os.environ.get("ZOO_BENCH_MODELS", "*").split(",")
    rows = []
    for name in names:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            rows.append(measure(name))
            print("  ".join(rows[-1]), flush=True)
            gc.collect()
    return rows


def resident(*, peak: bool = False) -> float:
    """Resident memory of this process in MiB: now, or the most there has been. Linux only.

    ``getrusage`` would not do: the peak that it tells includes that of the process that started this one.
    """
    key = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def in_process(code: str, **environment: str) -> Any:
    """Runs Python code in a fresh interpreter, and returns what it printed last, read as JSON."""
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    if completed.returncode:
        raise RuntimeError(f"the measured code failed:\n{completed.stderr}")
    return json.loads(completed.stdout.splitlines()[-1])


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Prints rows in aligned columns: the first to the left, the others to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    print(f"\n{title}")
    for first, *others in [header, *rows]:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def least_ratio(rows: list[list[str]], column: int, title: str = "least ratio") -> None:
    """Prints which row has the smallest figure in a column, if there are rows."""
    if rows:
        slowest = min(rows, key=lambda row: float(row[column]))
        print(f"\n{title}: {slowest[0]} {slowest[column]}")
