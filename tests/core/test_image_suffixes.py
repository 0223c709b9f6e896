"""Which files of a folder are images: those that Pillow reads, in this build and with what is installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, features

from zoo_core.declarations import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Declaration
from zoo_core.images import image_suffixes, open_image
from zoo_core.predicting import Sources

from .cli.running import environment

FAKE_PLUGIN = """
from PIL import Image, ImageFile

class Heif(ImageFile.ImageFile):
    format = "HEIF"

    def _open(self):
        if self.fp.read(4) != b"heic":
            raise SyntaxError("not HEIF")
        self._size, self._mode = (4, 3), "RGB"

    def load(self):
        if self._im is None:
            self._im = Image.core.fill("RGB", self.size, (1, 2, 3))

def register_heif_opener():
    Image.register_open("HEIF", Heif, lambda prefix: prefix[:4] == b"heic")
    Image.register_extensions("HEIF", [".heic", ".heif"])
"""


def declared():
    return Declaration("toys", "toys.task:Task", "Looking", 1, IMAGE_SUFFIXES, 8, "x.png", None)


def test_what_pillow_reads_is_found(tmp_path, monkeypatch):
    """Each format that this build writes, under every ending that it has."""
    monkeypatch.chdir(tmp_path)
    Path("all").mkdir()
    Image.init()
    image = Image.new("RGB", (16, 16), (200, 100, 50))  # the least that older Pillows write as .ico
    for suffix in image_suffixes():
        name = Image.registered_extensions()[suffix]
        if name in Image.SAVE:
            mode = {"BLP": "P", "MSP": "1", "XBM": "1", "SPIDER": "F"}.get(name, "RGB")
            image.convert(mode).save(f"all/x{suffix}", name)
    found = [source.paths[0] for source in Sources(declared(), ["all"])]
    assert sorted(found) == sorted(Path("all").iterdir())
    assert {".jpg", ".jfif", ".png", ".tif", ".webp", ".tga", ".ppm", ".dds", ".mpo"} <= {path.suffix for path in found}
    for path in found:
        assert open_image(path).getbands() == ("R", "G", "B"), path


@pytest.mark.parametrize(("feature", "suffix"), [("avif", ".avif"), ("jpg_2000", ".jp2"), ("webp", ".webp")])
def test_what_a_build_lacks(monkeypatch, feature, suffix):
    image_suffixes.cache_clear()
    try:
        assert (suffix in image_suffixes()) is features.check(feature)
        image_suffixes.cache_clear()
        check = features.check
        monkeypatch.setattr(features, "check", lambda name: name != feature and check(name))
        assert suffix not in image_suffixes()
    finally:
        image_suffixes.cache_clear()


def test_what_is_never_taken_for_an_image():
    for suffix in (".eps", ".ps", ".pdf", ".wmf", ".h5", ".grib", ".txt", "", *VIDEO_SUFFIXES):
        assert suffix not in image_suffixes()
    assert image_suffixes() >= IMAGE_SUFFIXES


@pytest.mark.parametrize("installed", [True, False])
def test_heic_with_its_plugin(tmp_path, installed):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pillow_heif.py").write_text(FAKE_PLUGIN if installed else "raise ImportError")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.HEIC").write_bytes(b"heic" + bytes(20))
    (tmp_path / "photos" / "y.png").write_bytes(b"")
    code = """
from zoo_core.declarations import IMAGE_SUFFIXES, Declaration
from zoo_core.images import open_image
from zoo_core.predicting import Sources
stream = Sources(Declaration("t", "t:T", "T", 1, IMAGE_SUFFIXES, 8, "x", None), ["photos"])
for source in stream:
    print(source, open_image(source.paths[0]).getpixel((1, 1)) if source.paths[0].suffix == ".HEIC" else "")
print(stream.skipped)
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path / "site"),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    expected = ["photos/x.HEIC (1, 2, 3)", "photos/y.png ", ""] if installed else ["photos/y.png ", "1 file: 1 .heic"]
    assert process.stdout.splitlines() == expected
