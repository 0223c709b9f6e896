"""What ships with the package runs without network: weights that find garments, and scenes with some."""

from collections import Counter
from pathlib import Path

import zoo_detection
from support import embedded
from zoo_detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

WEIGHTS = SSDLite320_MobileNet_V3_Large_Weights.GARMENTS_V1
SAMPLES = Path(zoo_detection.__file__).parent / "samples"
# What tools/samples.py put into them, but for a sandal in each, of which little is seen.
GARMENTS = {
    "garments-1.jpg": Counter({"trouser": 2, "dress": 1, "ankle boot": 1, "sneaker": 1}),
    "garments-2.jpg": Counter({"dress": 2, "bag": 1}),
}


def test_file():
    embedded.check_file(WEIGHTS, "zoo_detection")
    assert SSDLite320_MobileNet_V3_Large_Weights.DEFAULT is SSDLite320_MobileNet_V3_Large_Weights.COCO_V1


def test_as_a_user_calls_it(tmp_path):
    found = embedded.predicted("ssdlite320_mobilenet_v3_large", SAMPLES, tmp_path, "--threshold", "0.5")
    assert found.keys() == GARMENTS.keys()
    for name, garments in GARMENTS.items():
        labels = (each["label"] for each in found[name]["detections"])
        assert Counter(label for label in labels if label != "sandal") == garments, name


def test_weights_and_a_new_head():
    embedded.check_garments_and_a_new_head(ssdlite320_mobilenet_v3_large, WEIGHTS, "head.classification_head")
