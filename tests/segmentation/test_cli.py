"""The ``zoo`` command on segmentation models, with a published checkpoint in the cache."""

import json

import pytest
import torch
from PIL import Image

import zoo_segmentation
from support import reference
from zoo_core.cli import main
from zoo_segmentation import read_mask
from zoo_segmentation.task import labels_at_size

from . import published

NAME = "deeplabv3_mobilenet_v3_large"


@pytest.fixture
def photos(home, tmp_path, monkeypatch):
    """The current directory, with pictures of two sizes; the checkpoint is cached."""
    published.save_segmentation(home, NAME)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for index, size in enumerate([(160, 120), (120, 170)]):
        Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 20 + index).convert("RGB").save(f"photo{index}.png")
    return folder


def expected_mask(path):
    """The classes by the model's own means, with the auxiliary classifier in place."""
    weights = zoo_segmentation.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT
    model = zoo_segmentation.deeplabv3_mobilenet_v3_large(weights=weights).eval()
    picture = Image.open(path).convert("RGB")
    with torch.inference_mode():
        scores = model(weights.transforms()(picture).unsqueeze(0))["out"][0]
    return labels_at_size(scores, (picture.height, picture.width))


def test_pictures_masks_and_json(photos, capsys):
    command = ["predict", NAME, "photo0.png", "photo1.png", "--output", "out", "--mask"]
    assert main([*command, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["results"]
    assert sorted(path.name for path in (photos / "out").iterdir()) == [
        "photo0.mask.png",
        "photo0.png",
        "photo1.mask.png",
        "photo1.png",
    ]
    for index, record in enumerate(records):
        assert record["file"] == f"photo{index}.png"
        mask = read_mask(photos / "out" / f"photo{index}.mask.png")
        assert torch.equal(mask, expected_mask(photos / f"photo{index}.png"))
        shares = {item["index"]: item["share"] for item in record["classes"]}
        assert shares == {int(c): pytest.approx(float((mask == c).float().mean())) for c in mask.unique()}
        for item in record["classes"]:
            assert item["label"] == reference.labels()["voc21"][item["index"]]

    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    best = max(records[0]["classes"], key=lambda item: item["share"])
    assert lines[0] == "photo0.png"
    assert lines[1].split()[-1] == best["label"].strip("_")


def test_no_mask_unless_asked_for(photos, capsys):
    assert main(["predict", NAME, "photo0.png", "--output", "out"]) == 0
    assert [path.name for path in (photos / "out").iterdir()] == ["photo0.png"]


def test_a_damaged_picture_does_not_stop_the_others(photos, capsys):
    (photos / "broken.png").write_bytes((photos / "photo0.png").read_bytes()[:200])
    assert main(["predict", NAME, "broken.png", "photo0.png", "--json"]) == 1
    broken, fine = json.loads(capsys.readouterr().out)["results"]
    assert "broken.png" in broken["error"]
    assert fine["classes"]
