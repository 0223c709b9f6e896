"""What holds of weights that ship in a package, whatever their task."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from support import reference
from zoo_core.checkpoints import locate
from zoo_core.weights import WeightsEnum

# Of composed scenes.
GARMENTS = ("top", "trouser", "dress", "sandal", "sneaker", "bag", "ankle boot")


def check_file(weights: WeightsEnum, package: str) -> None:
    """The file lies in the package, is small, and as large as the catalogue says."""
    path = locate(weights.url)
    assert path.parent == resources.files(package) / "checkpoints"
    assert path.stat().st_size < 8 * 2**20
    assert weights.meta["_file_size"] == pytest.approx(path.stat().st_size / 2**20, abs=1e-3)


def predicted(model: str, samples: Path, folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    """What `zoo predict` finds offline with the garments' weights: the record of each sample, by its name."""
    words = ["predict", model, str(samples), "--weights", "GARMENTS_V1", *options]
    done = subprocess.run(
        [sys.executable, "-m", "zoo_core", *words, "--json"],
        cwd=folder,
        env=os.environ | {"ZOO_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {Path(entry["file"]).name: entry for entry in json.loads(done.stdout)["results"]}


def check_garments_and_a_new_head(builder: Callable[..., nn.Module], weights: WeightsEnum, head: str) -> None:
    """The weights know the garments, fit their model, and all but the head fits one with other classes."""
    assert weights.meta["categories"] == ["__background__", *GARMENTS]
    model = builder(weights=weights)
    assert sum(parameter.numel() for parameter in model.parameters()) == weights.meta["num_params"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    state = model.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    assert list(state) == [key for key, *_ in reference.manifest(builder.__name__)]
    with pytest.raises(ValueError, match=r"num_classes=8, not 5.*new_head=True"):
        builder(weights=weights, num_classes=5)
    with pytest.warns(UserWarning, match="5 classes"):
        new = builder(weights=weights, num_classes=5, new_head=True)
    for key, value in new.state_dict().items():
        assert key.startswith(head) or torch.equal(value, state[key]), key
