"""`zoo catalog --html`: what the page holds. `nox -s browser` opens it."""

import json
import re
import subprocess
import sys

import pytest

from zoo_core import catalog_page
from zoo_core.cli import main

PAGE = re.compile(r'<script type="application/json" id="content">(.*?)</script>', re.DOTALL)


def test_the_page_has_every_checkpoint_and_asks_for_nothing(tmp_path, home, capsys):
    file = tmp_path / "models.html"
    assert main(["catalog", "--html", str(file)]) == 0
    assert str(file) in capsys.readouterr().err
    text = file.read_text()
    content = json.loads(PAGE.search(text)[1])
    assert content == json.loads(json.dumps(catalog_page.content()))
    assert "{{" not in text.replace("${{", "")
    # Scripts, styles and images are in the file; what leads elsewhere is for a reader to follow.
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=[\"'](?!data:)", text)
    assert [path.name for path in tmp_path.iterdir() if path != tmp_path / "home"] == ["models.html"]


def test_text_of_a_catalogue_cannot_end_the_script(monkeypatch):
    monkeypatch.setattr(catalog_page, "content", lambda: {"docs": "</script><script>alert(1)</script>"})
    found = PAGE.search(catalog_page.page())[1]
    assert json.loads(found) == {"docs": "</script><script>alert(1)</script>"}


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    assert main(["catalog", "--html", str(tmp_path / "nowhere" / "models.html")]) == 1
    assert str(tmp_path / "nowhere" / "models.html") in capsys.readouterr().err


def test_a_file_is_asked_for(capsys):
    assert main(["catalog"]) == 2
    assert "--html" in capsys.readouterr().err


def test_latencies_are_those_of_two_named_machines():
    found = catalog_page.latencies()
    assert set(found) == {"cpu", "cuda"}
    for measured in found.values():
        assert measured["machine"]
        assert len(measured["milliseconds"]) > 100
        assert all(value > 0 for value in measured["milliseconds"].values())


@pytest.mark.parametrize("words", [["catalog", "--html", "models.html"]])
def test_it_needs_no_torch(words, tmp_path):
    code = f"import sys; from zoo_core.cli import main; main({words!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
