"""Models from checkpoints: what `weights`, `weights_backbone`, `aux_loss`, `num_classes` and `new_head` do together."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo_core
import zoo_segmentation
from support import reference
from zoo_classification.mobilenetv3 import MobileNet_V3_Large_Weights, mobilenet_v3_large
from zoo_classification.resnet import ResNet50_Weights, resnet50
from zoo_core.checkpoints import CheckpointError
from zoo_segmentation.fcn import FCNHead
from zoo_segmentation.lraspp import LRASPPHead

from . import published

NAMES = reference.model_names("segmentation")
WITH_AUX = [name for name in NAMES if "lraspp" not in name]
LIGHT = ["deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"]


def assert_holds(model, tensors):
    held = model.state_dict()
    assert held.keys() == tensors.keys()
    for key, tensor in held.items():
        assert not tensor.is_meta
        assert torch.equal(tensor, tensors[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_weights(name, home):
    """The published form loads, with its auxiliary classifier, and without one for the backbone."""
    tensors = published.save_segmentation(home, name)
    model = zoo_core.get_model(name, weights="DEFAULT")
    assert_holds(model, tensors)
    assert model.training
    with torch.inference_mode():
        outputs = model.eval()(reference.image(1, 2, 3, 128, 160))
    for key, summary in reference.golden(name)["eval"]["output"].items():
        reference.assert_matches(outputs[key], summary)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "fcn_resnet50"])
def test_weights_without_the_auxiliary_classifier(name, home):
    tensors = published.save_segmentation(home, name)
    model = zoo_core.get_model(name, weights="COCO_WITH_VOC_LABELS_V1", aux_loss=False)
    assert_holds(model, {key: value for key, value in tensors.items() if not key.startswith("aux_classifier.")})
    with torch.inference_mode():
        outputs = model.eval()(reference.image(1, 2, 3, 128, 160))
    assert list(outputs) == ["out"]
    reference.assert_matches(outputs["out"], reference.golden(name)["eval"]["output"]["out"])


@pytest.mark.parametrize("name", NAMES)
def test_contradicting_number_of_classes(name, home):
    with pytest.raises(ValueError, match="num_classes=21, not 5"):
        zoo_core.get_model(name, weights="DEFAULT", num_classes=5)


def test_the_checkpoints_own_number_of_classes_is_no_contradiction(home):
    tensors = published.save_segmentation(home, "lraspp_mobilenet_v3_large")
    assert_holds(zoo_segmentation.lraspp_mobilenet_v3_large(weights="DEFAULT", num_classes=21), tensors)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_there(name, home):
    with pytest.raises(CheckpointError, match=zoo_core.get_model_weights(name)["DEFAULT"].url.rpartition("/")[2]):
        zoo_core.get_model(name, weights="DEFAULT", progress=False)


@pytest.mark.parametrize("name", NAMES)
def test_backbone_weights_by_default(name, home):
    """Without weights the backbone starts from its own, which are not cached here."""
    backbone = "mobilenet_v3_large" if "mobilenet" in name else "resnet101" if "101" in name else "resnet50"
    url = zoo_core.get_model_weights(backbone)["IMAGENET1K_V1"].url
    with pytest.raises(CheckpointError, match=url.rpartition("/")[2]):
        zoo_core.get_model(name)


@pytest.mark.parametrize("aux_loss", [None, True])
def test_resnet_backbone_weights(aux_loss, home):
    tensors = published.save_backbone(home, resnet50, ResNet50_Weights.IMAGENET1K_V2)
    model = zoo_segmentation.fcn_resnet50(weights_backbone="IMAGENET1K_V2", num_classes=3, aux_loss=aux_loss)
    assert_holds(model.backbone, {key: value for key, value in tensors.items() if not key.startswith("fc.")})
    assert (model.aux_classifier is None) == (not aux_loss)
    assert model.classifier[4].out_channels == 3
    for name, parameter in model.named_parameters():
        if name.endswith("4.weight"):  # torch's own distribution
            assert parameter.abs().max() <= parameter[0].numel() ** -0.5
        assert parameter.requires_grad


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_mobilenet_backbone_weights(name, home):
    tensors = published.save_backbone(home, mobilenet_v3_large, MobileNet_V3_Large_Weights.IMAGENET1K_V1)
    model = zoo_core.get_model(name)
    features = {key.removeprefix("features."): value for key, value in tensors.items() if key.startswith("features.")}
    assert_holds(model.backbone, features)


def test_progress_reaches_the_download(monkeypatch):
    """Both of the checkpoint and of the backbone's."""
    asked = []

    def get_state_dict(self, *, progress, **others):
        asked.append((str(self), progress))
        raise CheckpointError("stop here")

    monkeypatch.setattr(zoo_core.WeightsEnum, "get_state_dict", get_state_dict)
    for progress in (True, False):
        for weights in ("DEFAULT", None):
            with pytest.raises(CheckpointError, match="stop here"):
                zoo_segmentation.deeplabv3_resnet50(weights=weights, progress=progress)
    assert asked == [
        ("DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1", True),
        ("ResNet50_Weights.IMAGENET1K_V1", True),
        ("DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1", False),
        ("ResNet50_Weights.IMAGENET1K_V1", False),
    ]


def test_pretrained_as_torchvision_deprecated_it(home):
    tensors = published.save_segmentation(home, "lraspp_mobilenet_v3_large")
    with pytest.warns(UserWarning, match="COCO_WITH_VOC_LABELS_V1"):
        model = zoo_segmentation.lraspp_mobilenet_v3_large(pretrained=True)
    assert_holds(model, tensors)
    with pytest.warns(UserWarning, match="pretrained.*=False is deprecated") as caught:
        zoo_segmentation.lraspp_mobilenet_v3_large(pretrained=False, pretrained_backbone=False)
    assert [str(warning.message).partition(" ")[0] for warning in caught] == [
        "pretrained=False",
        "pretrained_backbone=False",
    ]


def test_arguments_that_do_not_exist():
    with pytest.raises(TypeError, match="aux_los"):
        zoo_segmentation.fcn_resnet50(weights_backbone=None, aux_los=True)
    with pytest.raises(NotImplementedError, match="no auxiliary classifier"):
        zoo_segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, aux_loss=True)
    with pytest.raises(TypeError, match="FCN_ResNet50_Weights"):
        zoo_segmentation.fcn_resnet50(weights=ResNet50_Weights.IMAGENET1K_V1)


HEADS = {
    "deeplabv3_mobilenet_v3_large": {"classifier.4", "aux_classifier.4"},
    "fcn_resnet50": {"classifier.4", "aux_classifier.4"},
    "lraspp_mobilenet_v3_large": {"classifier.low_classifier", "classifier.high_classifier"},
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("num_classes", [2, 21])
def test_new_head(name, num_classes, home):
    tensors = published.save_segmentation(home, name)
    with pytest.warns(UserWarning, match=f"new, for {num_classes} classes"):
        model = zoo_core.get_model(
            name, weights="DEFAULT", num_classes=num_classes, new_head=True, freeze_body=True, progress=False
        )
    head = HEADS[name]
    for key, tensor in model.state_dict().items():
        if key.rpartition(".")[0] in head:
            assert tensor.shape[0] == num_classes
            assert tensor.isfinite().all()
            assert tensor.std() > 0
            assert not torch.equal(tensor, tensors[key])
        else:
            assert torch.equal(tensor, tensors[key]), key
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{module}.{kind}" for module in head for kind in ("weight", "bias")}
    outputs = model(reference.image(1, 2, 3, 64, 64))
    assert {scores.shape for scores in outputs.values()} == {(2, num_classes, 64, 64)}
    sum(scores.square().mean() for scores in outputs.values()).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (key in trained)


def test_new_head_without_the_auxiliary_classifier(home):
    tensors = published.save_segmentation(home, "deeplabv3_mobilenet_v3_large")
    with pytest.warns(UserWarning, match="new, for 4 classes"):
        model = zoo_segmentation.deeplabv3_mobilenet_v3_large(
            weights="DEFAULT", num_classes=4, aux_loss=False, new_head=True
        )
    assert not any(key.startswith("aux_classifier") for key in model.state_dict())
    assert torch.equal(model.classifier[1].weight, tensors["classifier.1.weight"])
    assert list(model(reference.image(1, 2, 3, 32, 32))) == ["out"]


def test_a_model_of_ones_own_parts():
    """The public classes take any backbone that gives the features by name."""

    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)

        def forward(self, x):
            first = self.first(x)
            second = self.second(first)
            return {"aux": first, "out": second, "low": first, "high": second}

    x = reference.image(1, 2, 3, 31, 45)
    for model in (
        zoo_segmentation.FCN(Halving(), zoo_segmentation.FCNHead(12, 6), zoo_segmentation.FCNHead(8, 6)),
        zoo_segmentation.DeepLabV3(Halving(), zoo_segmentation.DeepLabHead(12, 6, atrous_rates=(1, 2))),
        zoo_segmentation.LRASPP(Halving(), 8, 12, 6, inter_channels=7),
    ):
        for scores in model(x).values():
            assert scores.shape == (2, 6, 31, 45)


# What hooks see -------------------------------------------------------------------------------------------------------


def test_the_last_layer_of_lraspp_is_shown_features_of_full_size():
    """Only where nobody looks does it classify before the features are enlarged."""
    model = reference.fill_parameters(zoo_segmentation.lraspp_mobilenet_v3_large(weights_backbone=None))
    x = reference.image(1, 1, 3, 65, 72)
    shapes = {}
    with torch.no_grad():
        expected = model(x)["out"]
        for name in ("low_classifier", "high_classifier"):
            layer = model.classifier.get_submodule(name)
            layer.register_forward_hook(lambda *given, name=name: shapes.update({name: given[2].shape}))
        torch.testing.assert_close(model(x)["out"], expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert shapes["high_classifier"] == shapes["low_classifier"] == (1, 21, 9, 9)


def test_what_a_hook_keeps_of_the_head_of_fcn_is_not_changed():
    head = FCNHead(8, 3).eval()
    kept = []
    head[1].register_forward_hook(lambda *given: kept.append(given[2]))
    with torch.no_grad():
        head(reference.image(1, 1, 8, 6, 6) - 0.5)
    assert kept[0].min() < 0


@pytest.mark.parametrize("side", [1, 3])
def test_own_classifier_of_lraspp_sees_enlarged_features(side):
    """A layer that looks around a place must not be applied before the features are enlarged."""
    torch.manual_seed(0)
    head = LRASPPHead(8, 12, 3, 16).eval()
    head.high_classifier = nn.Conv2d(16, 3, side, padding=side // 2)
    low, high = torch.rand(2, 8, 12, 12), torch.rand(2, 12, 5, 5)
    with torch.inference_mode():
        features = head.cbr(high) * head.scale(high)
        enlarged = F.interpolate(features, size=(12, 12), mode="bilinear", align_corners=False)
        expected = head.low_classifier(low) + head.high_classifier(enlarged)
        torch.testing.assert_close(head({"low": low, "high": high}), expected)
