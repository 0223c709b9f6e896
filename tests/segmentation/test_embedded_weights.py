"""What ships with the package runs without network: weights that know garments, and scenes with some."""

from pathlib import Path

import zoo_segmentation
from support import embedded
from zoo_segmentation import LRASPP_MobileNet_V3_Large_Weights, lraspp_mobilenet_v3_large

WEIGHTS = LRASPP_MobileNet_V3_Large_Weights.GARMENTS_V1
SAMPLES = Path(zoo_segmentation.__file__).parent / "samples"
# What tools/samples.py put into them, but for a sandal in each, of which little is seen.
GARMENTS = {
    "garments-1.jpg": {"trouser", "dress", "ankle boot", "sneaker"},
    "garments-2.jpg": {"dress", "bag"},
}


def test_file():
    embedded.check_file(WEIGHTS, "zoo_segmentation")
    default = LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    assert default is LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1


def test_as_a_user_calls_it(tmp_path):
    found = embedded.predicted("lraspp_mobilenet_v3_large", SAMPLES, tmp_path)
    assert found.keys() == GARMENTS.keys()
    for name, garments in GARMENTS.items():
        seen = {each["label"] for each in found[name]["classes"] if each["share"] > 0.02}
        assert garments <= seen, name


def test_weights_and_a_new_head():
    embedded.check_garments_and_a_new_head(lraspp_mobilenet_v3_large, WEIGHTS, "classifier")
