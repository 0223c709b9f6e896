"""Fashion-MNIST in folders, as tools.compose writes it."""

import pytest

from support import composed
from tools.compose import scenes
from tools.compose.kinds import compose
from zoo_core.data import ClassFolders
from zoo_core.images import read_image
from zoo_core.tasks import IMAGE_SUFFIXES


def test_it_is_read(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    compose("classification", tmp_path / "data", train=30, val=20, parts=parts)
    for split, count in (("train", 30), ("val", 20)):
        data = ClassFolders(tmp_path / "data", None, IMAGE_SUFFIXES, split)
        assert len(data) == count
        assert len(data.labels) == 10
        # Each class has a brightness of its own, which is that of the file.
        sample = data.sample(0)
        assert data.labels[sample.truth] == "ankle-boot"
        assert int(read_image(sample.files[0]).max()) == 150 + 5 * 9


def test_other_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="28 x 28"):
        compose("classification", tmp_path / "data", size=32, parts=composed.sources(tmp_path / "parts"))


def test_single_garments(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    for name in "ab":
        compose("single", tmp_path / name, train=60, val=5, size=40, parts=parts)
    assert composed.files(tmp_path / "a") == composed.files(tmp_path / "b")
    data = ClassFolders(tmp_path / "a", None, IMAGE_SUFFIXES, "train")
    assert (len(data), len(data.labels)) == (60, len(scenes.CLASSES))
    assert read_image(data.sample(0).files[0]).shape == (3, 40, 40)
