"""What ships with the package runs without network: weights that know garments, and scenes with some."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch

import zoo_segmentation
from support import reference
from zoo_core.checkpoints import locate
from zoo_segmentation import LRASPP_MobileNet_V3_Large_Weights, lraspp_mobilenet_v3_large

WEIGHTS = LRASPP_MobileNet_V3_Large_Weights.GARMENTS_V1
SAMPLES = Path(zoo_segmentation.__file__).parent / "samples"
# What tools/samples.py put into them, but for a sandal in each, of which little is seen.
GARMENTS = {
    "garments-1.jpg": {"trouser", "dress", "ankle boot", "sneaker"},
    "garments-2.jpg": {"dress", "bag"},
}


def test_file():
    path = locate(WEIGHTS.url)
    assert path.parent == resources.files("zoo_segmentation") / "checkpoints"
    assert path.stat().st_size < 8 * 2**20
    assert WEIGHTS.meta["_file_size"] == pytest.approx(path.stat().st_size / 2**20, abs=1e-3)
    default = LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    assert default is LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1


def test_as_a_user_calls_it(tmp_path):
    words = ["predict", "lraspp_mobilenet_v3_large", str(SAMPLES), "--weights", "GARMENTS_V1"]
    done = subprocess.run(
        [sys.executable, "-m", "zoo_core", *words, "--json"],
        cwd=tmp_path,
        env=os.environ | {"ZOO_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {Path(entry["file"]).name: entry["classes"] for entry in json.loads(done.stdout)["results"]}
    assert found.keys() == GARMENTS.keys()
    for name, garments in GARMENTS.items():
        seen = {each["label"] for each in found[name] if each["share"] > 0.02}
        assert garments <= seen, name


def test_weights_and_a_new_head():
    kinds = ("top", "trouser", "dress", "sandal", "sneaker", "bag", "ankle boot")
    assert WEIGHTS.meta["categories"] == ["__background__", *kinds]
    model = lraspp_mobilenet_v3_large(weights=WEIGHTS)
    assert sum(parameter.numel() for parameter in model.parameters()) == WEIGHTS.meta["num_params"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    state = model.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    assert list(state) == [key for key, *_ in reference.manifest("lraspp_mobilenet_v3_large")]
    with pytest.raises(ValueError, match=r"num_classes=8, not 5.*new_head=True"):
        lraspp_mobilenet_v3_large(weights=WEIGHTS, num_classes=5)
    with pytest.warns(UserWarning, match="5 classes"):
        new = lraspp_mobilenet_v3_large(weights=WEIGHTS, num_classes=5, new_head=True)
    for key, value in new.state_dict().items():
        assert key.startswith("classifier") or torch.equal(value, state[key]), key
