"""Which engine is the fastest: each runs the same inputs in turn, a few times."""

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

__all__ = ["Choice", "in_turn", "trial"]

_SECONDS = 1.0
_LEAST, _MOST = 3, 50

Name = TypeVar("Name", bound=Hashable)


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
    with torch.inference_mode():
        for run in runs.values():
            run()
        times = in_turn(runs, seconds, least=_LEAST, most=_MOST)
    medians = {name: 1e3 * statistics.median(found) for name, found in times.items()}
    return Choice(min(medians, key=lambda name: medians[name]), medians, failures)


def in_turn(
    runs: Mapping[Name, Callable[[], Any]], seconds: float, *, least: int, most: float = math.inf
) -> dict[Name, list[float]]:
    """Runs each of several things once, again and again, so that what else the machine does hits each alike.

    Args:
        runs: by name.
        seconds: about how long each runs in all.
        least, most: how often each runs at least and at most.

    Returns:
        The seconds of each run, by name.
    """
    times: dict[Name, list[float]] = {name: [] for name in runs}
    spent, rounds = 0.0, 0
    while runs and rounds < most and (spent < seconds * len(runs) or rounds < least):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
            spent += times[name][-1]
        rounds += 1
    return times
