"""``zoo demo``."""

import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from support import toy_package
from zoo_core import catalog, declarations

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


def test_samples_and_options_are_declared(toys, pictures, capsys):
    """Weights name their samples, and a task the options; of several with the same samples, one is shown."""
    paint(toys.root / "samples" / "dark-1.png", 20)
    paint(toys.root / "nights" / "night-1.png", 100)
    declaration = toys.root / "adapter.toml"
    declaration.write_text(declaration.read_text().replace("batch_size = 8", "batch_size = 8\ndemo = { shout = true }"))
    file = toys.root / "catalog" / "brightnet.toml"
    in_package = f'url = "package:toyzoo/checkpoints/{toys.embedded.name}"\nsamples = "package:toyzoo/nights"'
    file.write_text(re.sub(r'url = "(file|https):.*"', in_package, file.read_text()))
    catalog.clear_cache()
    declarations.clear_cache()
    zoo("demo", "--task", "toys", "--output", "shown")
    printed = capsys.readouterr().out
    assert "brightnet with HAND_V1: toys\n\ndark-1.png\n  DARK\n" in printed
    assert "brightnet with FILE_V1: toys\n\nnight-1.png\n  DARK\n" in printed
    assert "REMOTE_V1" not in printed
    written = [path.relative_to("shown/toys") for path in sorted(Path("shown/toys").rglob("*.png"))]
    assert written == [Path("brightnet/dark-1.png"), Path("brightnet-FILE_V1/night-1.png")]


def test_the_sheet_shows_some_of_many_images_and_the_page_all(toys, pictures):
    for number in range(12):
        paint(toys.root / "samples" / f"dark-{number:02}.png", 20)
    zoo("demo", "--task", "toys", "--output", "shown")
    assert len(list(Path("shown/toys/brightnet").iterdir())) == 12
    page = Path("shown/index.html").read_text()
    assert page.count("<img") == page.count("data:image/png;base64,") == 12
    assert not re.search(r"(src|href)=.(?!data:)", page), "the page has all in itself"
    with Image.open("shown/contact-sheet.png") as sheet:
        assert sheet.height < 900


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
            assert error.endswith(f"this works after a download of 3.0 MiB: zoo predict brightnet {example}\n")
        cache.mkdir(parents=True)
        shutil.copy(package.file, cache / package.remote)
        zoo("demo", expect=1)
        call = re.search(r"this works: zoo (predict .*)$", capsys.readouterr().err)
        assert call is not None
        zoo(*call[1].split())
    catalog._added_sources.pop()
    catalog.clear_cache()
