"""Detectors on any classifier; `python -m tools.backbone_tables` tries one of each family."""

import pytest
import torch

import zoo_detection
from support import backbones
from zoo_classification import ShuffleNet_V2_X0_5_Weights
from zoo_core.features import features, freeze, model_features
from zoo_detection.ops import FrozenBatchNorm2d


def test_trains_and_exports():
    model = backbones.check_detector(zoo_detection.fasterrcnn_on, "shufflenet_v2_x0_5")
    assert model.roi_heads.box_predictor.cls_score.out_features == 3
    # A trained backbone keeps its statistics, and of its stages with parameters the last two train.
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    body = model.backbone.body.features.model
    assert {name.partition(".")[0] for name, p in body.named_parameters() if p.requires_grad} == {
        "stage3",
        "stage4",
        "conv5",
    }
    assert not any("fc" in name for name, _ in model.backbone.named_parameters())


@pytest.mark.parametrize("build", [zoo_detection.retinanet_on, zoo_detection.fcos_on])
def test_one_stage(build):
    model = backbones.check_detector(build, "squeezenet1_1", export=False)
    # Those of 1/8 and 1/16, which is all that there is, and two more.
    assert model.backbone.reductions == [8, 16, 32, 64]


def test_by_name_with_features_and_frozen_parts():
    model = zoo_detection.fcos_on(
        "mobilenet_v3_small", num_classes=4, weights_backbone=None, min_size=256, max_size=256
    )
    told = model_features(model)
    assert told.names == ("stage1", "stage2", "stage3", "stage4", "stage5", *(f"pyramid{i}" for i in range(1, 6)))
    assert told.reductions == (2, 4, 8, 16, 32, 8, 16, 32, 64, 128)
    found = features(model.eval(), [torch.rand(3, 256, 256)], layers=["stage5", "pyramid1", "embedding"])
    assert found["stage5"].shape == (1, 576, 8, 8)
    assert found["pyramid1"].shape == (1, 256, 32, 32)
    freeze(model, "body")
    assert all(n.startswith("head.") for n, p in model.named_parameters() if p.requires_grad)


def test_transformer_of_one_size():
    """Its stages, all of one size, are resized to a pyramid, and images to its size."""
    model = zoo_detection.retinanet_on(
        "vit_b_32", num_classes=4, weights_backbone=None, backbone_arguments={"image_size": 64}
    ).eval()
    assert model.transform.fixed_size == (64, 64)
    with torch.no_grad():
        maps = model.backbone(torch.rand(1, 3, 64, 64))
        assert [tuple(level.shape[2:]) for level in maps.values()] == [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
        assert len(model([torch.rand(3, 80, 70)])) == 1


def test_classifiers_without_such_maps():
    with pytest.raises(ValueError, match="no_such_model"):
        zoo_detection.fcos_on("no_such_model", weights_backbone=None)
    with pytest.raises(ValueError, match="trainable_backbone_layers must be from 0 to 4"):
        zoo_detection.fcos_on(backbones.classifier("shufflenet_v2_x0_5"), trainable_backbone_layers=6)


@pytest.mark.parametrize("build", [zoo_detection.fasterrcnn_on, zoo_detection.retinanet_on, zoo_detection.fcos_on])
def test_what_is_no_backbone(build):
    for name in ("ssd300_vgg16", "SSDLite320_MobileNet_V3_Large"):  # nothing is downloaded for that
        with pytest.raises(ValueError, match=rf"{name} is no classifier of images, and cannot be a backbone"):
            build(name)
    with torch.device("meta"):
        detector = zoo_detection.ssd300_vgg16(weights_backbone=None)
    with pytest.raises(ValueError, match="SSD is no classifier of images"):
        build(detector)
    with pytest.raises(TypeError, match="backbone must be the name of a classifier, or a model, not None"):
        build(None)
    given = backbones.classifier("shufflenet_v2_x0_5")
    with pytest.raises(ValueError, match="takes images of 3 channels, not 4; build it with in_channels=4"):
        build(given, in_channels=4)
    with pytest.raises(TypeError, match="width: arguments of the builder go with a backbone that is named"):
        build(given, backbone_arguments={"width": 1})


def test_wrapped_classifiers_and_names_of_weights():
    parallel = torch.nn.DataParallel(backbones.classifier("shufflenet_v2_x0_5"))
    model = zoo_detection.fcos_on(parallel, num_classes=3)
    assert not any("module" in name for name, _ in model.named_parameters())
    first = "backbone.body.features.model.conv1.0.weight"
    expected = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1.get_state_dict()["conv1.0.weight"]
    weights = ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1
    for given in (weights, "FASHIONMNIST_V1", "ShuffleNet_V2_X0_5_Weights.FASHIONMNIST_V1"):
        model = zoo_detection.fcos_on("shufflenet_v2_x0_5", num_classes=3, weights_backbone=given, in_channels=3)
        assert torch.equal(model.get_parameter(first), expected)
    with pytest.raises(ValueError, match=r"there are .*FASHIONMNIST_V1"):
        zoo_detection.fcos_on("shufflenet_v2_x0_5", weights_backbone="IMAGENET")
