"""torch.export of whole detectors, postprocessing included, and torch.compile of their parts."""

import gc

import pytest
import torch

import zoo_core
from detection.exported import OF_EACH_FAMILY, assert_equal_detections
from detection.toy import DETECTORS, pictures
from support import reference
from support.recording import without_collection

# `test_onnx.py` exports the others, and looks at those programs before it makes files of them.
NAMES = sorted(set(reference.model_names("detection")) - set(OF_EACH_FAMILY))
# One of each kind: its parts are the same in the others.
DYNAMIC = [
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]


def small_detector(name: str) -> torch.nn.Module:
    """A model of the named kind that resizes images to few pixels and finds something in noise."""
    kwargs = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 480}
    if "rcnn" in name:
        kwargs |= {"box_score_thresh": 0.0, "rpn_score_thresh": 0.0, "box_detections_per_img": 20}
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights=None, weights_backbone=None, **kwargs)
    return reference.fill_parameters(model)


@pytest.mark.parametrize("name", NAMES)
def test_export(name):
    model = small_detector(name)
    image = reference.image(1, 3, 100, 140)
    with torch.no_grad():
        with without_collection():
            exported = torch.export.export(model, ([image],)).module()
        for seed in (1, 2):
            image = reference.image(seed, 3, 100, 140)
            assert_equal_detections(exported([image]), model([image]))
    del exported, model
    gc.collect()


@pytest.mark.parametrize("name", DYNAMIC)
def test_export_with_dynamic_height_and_width(name):
    """The program serves sizes, portrait and landscape, small and so long that max_size limits them."""
    model = small_detector(name)
    size = {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    image = reference.image(1, 3, 100, 140)
    with torch.no_grad():
        with without_collection():
            exported = torch.export.export(model, ([image],), dynamic_shapes=([size],)).module()
        for height, width in ((100, 140), (140, 100), (61, 57), (90, 300), (300, 90), (400, 410)):
            image = reference.image(2, 3, height, width)
            assert_equal_detections(exported([image]), model([image]))
    del exported, model
    gc.collect()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("faster_rcnn", ["backbone", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor"]),
        ("retinanet", ["backbone", "head"]),
        ("ssd", ["backbone", "head"]),
    ],
)
def test_compiled_parts_give_equal_detections(name, parts):
    model = reference.fill_parameters(DETECTORS[name]())  # scores without ties, whose order is anyone's
    model.score_thresh = 0.0
    images, _ = pictures()
    with torch.no_grad():
        expected = model(images)
        for part in parts:
            module = model.get_submodule(part)
            module.compile(dynamic=False)
        assert_equal_detections(model(images), expected)
    torch.compiler.reset()
