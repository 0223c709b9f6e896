"""Exports by the command, and what predict and evaluate make of the files, beside the model itself."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tools import described_checkpoints
from zoo_core import cli, specs

Run = Callable[..., Any]


def runner(capsys: Any) -> Run:
    """``run("predict", ...)`` runs the command with ``--json`` and returns what it wrote."""

    def run(*words: object, code: int = 0) -> Any:
        found = cli.main([*map(str, words), "--json"])
        captured = capsys.readouterr()
        assert found == code, captured.err
        return json.loads(captured.out) if captured.out else captured.err

    return run


def saved(folder: Path, name: str, model: torch.nn.Module, **fields: Any) -> Path:
    """A checkpoint that says what it is, as ``zoo train`` writes it."""
    spec = specs.ModelSpec(name, specs.find(name).task, **fields)
    return described_checkpoints.save(folder / f"{name}.pth", model, spec)


def check_equal(found: Any, expected: Any, tolerance: float = 1e-3) -> None:
    """Compares records: the same but for rounding, and for names of files."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - {"model", "weights", "file", "published", "data_set"}:
            check_equal(found[key], expected[key], tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other, tolerance)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance), (found, expected)
    else:
        assert found == expected


def check_file(
    run: Run,
    model: Sequence[object],
    file: Path,
    inputs: Sequence[object],
    data: Path | None = None,
    options: Sequence[object] = (),
    *,
    export: Sequence[object] = (),
    tolerance: float = 1e-3,
) -> Any:
    """Exports a model by the command, and compares what predict and evaluate give for both.

    Args:
        run: of :func:`runner`.
        model: words that name it: the model with its weights, or a checkpoint.
        file: where to.
        inputs: files to predict.
        data: a data set to evaluate on.
        options: of predict and evaluate.
        export: options of the export.
        tolerance: of figures.

    Returns:
        What ``zoo export --json`` wrote.
    """
    exported = run("export", *model, "--output", file, *export)
    assert exported["files"][0] == str(file)
    assert all(Path(name).is_file() for name in exported["files"])
    assert sorted(file.parent.iterdir()) == sorted(map(Path, exported["files"]))
    assert max(exported["differences"].values()) <= exported["tolerance"]
    name, *weights = model
    expected = run("predict", name, *inputs, *weights, *options)
    check_equal(run("predict", file, *inputs, *options), expected, tolerance)
    if data is not None:
        expected = run("evaluate", name, data, *weights, *options)
        check_equal(run("evaluate", file, data, *options), expected, 100 * tolerance)
    return exported
