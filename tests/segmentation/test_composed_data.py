"""Data sets that tools.compose writes, as segmentation reads them."""

import torch

from support import composed
from tools import fashion_mnist, train
from tools.compose.kinds import compose
from zoo_core.images import read_image
from zoo_core.training import prepare
from zoo_segmentation.data import open_segmentation_data


def test_it_is_read(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    for name in "ab":
        compose("segmentation", tmp_path / name, train=4, val=2, size=64, parts=parts)
    assert composed.files(tmp_path / "a") == composed.files(tmp_path / "b")
    labels = (tmp_path / "a" / "labels.txt").read_text().splitlines()
    assert labels == ["background", *fashion_mnist.CLASSES]
    classes = set()
    for split, count in (("train", 4), ("val", 2)):
        data = open_segmentation_data(tmp_path / "a", labels, split)
        assert len(data) == count
        for index in range(count):
            sample = data.sample(index)
            assert sample.truth.shape == (64, 64)
            assert read_image(sample.files[0]).shape == (3, 64, 64)
            classes |= set(torch.unique(sample.truth).tolist())
    assert 0 in classes
    assert len(classes) > 4
    assert max(classes) <= 10
    recipe = str(train.RECIPES / "scenes_segmentation.toml")
    job = prepare("lraspp_mobilenet_v3_large", tmp_path / "a", from_scratch=True, recipe=recipe, labels=labels)
    assert (len(job.samples), len(job.held_out)) == (4, 2)
