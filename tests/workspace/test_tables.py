"""The tables of models in the READMEs are those of the catalogues, and these say what torchvision has."""

import json
import subprocess
import sys
from pathlib import Path

from tools import model_tables

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_up_to_date():
    completed = subprocess.run(
        [sys.executable, "-m", "tools.model_tables", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_the_models_that_torchvision_has_are_those_of_the_reference():
    """What a catalogue does not call the zoo's own is held to the reference, model by model."""
    theirs = json.loads((ROOT / "tests/assets/reference/catalog.json").read_text())
    models = {
        name: model
        for folder in sorted((ROOT / "packages").iterdir())
        for name, model in model_tables.models_of(folder).items()
    }
    assert {name for name, model in models.items() if model.torchvision} == theirs.keys()
    own = models.keys() - theirs.keys()
    assert {path.stem for path in (ROOT / "tests/assets/own").iterdir()} <= own
