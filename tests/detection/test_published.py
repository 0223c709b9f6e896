"""Published checkpoints, in the spelling and with the settings that they have; and what builders do with weights."""

import re

import pytest
import torch

import zoo_core
from support import reference
from zoo_classification import MobileNet_V3_Large_Weights, ResNet50_Weights, VGG16_Weights, mobilenet_v3_large
from zoo_detection import (
    FrozenBatchNorm2d,
    KeypointRCNN_ResNet50_FPN_Weights,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn,
    keypointrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)

OLD_SPELLINGS = [
    (r"(fpn\.(?:inner|layer)_blocks\.\d+)\.0\.", r"\1."),
    (r"(rpn\.head\.conv)\.0\.0\.", r"\1."),
    (r"((?:classification|regression)_head\.conv)\.(\d+)\.0\.", lambda m: f"{m[1]}.{2 * int(m[2])}."),
    (r"(mask_head)\.(\d+)\.0\.", lambda m: f"{m[1]}.mask_fcn{int(m[2]) + 1}."),
]


def tensors(manifest):
    """A tensor for each entry of a manifest, of one value that no other entry has."""
    return {
        key: torch.full(shape, index + 1, dtype=getattr(torch, dtype))
        for index, (key, dtype, shape) in enumerate(manifest)
    }


def published(name):
    forms = reference.manifest_forms(name)
    return tensors(reference.manifest(name, "pretrained" if "pretrained" in forms else "default"))


def in_old_spelling(state_dict):
    old = {}
    for key, value in state_dict.items():
        for pattern, replacement in OLD_SPELLINGS:
            key = re.sub(pattern, replacement, key)
        old[key] = value
    return old


def assert_holds(model, state_dict):
    ours = model.state_dict()
    assert list(ours) == list(state_dict)
    for key, value in state_dict.items():
        assert torch.equal(ours[key], value), key


def frozen_eps(model):
    return {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)}


@pytest.mark.parametrize(
    ("name", "respelt", "eps"),
    [
        ("fasterrcnn_resnet50_fpn", 18, 0.0),
        ("maskrcnn_resnet50_fpn", 26, 0.0),
        ("keypointrcnn_resnet50_fpn", 18, 0.0),
        ("retinanet_resnet50_fpn", 28, 0.0),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 10, 1e-5),
        ("fcos_resnet50_fpn", 12, 1e-5),
    ],
)
def test_old_files(publish, name, respelt, eps):
    """Keys of old modules, the older stream format, and counters that frozen normalisation has no use for."""
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    state_dict = published(name)
    old = in_old_spelling(state_dict)
    assert len(old.keys() - state_dict.keys()) == respelt
    old["backbone.body.bn1.num_batches_tracked" if "resnet" in name else "backbone.body.0.1.num_batches_tracked"] = (
        torch.tensor(7)
    )
    publish(weights, old, _use_new_zipfile_serialization=False)
    model = zoo_core.get_model(name, weights=weights)
    assert_holds(model, state_dict)
    assert frozen_eps(model) == {eps}

    again = zoo_core.get_model(name, weights=None, weights_backbone=None)
    target = type(again).__name__
    model.load_state_dict({key: torch.zeros_like(value) for key, value in state_dict.items()})
    model.load_state_dict(old)
    assert_holds(model, state_dict)
    assert type(model).__name__ == target


@pytest.mark.parametrize(
    "name", ["fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"]
)
def test_new_files(publish, name):
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    state_dict = published(name)
    publish(weights, state_dict)
    model = zoo_core.get_model(name, weights="DEFAULT")
    assert_holds(model, state_dict)
    assert not frozen_eps(model)
    assert all(not tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_the_legacy_keypoint_weights_keep_their_eps(publish):
    weights = KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY
    publish(weights, published("keypointrcnn_resnet50_fpn"))
    assert frozen_eps(keypointrcnn_resnet50_fpn(weights=weights)) == {1e-5}


def frozen(model):
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("trainable", [None, 0, 1, 5])
def test_trainable_layers(publish, trainable):
    name = "fasterrcnn_resnet50_fpn"
    publish(zoo_core.get_model_weights(name)["DEFAULT"], published(name))
    model = fasterrcnn_resnet50_fpn(weights="COCO_V1", trainable_backbone_layers=trainable)
    stages = ["layer4", "layer3", "layer2", "layer1", "conv1"][: 3 if trainable is None else trainable]
    expected = {
        f"backbone.body.{name}"
        for name, _ in model.backbone.body.named_parameters()
        if not name.startswith(tuple(stages))
    }
    assert frozen(model) == expected


def test_trainable_layers_of_mobilenet(publish):
    name = "fasterrcnn_mobilenet_v3_large_fpn"
    publish(zoo_core.get_model_weights(name)["DEFAULT"], published(name))
    model = fasterrcnn_mobilenet_v3_large_fpn(weights="COCO_V1")
    assert {int(key.split(".")[2]) for key in frozen(model)} == set(range(7))
    with pytest.raises(ValueError, match="from 0 to 6, not 7"):
        fasterrcnn_mobilenet_v3_large_fpn(weights="COCO_V1", trainable_backbone_layers=7)


def test_trainable_layers_of_ssd(publish):
    publish(zoo_core.get_model_weights("ssd300_vgg16")["DEFAULT"], published("ssd300_vgg16"))
    model = ssd300_vgg16(weights="COCO_V1")
    assert frozen(model) == {f"backbone.features.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
    assert not frozen(ssd300_vgg16(weights="COCO_V1", trainable_backbone_layers=5))


def test_trainable_layers_without_weights():
    with pytest.warns(UserWarning, match="trainable_backbone_layers=2 has no effect"):
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, trainable_backbone_layers=2)
    assert not frozen(model)


def test_pretrained_backbone(publish):
    """Its tensors are those of the classifier; the rest is drawn; the first stages are frozen."""
    state_dict = tensors(reference.manifest("resnet50"))
    publish(ResNet50_Weights.IMAGENET1K_V1, state_dict)
    model = retinanet_resnet50_fpn(weights=None, num_classes=5)
    for key, value in model.backbone.body.state_dict().items():
        assert torch.equal(value, state_dict[key]), key
    assert frozen_eps(model) == {1e-5}
    assert model.head.classification_head.cls_logits.out_channels == 45
    assert model.backbone.fpn.inner_blocks[0][0].weight.std() > 0
    assert {key.split(".")[2] for key in frozen(model)} == {"conv1", "layer1"}


def test_pretrained_backbone_of_ssd(publish):
    state_dict = tensors(reference.manifest("vgg16"))
    publish(VGG16_Weights.IMAGENET1K_FEATURES, state_dict)
    model = ssd300_vgg16(weights=None)
    assert torch.equal(model.backbone.features[0].weight, state_dict["features.0.weight"])
    assert torch.equal(model.backbone.extra[0][5].weight, state_dict["features.28.weight"])


def test_pretrained_backbone_of_ssdlite_has_the_full_tail(publish):
    state_dict = tensors(reference.manifest("mobilenet_v3_large"))
    publish(MobileNet_V3_Large_Weights.IMAGENET1K_V1, state_dict)
    model = ssdlite320_mobilenet_v3_large(weights=None)
    assert torch.equal(model.backbone.features[1][-1][0].weight, state_dict["features.16.0.weight"])
    with torch.inference_mode():
        assert len(model.eval()([torch.rand(3, 50, 60)])) == 1


def test_weights_that_contradict_arguments(publish):
    publish(zoo_core.get_model_weights("keypointrcnn_resnet50_fpn")["DEFAULT"], {})
    with pytest.raises(ValueError, match="num_classes=91, not 5"):
        maskrcnn_resnet50_fpn(weights="DEFAULT", num_classes=5)
    with pytest.raises(ValueError, match="num_keypoints=17, not 4"):
        keypointrcnn_resnet50_fpn(weights="DEFAULT", num_keypoints=4)
    with pytest.raises(TypeError, match="MobileNet_V3_Large_Weights"):
        fasterrcnn_resnet50_fpn(weights=None, weights_backbone=MobileNet_V3_Large_Weights.IMAGENET1K_V1)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (
            "maskrcnn_resnet50_fpn",
            {
                "roi_heads.box_predictor.cls_score",
                "roi_heads.box_predictor.bbox_pred",
                "roi_heads.mask_predictor.mask_fcn_logits",
            },
        ),
        ("retinanet_resnet50_fpn", {"head.classification_head.cls_logits"}),
        ("fcos_resnet50_fpn", {"head.classification_head.cls_logits"}),
        (
            "ssdlite320_mobilenet_v3_large",
            {f"head.classification_head.module_list.{level}.1" for level in range(6)},
        ),
    ],
)
def test_new_head(publish, name, head):
    """What depends on the number of classes is drawn anew, everything else is the checkpoint's."""
    weights = zoo_core.get_model_weights(name)["DEFAULT"]
    state_dict = published(name)
    publish(weights, state_dict)
    with pytest.warns(UserWarning, match="is new, for 5 classes"):
        model = zoo_core.get_model(name, weights=weights, num_classes=5, new_head=True, freeze_body=True)
    for key, value in model.state_dict().items():
        if key.rpartition(".")[0] in head:
            assert value.isfinite().all()
            assert value.shape != state_dict[key].shape
            assert value.abs().max() < 10
        else:
            assert torch.equal(value, state_dict[key]), key
    trained = {key.rpartition(".")[0] for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == head
    prior = {"retinanet_resnet50_fpn", "fcos_resnet50_fpn"}
    if name in prior:
        bias = model.head.classification_head.cls_logits.bias
        torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))


def test_random_backbone_of_ssdlite():
    """As the reference draws it: a normal distribution of deviation 0.03, which is not the classifier's."""
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    weight = model.backbone.features[1][3][0].weight
    assert weight.std().item() == pytest.approx(0.03, rel=0.05)
    classifier = mobilenet_v3_large().features[16][0].weight
    assert classifier.std().item() != pytest.approx(0.03, rel=0.05)


def test_size_of_a_fixed_model():
    with pytest.warns(UserWarning, match="size of this model is fixed"):
        model = ssd300_vgg16(weights=None, weights_backbone=None, size=(512, 512))
    assert model.transform.fixed_size == (300, 300)
