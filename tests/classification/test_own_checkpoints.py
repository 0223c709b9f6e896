import pytest
import torch
from PIL import Image

from support.own_checkpoints import check_fits
from zoo_core.predicting import predict
from zoo_core.registry import get_model


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shufflenet_v2_x0_5", {"num_classes": 37}),
        ("squeezenet1_1", {"num_classes": 3}),  # a convolution
        ("mnasnet0_5", {"num_classes": 1}),
        ("googlenet", {"num_classes": 5}),
        ("googlenet", {"num_classes": 5, "aux_logits": False}),
    ],
    ids=str,
)
def test_the_number_of_classes_is_read_off_the_head(tmp_path, name, arguments):
    check_fits(tmp_path, name, **arguments)


def test_classes_without_names_are_numbers(tmp_path):
    model = get_model("shufflenet_v2_x0_5", num_classes=4)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 4.0]))
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    for labels, expected in ((None, ["class 1", "class 3"]), (tmp_path / "labels.txt", ["b", "d"])):
        (found,) = predict(
            "shufflenet_v2_x0_5",
            tmp_path / "x.png",
            checkpoint=tmp_path / "mine.pth",
            labels=labels,
            options={"topk": 2},
            device="cpu",
        )
        assert [entry["label"] for entry in found.record()["labels"]] == expected
