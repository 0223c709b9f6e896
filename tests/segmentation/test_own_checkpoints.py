import pytest
import torch
from PIL import Image

from support.own_checkpoints import check_fits
from zoo_core.predicting import predict
from zoo_core.registry import get_model


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lraspp_mobilenet_v3_large", {"num_classes": 4}),
        ("deeplabv3_mobilenet_v3_large", {"num_classes": 3, "aux_loss": True}),
        ("deeplabv3_mobilenet_v3_large", {"num_classes": 3}),
    ],
    ids=str,
)
def test_the_number_of_classes_is_read_off_the_head(tmp_path, name, arguments):
    check_fits(tmp_path, name, weights_backbone=None, found=arguments, **arguments)


def test_classes_without_names_are_numbers(tmp_path):
    model = get_model("lraspp_mobilenet_v3_large", num_classes=3, weights_backbone=None)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    (found,) = predict("lraspp_mobilenet_v3_large", tmp_path / "x.png", checkpoint=tmp_path / "x.pth", device="cpu")
    assert "class " in " ".join(found.describe())
