"""The names of torchvision.models.detection are in zoo_detection, and calls of them fit, old ones too."""

import pytest

from support import reference, torchvision_names
from zoo_core import get_model_builder
from zoo_detection import mobilenet_backbone, resnet_fpn_backbone

LEFT_OUT = {
    "roi_heads.expand_boxes": "a step of torchvision's paste_masks_in_image; use that",
    "roi_heads.expand_masks": "likewise",
    "roi_heads.expand_masks_tracing_scale": "likewise",
    "roi_heads.paste_mask_in_image": "likewise",
    "rpn.permute_and_flatten": "a step of torchvision's concat_box_prediction_layers; use that",
}
CALLED_OTHERWISE = {
    "anchor_utils.AnchorGenerator.grid_anchors": "a step of torchvision's forward; set cell_anchors, or override it",
    "anchor_utils.AnchorGenerator.set_cell_anchors": "likewise",
    "roi_heads.RoIHeads.add_gt_proposals": "a step of torchvision's select_training_samples; override that",
    "roi_heads.RoIHeads.check_targets": "likewise",
    "roi_heads.RoIHeads.subsample": "likewise",
    "roi_heads.project_masks_on_boxes": "says size where torchvision says M",
    "transform.GeneralizedRCNNTransform.max_by_axis": "a step of torchvision's batch_images",
    "transform.GeneralizedRCNNTransform.torch_choice": "a step of torchvision's resize",
}


def test_names():
    torchvision_names.assert_names("torchvision.models.detection", "zoo_detection", LEFT_OUT)


def test_calls():
    torchvision_names.assert_calls("torchvision.models.detection", "zoo_detection", CALLED_OTHERWISE)


def test_weights():
    torchvision_names.assert_enums("torchvision.models.detection", "zoo_detection")


def test_old_calls():
    builders = {name: get_model_builder(name) for name in reference.model_names("detection")}
    torchvision_names.assert_old_calls(builders)


# What torchvision 0.28 loads for these calls.
@pytest.mark.parametrize(
    ("call", "file"),
    [
        (lambda: resnet_fpn_backbone("resnet18", True), "resnet18-f37072fd.pth"),
        (lambda: resnet_fpn_backbone("resnet50", pretrained=True), "resnet50-0676ba61.pth"),
        (lambda: resnet_fpn_backbone(backbone_name="resnet50", pretrained=True), "resnet50-0676ba61.pth"),
        (lambda: resnet_fpn_backbone(backbone_name="resnet50", weights=True), "resnet50-0676ba61.pth"),
        (lambda: mobilenet_backbone("mobilenet_v2", True, False), "mobilenet_v2-b0353104.pth"),
        (
            lambda: mobilenet_backbone("mobilenet_v3_large", pretrained=True, fpn=True),
            "mobilenet_v3_large-8738ca79.pth",
        ),
    ],
)
def test_old_calls_of_backbones_with_weights(call, file):
    with pytest.warns(UserWarning, match="deprecated; write") as caught, torchvision_names.asks_for(file):
        call()
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize(
    "call",
    [
        lambda: resnet_fpn_backbone("resnet18", weights=None),
        lambda: resnet_fpn_backbone("resnet18", None),
        lambda: resnet_fpn_backbone("resnet18", pretrained=False),
        lambda: mobilenet_backbone("mobilenet_v2", weights=None, fpn=False),
        lambda: mobilenet_backbone("mobilenet_v3_large", False, True),
    ],
)
def test_old_calls_of_backbones_without_weights(call):
    with pytest.warns(UserWarning, match="deprecated; write") as caught:
        assert call().out_channels == 256
    assert {w.filename for w in caught} == {__file__}


def test_wrong_calls_of_backbones():
    with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'backbone_name'"):
        resnet_fpn_backbone(weights=None)
    with pytest.raises(TypeError, match="got both weights and the deprecated pretrained; give weights"):
        resnet_fpn_backbone(backbone_name="resnet18", weights=None, pretrained=True)
    with (
        pytest.warns(UserWarning, match="positional arguments"),
        pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'weights'"),
    ):
        resnet_fpn_backbone("resnet18")
