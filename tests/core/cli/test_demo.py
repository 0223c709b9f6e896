"""``zoo demo``."""

import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from support import toy_package
from zoo_core import catalog

from .running import paint, write_models, zoo


def test_demo(toys, pictures, capsys):
    paint(toys.root / "samples" / "bright-1.png", 250)
    paint(toys.root / "samples" / "dark-1.png", 20)
    zoo("demo", "--task", "toys", "--output", "shown")
    printed = capsys.readouterr().out
    assert "brightnet with HAND_V1: toys\n\nbright-1.png\n  bright\ndark-1.png\n  dark\n" in printed
    assert "shown/toys/brightnet" in printed
    assert sorted(p.name for p in Path("shown/toys/brightnet").iterdir()) == ["bright-1.png", "dark-1.png"]
    assert printed.endswith("All of them on one page: shown/index.html\n")
    assert sorted(p.name for p in Path("shown").iterdir()) == ["contact-sheet.png", "index.html", "toys"]
    page = Path("shown/index.html").read_text()
    assert page.count("<img") == 2
    assert "brightnet with HAND_V1" in page
    with Image.open("shown/contact-sheet.png") as sheet:
        assert sheet.width > 1000


def test_demo_without_samples(toys, pictures, capsys):
    zoo("demo", "--task", "toys", expect=1)
    error = capsys.readouterr().err
    assert "toyzoo ships no samples for brightnet" in error
    assert "there was nothing to show" in error


@pytest.mark.parametrize("example", ["photo.jpg", "scan.tif"])
def test_a_demo_without_weights_names_a_call_that_works(tmp_path, cache, pictures, capsys, monkeypatch, example):
    package = toy_package.write(tmp_path / "site")
    entry_points = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **asked: [e for e in entry_points(**asked) if "toyzoo" in e.value]
    )
    paint(pictures / "x.png", 255).rename(example)
    catalog_file = package.root / "catalog" / "brightnet.toml"
    catalog_file.write_text(catalog_file.read_text().replace('default = "HAND_V1"', 'default = "REMOTE_V1"'))
    if example != "photo.jpg":
        declaration = package.root / "adapter.toml"
        declaration.write_text(declaration.read_text().replace("photo.jpg", example))
    package.embedded.unlink()
    # Smaller, but the command line cannot show what it does.
    write_models(tmp_path / "c", "other", {"tiny": "file_size = 0.1"})
    with toy_package.installed(package.path):
        zoo("demo", "--task", "other", expect=1)
        assert "ships weights of the task other; `zoo info MODEL` tells" in capsys.readouterr().err
        for words in (["demo"], ["demo", "--task", "toys"]):
            zoo(*words, expect=1)
            error = capsys.readouterr().err
            assert error.endswith(f"this works after a download of 3.0 MB: zoo predict brightnet {example}\n")
        cache.mkdir(parents=True)
        shutil.copy(package.file, cache / package.remote)
        zoo("demo", expect=1)
        call = re.search(r"this works: zoo (predict .*)$", capsys.readouterr().err)
        assert call is not None
        zoo(*call[1].split())
    catalog._added_sources.pop()
    catalog.clear_cache()
