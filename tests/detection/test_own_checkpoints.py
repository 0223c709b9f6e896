import pytest
import torch
from PIL import Image

from support.own_checkpoints import check_fits
from zoo_core import specs
from zoo_core.predicting import predict
from zoo_core.registry import get_model


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ssdlite320_mobilenet_v3_large", {"num_classes": 4}),  # several heads, of classes for each anchor
        ("fasterrcnn_mobilenet_v3_large_320_fpn", {"num_classes": 3}),  # boxes for each class
        ("retinanet_resnet50_fpn_v2", {"num_classes": 2}),
        ("keypointrcnn_resnet50_fpn", {"num_classes": 3, "num_keypoints": 5}),
        ("maskrcnn_resnet50_fpn", {"num_classes": 6}),
    ],
    ids=str,
)
def test_the_number_of_classes_is_read_off_the_head(tmp_path, name, arguments):
    check_fits(tmp_path, name, weights_backbone=None, found=arguments, **arguments)


def test_labels_may_leave_out_the_background(tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    torch.save(get_model(name, num_classes=3, weights_backbone=None).state_dict(), tmp_path / "x.pth")
    find = lambda *labels: specs.find(name, checkpoint=tmp_path / "x.pth", labels=labels).labels  # noqa: E731
    assert find("cat", "dog") == ("__background__", "cat", "dog")
    assert find("nothing", "cat", "dog") == ("nothing", "cat", "dog")
    with pytest.raises(ValueError, match=r"x\.pth is of a model with 3 classes, and there are 1 labels"):
        find("cat")


def test_objects_without_names_are_numbers(tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    torch.manual_seed(0)
    torch.save(get_model(name, num_classes=3, weights_backbone=None).state_dict(), tmp_path / "x.pth")
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "x.png")
    (found,) = predict(
        name, tmp_path / "x.png", checkpoint=tmp_path / "x.pth", options={"threshold": 0.0}, device="cpu"
    )
    labels = {entry["label"] for entry in found.record()["detections"]}
    assert labels
    assert labels <= {"class 1", "class 2"}
