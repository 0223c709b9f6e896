"""What `zoo demo` shows models on: small files, whose rights are told beside them."""

import re
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[2] / "packages"
FOLDERS = sorted(path for name in ("samples", "photographs") for path in PACKAGES.glob(f"*/src/*/{name}"))
FREE = re.compile(r"\b(MIT licence|CC0|public domain)\b")


def test_there_are_some():
    assert {folder.parent.name for folder in FOLDERS} >= {"zoo_classification", "zoo_flow", "zoo_video"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_are_small_and_free(folder):
    files = [path for path in folder.iterdir() if path.name != "README.md"]
    assert files
    assert all(path.stat().st_size <= 150_000 for path in files)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert FREE.search(text)
    assert re.search(r"Written by `(tools/\w+\.py)`", text), "how they are made is told"
    # Photographs are somebody's each.
    if folder.name == "photographs":
        for path in files:
            assert re.search(rf"^- `{path.name}`: .*; (CC0|public domain)\.$", text, re.MULTILINE), path
