"""The evaluation of a task over 101 samples: any number of processes, and an interruption, give the same figures."""

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from support.processes import in_processes
from zoo_core.evaluating import Evaluation, evaluate

COUNT = 101


class StoppedError(Exception):
    """An evaluation is stopped on purpose."""


def check(
    model: str | Path, data: Path, tmp_path: Path, *, stopped: bool = True, weights: str | None = None, **options: Any
) -> dict[str, float]:
    """Evaluates with 1, 2, 3 and 5 processes, and with one that is stopped and gone on with by two.

    Args:
        model, data, weights, options: of :func:`zoo_core.evaluating.evaluate`.
        tmp_path: for what is written.
        stopped: with the last of these.

    Returns:
        The figures.
    """
    arguments = {"weights": weights, "device": "cpu", "workers": 1, **options}
    torch.set_num_threads(1)
    expected = evaluate(model, data, **arguments)
    assert isinstance(expected, Evaluation)
    assert (expected.samples, expected.bad) == (COUNT, ())
    for count in (2, 3, 5):
        first, *others = in_processes(count, evaluate_here, model, data, arguments)
        assert others == [None] * (count - 1)
        assert first == expected, f"{count} processes"
    if not stopped:
        return dict(expected.metrics)

    file = tmp_path / "results.jsonl"

    def stop(done: int, *_: Any) -> None:
        if done == 37:
            raise StoppedError

    with contextlib.suppress(StoppedError):
        evaluate(model, data, **arguments, results=file, on_progress=stop)
    assert 37 <= len(file.read_text().splitlines()) < COUNT
    assert in_processes(2, evaluate_here, model, data, arguments | {"results": file, "resume": True})[0] == expected
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["sample"] for line in kept}) == len(kept) == COUNT
    return dict(expected.metrics)


def evaluate_here(model: str | Path, data: Path, arguments: dict[str, Any]) -> Evaluation | None:
    return evaluate(model, data, **arguments)
