"""Segmentation models on any classifier; `python -m tools.backbone_tables` tries one of each family."""

import pytest
import torch

import zoo_segmentation
from support import backbones
from zoo_core.features import freeze, model_features


@pytest.mark.parametrize(
    ("build", "name"),
    [(zoo_segmentation.deeplabv3_on, "shufflenet_v2_x0_5"), (zoo_segmentation.fcn_on, "squeezenet1_1")],
)
def test_trains_and_exports(build, name):
    backbones.check_segmentation(build, name)


def test_dilates_as_published_models_do():
    """On a ResNet-50 it is the published architecture: 1/8 of the size, features halfway of the third stage."""
    with torch.device("meta"):
        model = zoo_segmentation.fcn_on("resnet50", weights_backbone=None, aux_loss=True)
        published = zoo_segmentation.fcn_resnet50(weights_backbone=None, aux_loss=True)
    told = model_features(model)
    assert told.reductions == (4, 8, 8, 8)
    assert told.reductions == model_features(published).reductions
    ours = {name: value.shape for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    theirs = {name: value.shape for name, value in published.state_dict().items() if not name.startswith("backbone.")}
    assert ours == theirs


def test_parts_are_frozen():
    model = zoo_segmentation.deeplabv3_on("mobilenet_v3_small", weights_backbone=None, num_classes=3)
    assert model_features(model).reductions == (2, 4, 8, 16)
    freeze(model, "body")
    assert all(n.startswith("classifier.") for n, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("build", [zoo_segmentation.deeplabv3_on, zoo_segmentation.fcn_on])
def test_what_is_no_backbone(build):
    with pytest.raises(ValueError, match="fcn_resnet50 is no classifier of images, and cannot be a backbone"):
        build("fcn_resnet50")
    with pytest.raises(TypeError, match="backbone must be the name of a classifier, or a model, not 5"):
        build(5)
    with pytest.raises(ValueError, match="takes images of 3 channels, not 12"):
        build(backbones.classifier("shufflenet_v2_x0_5"), in_channels=12)


def test_a_name_in_other_letters_dilates_likewise():
    with torch.device("meta"):
        model = zoo_segmentation.fcn_on("ResNet50", weights_backbone=None)
    assert model_features(model).reductions == (4, 8, 8, 8)
