"""Data sets that tools.compose writes: scenes of garments, and the layout that detection reads."""

import json
import random

import pytest
import torch

from support import composed
from tools import fashion_mnist, train
from tools.compose import garments, grounds, scenes
from tools.compose.kinds import compose
from zoo_core import specs
from zoo_core.data.coco import decode_mask
from zoo_core.images import pil_to_tensor
from zoo_core.training import prepare
from zoo_detection.data import open_detection_data


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return composed.sources(tmp_path_factory.mktemp("parts") / "all")


def test_same_seed_same_files(parts, tmp_path):
    """However many processes write them."""
    for name, seed, processes in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        compose("detection", tmp_path / name, seed=seed, train=3, val=2, size=64, processes=processes, parts=parts)
    one, two, other = (composed.files(tmp_path / name) for name in "abc")
    assert one == two
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)
    assert one["train/00000.jpg"] != one["train/00001.jpg"]
    assert one["train/00000.jpg"] != one["val/00000.jpg"]


def test_it_is_read(parts, tmp_path):
    compose("detection", tmp_path, train=6, val=3, size=96, parts=parts)
    labels = ("__background__", *scenes.CLASSES)
    for split, count in (("train", 6), ("val", 3)):
        data = open_detection_data(tmp_path, labels, split)
        assert len(data) == count
        for index in range(count):
            truth = data.sample(index).truth
            masks = torch.stack([decode_mask(entry, (96, 96)) for entry in truth["segmentations"]])
            assert masks.sum(0).max() <= 1, "each pixel is of one object"
            for mask, (left, top, right, bottom) in zip(masks, truth["boxes"].int().tolist(), strict=True):
                assert mask[top:bottom, left:right].sum() == mask.sum() > 0
                inner = mask[top:bottom, left:right]
                assert inner[0].any()
                assert inner[-1].any()
                assert inner[:, 0].any()
                assert inner[:, -1].any()
    entries = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())["annotations"]
    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry["area"] == sum(entry["segmentation"]["counts"][1::2]) for entry in entries)
    recipe = str(train.RECIPES / "scenes_detection.toml")
    job = prepare("ssdlite320_mobilenet_v3_large", tmp_path, from_scratch=True, recipe=recipe)
    assert (len(job.samples), len(job.held_out)) == (6, 3)
    assert set(job.spec.labels[1:]) == set(scenes.CLASSES)
    assert specs.find("ssdlite320_mobilenet_v3_large").task == job.spec.task


def test_scenes(parts):
    """Objects of all classes and sizes, some in front of others, each seen by half or more."""
    found = [scenes.compose(parts, "train", 96, random.Random(number)) for number in range(40)]
    assert {label for scene in found for label in scene.labels} == set(range(len(scenes.CLASSES)))
    counts = [len(scene.labels) for scene in found]
    assert min(counts) >= 1
    assert max(counts) <= 6
    shares = torch.cat([scene.masks.flatten(1).float().mean(1) for scene in found])
    assert shares.min() < 0.02
    assert shares.max() > 0.15
    assert all(scene.image.size == (96, 96) for scene in found)
    # What is seen of an object is in its mask: the ground has the colour of the only photograph, or is procedural.
    assert any(scene.masks.any(0).float().mean() < 0.5 for scene in found)


def test_classes_of_scenes_are_all_garments():
    assert sorted(name for names in scenes.CLASSES.values() for name in names) == sorted(fashion_mnist.CLASSES)


def test_what_is_held_out_stays_so(parts):
    for split, channel in (("train", 0), ("val", 2)):
        plain = []
        for number in range(30):
            image = grounds.ground(parts, split, (8, 8), random.Random(number))
            levels = pil_to_tensor(image).float().flatten(1)
            if levels.std(1).max() < 1:  # else it is procedural
                plain.append(int(levels.mean(1).argmax()))
        assert len(plain) > 10
        assert set(plain) == {channel}


def test_garments_are_cut_out(parts):
    """A rectangle stays one; what surrounds it is transparent."""
    wardrobe = garments.wardrobe(parts.fashion_mnist, "train")
    for label in (0, 9):
        garment = wardrobe.draw(random.Random(0), label)
        assert garment.label == label
        alpha = pil_to_tensor(garments.dressed(garment, 112, garments.PLAIN, random.Random(1)))[3]
        width = 4 * (10 + 2 * (label // 2))
        covered = alpha >= 128
        assert covered.any(0).sum() == pytest.approx(width, abs=2)
        assert covered.any(1).sum() == pytest.approx(80, abs=2)
        assert ((alpha == 0) | (alpha == 255)).float().mean() > 0.9, "a crisp edge"


def test_a_print_is_no_hole_but_a_handle_encloses_one(parts):
    image = pil_to_tensor(garments.wardrobe(parts.fashion_mnist, "train").draw(random.Random(0), 0).image)
    image[:, 10:14, 12:16] = 0
    for name, holds in (("shirt", 255), ("bag", 0)):
        shape = garments._shape(garments.to_pil_image(image), name)
        assert shape.getpixel((13, 11)) == holds
        assert shape.getpixel((0, 0)) == 0


def test_a_folder_with_something_in_it_is_left_alone(parts, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="give a new folder"):
        compose("detection", tmp_path, train=1, val=1, size=64, parts=parts)
    assert composed.files(tmp_path) == {"mine.txt": b"mine"}
