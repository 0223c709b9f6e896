"""How fast a model is on this machine, in each engine.

``zoo bench`` is a thin face over this::

    from zoo_core.benchmarking import benchmark

    for found in benchmark("resnet50", batch_sizes=(1, 8)):
        print(found.engine, found.precision, found.batch_size, found.median)
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from zoo_core import specs
from zoo_core.engines import Engine, EngineError, device_name
from zoo_core.engines.changes import Change, largest_change
from zoo_core.engines.eager import choose_device
from zoo_core.engines.trials import in_turn
from zoo_core.predicting import load
from zoo_core.runtimes import check_engine, check_precision, installed
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Task, task_class

__all__ = ["Measurement", "benchmark"]

_LEAST = 5


@dataclass(frozen=True)
class Measurement:
    """How long one engine takes for one batch.

    Attributes:
        engine: what ran the model.
        precision: what it computed in.
        batch_size: how many inputs a run had.
        seconds: of each run; empty if the engine does not run the model.
        memory: what a process of its own takes at most, in bytes; ``None`` where the system does not tell.
        change: how far its outputs are from those of torch in float32.
        failure: why the engine does not run the model.
    """

    engine: str
    precision: str
    batch_size: int
    seconds: Sequence[float] = field(default=(), repr=False)
    memory: int | None = None
    change: Change | None = None
    failure: str | None = None

    @property
    def median(self) -> float:
        """Seconds of a run in the middle."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Seconds of the runs a tenth from the fastest and from the slowest."""
        ordered = sorted(self.seconds)
        tenth = len(ordered) // 10
        return ordered[tenth], ordered[-1 - tenth]


def benchmark(
    model: str | os.PathLike[str] | ModelSpec,
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] = ("fp32",),
    size: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    seconds: float = 2.0,
    memory: bool = True,
    tell: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Measures a model in each engine: all run the same batch in turn, again and again.

    Args:
        model: its name, the path of a checkpoint or of an exported file, or its spec; see :func:`zoo_core.specs.find`.
        weights, checkpoint: see there.
        batch_sizes: how many inputs a run has.
        engines: of :data:`~zoo_core.runtimes.ENGINES`; by default all that are installed.
        precisions: of :data:`~zoo_core.runtimes.PRECISIONS`. An engine is left out where it does not compute in one.
        size: of the inputs, as the task's example takes it: height and width, with the frames before them for clips.
        options: of the task, by key.
        device: where torch runs.
        seconds: about how long each engine is measured with each batch.
        memory: whether to measure memory, which takes a process of its own for each engine.
        tell: see :func:`zoo_core.engines.compile_for`.

    Returns:
        A measurement for each engine, precision and batch size.

    Raises:
        ValueError: there is no such engine or precision, or a number is out of range.
        zoo_core.extras.MissingExtraError: an engine is not installed.
        zoo_core.catalog.UnknownModelError, zoo_core.checkpoints.CheckpointError: the model cannot be had.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(f"batch sizes must be at least 1, not {', '.join(map(str, batch_sizes)) or 'none'}")
    if seconds <= 0:
        raise ValueError(f"seconds must be more than 0, not {seconds}")
    spec = specs.find(model, weights=weights, checkpoint=checkpoint)
    task = task_class(spec.task)(spec, options)
    ways = _ways(engines, precisions)
    found = []
    for batch_size in batch_sizes:
        for measured in _in_all_ways(task, batch_size, ways, size, device, seconds, tell):
            wants_memory = memory and measured.failure is None
            found.append(_with_memory(measured, spec, options, size, device) if wants_memory else measured)
    return found


def _ways(engines: Sequence[str] | None, precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Each engine with each precision that it has."""
    ways = []
    for precision in precisions:
        check_precision(precision)
        for engine in engines or installed():
            check_engine(engine, auto=False)
            try:
                check_precision(precision, engine)
            except ValueError:
                if engines is not None and len(engines) == 1 and len(precisions) == 1:
                    raise
                continue
            ways.append((engine, precision))
    return ways


def _in_all_ways(
    task: Task[Any, Any],
    batch_size: int,
    ways: Iterable[tuple[str, str]],
    size: Sequence[int] | None,
    device: str,
    seconds: float,
    tell: Callable[[str], None] | None,
) -> list[Measurement]:
    """Each engine and precision with one batch size; memory is not measured here."""
    given = task.example(size, batch_size).arguments
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    failures: dict[tuple[str, str], str] = {}
    outputs: dict[tuple[str, str], Any] = {}
    with torch.inference_mode():
        for way in ways:
            try:
                runs[way] = _run_of(_engine(task, *way, device, tell), given)
                outputs[way] = runs[way]()
            except EngineError as error:
                runs.pop(way, None)
                failures[way] = str(error.__cause__ or error)
        exact = outputs.get(("torch", "fp32"))
        times = in_turn(runs, seconds, least=_LEAST)
    return [
        Measurement(
            *way,
            batch_size,
            times.get(way, ()),
            None,
            None if exact is None or way not in outputs else largest_change(exact, outputs[way]),
            failures.get(way),
        )
        for way in [*runs, *failures]
    ]


def _engine(
    task: Task[Any, Any], engine: str, precision: str, device: str, tell: Callable[[str], None] | None
) -> Engine:
    place = choose_device(device_name(device, engine), task.declaration.devices)
    return load(task, place, engine=engine, precision=precision, tell=tell)


def _run_of(engine: Engine, given: Sequence[Any]) -> Callable[[], Any]:
    """Runs the engine, and waits for what a GPU has not done yet."""

    def run() -> Any:
        found = engine(*given)
        if engine.device.type != "cpu":
            torch.accelerator.synchronize()
        return found

    return run


def _with_memory(
    measured: Measurement,
    spec: ModelSpec,
    options: Mapping[str, Any] | None,
    size: Sequence[int] | None,
    device: str,
) -> Measurement:
    """The same with the most memory that a process with this engine alone has."""
    asked = {
        "spec": spec.as_dict(),
        "options": dict(options or {}),
        "size": None if size is None else list(size),
        "device": device,
        "engine": measured.engine,
        "precision": measured.precision,
        "batch_size": measured.batch_size,
        "threads": torch.get_num_threads(),
    }
    finished = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    words = finished.stdout.split()
    peak = int(words[-1]) if finished.returncode == 0 and words and words[-1].isdigit() else None
    return replace(measured, memory=peak or None)


def _main() -> None:
    """Runs a model twice, and prints the most bytes that this process has had; the process that measures starts it."""
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    spec = ModelSpec.from_dict(asked["spec"])
    task = task_class(spec.task)(spec, asked["options"])
    engine = _engine(task, asked["engine"], asked["precision"], asked["device"], None)
    given = task.example(asked["size"], asked["batch_size"]).arguments
    with torch.inference_mode():
        for _ in range(2):
            engine(*given)
    print(_peak())


def _peak() -> int:
    """The most bytes that this process has had, as the system tells; 0 where it does not."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    _main()
