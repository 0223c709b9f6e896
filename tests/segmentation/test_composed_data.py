"""Data sets that tools.compose writes, as segmentation reads them."""

import torch

from support import composed
from tools import train
from tools.compose import scenes
from tools.compose.kinds import compose
from zoo_classification import mobilenet_v3_large
from zoo_core.images import read_image
from zoo_core.training import prepare
from zoo_segmentation.data import open_segmentation_data


def test_it_is_read(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    for name in "ab":
        compose("segmentation", tmp_path / name, train=4, val=2, size=64, parts=parts)
    assert composed.files(tmp_path / "a") == composed.files(tmp_path / "b")
    labels = (tmp_path / "a" / "labels.txt").read_text().splitlines()
    assert labels == ["__background__", *scenes.CLASSES]
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
    assert max(classes) <= len(scenes.CLASSES)
    recipe = str(train.RECIPES / "scenes_segmentation.toml")
    job = prepare("lraspp_mobilenet_v3_large", tmp_path / "a", from_scratch=True, recipe=recipe, labels=labels)
    assert (len(job.samples), len(job.held_out)) == (4, 2)


def test_stages_begin_with_what_was_learned_before(monkeypatch, tmp_path):
    """A classifier of garments alone goes on with garments on grounds, and becomes the backbone of the model."""
    parts = composed.sources(tmp_path / "parts")
    monkeypatch.setattr(train, "RECIPES", tmp_path)
    stages = (
        train.Stage("classification", "garments_backbone", "mobilenet_v3_large"),
        train.Stage("single", "single_garments", "mobilenet_v3_large"),
        train.Stage("segmentation", "scenes_segmentation"),
    )
    monkeypatch.setitem(train.MODELS, "lraspp_mobilenet_v3_large", train.Trained("lraspp_test", stages))
    common = "epochs = 1\nbatch_size = 4\nopt = 'adamw'\nlr = 0.0\n"  # nothing is learned, so that all can be compared
    for name in ("garments_backbone", "single_garments"):
        (tmp_path / f"{name}.toml").write_text(
            f"{common}train_crop_size = 32\nval_resize_size = 32\nval_crop_size = 32\n"
        )
    last_recipe = f"{common}base_size = 32\ntrain_crop_size = 32\nval_resize_size = 32\n"
    (tmp_path / "scenes_segmentation.toml").write_text(last_recipe)

    def write(kind, folder, seed):
        # Of each class a classifier is to have one.
        train_size, val_size = (60, 40) if kind in ("classification", "single") else (4, 2)
        size = None if kind == "classification" else 40
        compose(kind, folder, seed=seed, train=train_size, val=val_size, size=size, parts=parts)

    work = tmp_path / "work"
    file, found = train.train("lraspp_mobilenet_v3_large", work, tmp_path, write_data=write, workers=0)
    assert found.metrics.keys() >= {"miou", "pixel_acc"}
    names = ("garments_backbone", "single_garments", "scenes_segmentation")
    garments, classifier, last = (
        torch.load(work / "runs" / name / "best.pth", weights_only=True)["model"] for name in names
    )
    assert torch.equal(garments["features.16.0.weight"], classifier["features.16.0.weight"])
    assert torch.equal(last["backbone.16.0.weight"], classifier["features.16.0.weight"])
    weights = torch.load(file, weights_only=True)
    assert torch.equal(weights["backbone.16.0.weight"], classifier["features.16.0.weight"].half())


def test_a_stage_begins_with_the_backbone_of_published_weights(monkeypatch, tmp_path):
    """Those of another model, which is in a package that need not be installed here."""
    backbone = mobilenet_v3_large(weights=None, reduced_tail=True).features.state_dict()
    torch.save({f"backbone.features.{key}": value.half() for key, value in backbone.items()}, tmp_path / "other.pth")
    published = []
    monkeypatch.setattr(train, "_published", lambda name: (published.append(name), tmp_path / "other.pth")[1])
    parts = composed.sources(tmp_path / "parts")
    monkeypatch.setattr(train, "RECIPES", tmp_path)
    (tmp_path / "scenes_segmentation.toml").write_text(
        "epochs = 1\nbatch_size = 4\nopt = 'adamw'\nlr = 0.0\n"
        "base_size = 32\ntrain_crop_size = 32\nval_resize_size = 32\n"
    )

    def write(kind, folder, seed):
        compose(kind, folder, seed=seed, train=4, val=2, size=40, parts=parts)

    file, _ = train.train("lraspp_mobilenet_v3_large", tmp_path / "work", tmp_path, write_data=write, workers=0)
    assert published == ["SSDLite320_MobileNet_V3_Large_Weights.GARMENTS_V1"]
    weights = torch.load(file, weights_only=True)
    for key in ("0.0.weight", "12.block.3.0.weight"):
        assert torch.equal(weights[f"backbone.{key}"], backbone[key].half())
    # The other's tail has half the channels.
    assert weights["backbone.16.0.weight"].shape[0] == 960
