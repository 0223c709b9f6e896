"""The tables of models in the READMEs are those of the catalogues."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tables_are_up_to_date():
    completed = subprocess.run(
        [sys.executable, "-m", "tools.model_tables", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
