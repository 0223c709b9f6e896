"""Which engine is the fastest: each runs the same inputs in turn, a few times."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Choice", "trial"]

_SECONDS = 1.0
_LEAST, _MOST = 3, 50


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        engine: its name.
        milliseconds: the median of a run, by engine.
        failures: for each engine that does not run the model, why.
        remembered: whether an earlier trial has found this.
    """

    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    remembered: bool = False

    def __str__(self) -> str:
        times = [
            f"{name} {value:.1f} ms" for name, value in sorted(self.milliseconds.items(), key=lambda pair: pair[1])
        ]
        reasons = [f"{name} does not run it ({why})" for name, why in self.failures.items()]
        said = "; ".join(part for part in (", ".join(times), *reasons) if part)
        return f"{self.engine}{f': {said}' if said else ''}{' (measured before)' if self.remembered else ''}"


def trial(runs: Mapping[str, Callable[[], Any]], failures: Mapping[str, str], *, seconds: float = _SECONDS) -> Choice:
    """Measures engines in turn, and takes the one whose median is the least.

    Args:
        runs: what runs each engine once.
        failures: engines that do not run the model, with the reasons.
        seconds: about how long each is measured.
    """
    if len(runs) == 1:
        return Choice(next(iter(runs)), {}, failures)
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for run in runs.values():
            run()
        spent = 0.0
        while spent < seconds * len(runs) or len(next(iter(times.values()))) < _LEAST:
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
                spent += times[name][-1]
            if len(next(iter(times.values()))) >= _MOST:
                break
    medians = {name: 1e3 * statistics.median(found) for name, found in times.items()}
    return Choice(min(medians, key=lambda name: medians[name]), medians, failures)
