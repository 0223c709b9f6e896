"""The check of input images: what it refuses, what it says, and that it leaves dynamic shapes dynamic."""

import pytest
import torch
from PIL import Image
from torch import nn

import zoo_core
from zoo_classification import resnet18
from zoo_classification.inputs import check_image
from zoo_core.builders import without_storage


@pytest.mark.parametrize(
    ("shape", "limits", "words"),
    [
        ((3, 32, 32), {}, ["Net", r"\[3, 32, 32\]", "unsqueeze"]),
        ((1, 2, 3, 32, 32), {}, [r"\[1, 2, 3, 32, 32\]"]),
        ((1, 3, 74, 75), {"min_size": (75, 75)}, ["at least 75x75", "74x75"]),
        ((1, 3, 75, 74), {"min_size": (75, 75)}, ["at least 75x75", "75x74"]),
        ((1, 3, 224, 225), {"size": (224, 224)}, ["of 224x224", "224x225"]),
        ((1, 3, 64, 33), {"multiple_of": 32}, ["multiples of 32", "64x33"]),
    ],
)
def test_refuses_and_says_what_it_takes(shape, limits, words):
    for word in words:
        with pytest.raises(ValueError, match=word):
            check_image(torch.rand(shape), model="Net", **limits)


@pytest.mark.parametrize("limits", [{}, {"min_size": (32, 64)}, {"size": (32, 64)}, {"multiple_of": 16}])
def test_accepts(limits):
    check_image(torch.rand(0, 1, 32, 64, dtype=torch.bfloat16), model="Net", **limits)


def test_refuses_integers():
    with pytest.raises(TypeError, match=r"floating dtype, not torch\.uint8.*transforms"):
        check_image(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), model="Net")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        check_image(x, model="Net", min_size=(8, 8), multiple_of=2)
        return self.conv(x).mean((2, 3))


def test_dynamic_shapes_stay_dynamic():
    net, x = Net().eval(), torch.rand(2, 3, 16, 24)
    dims = {0: torch.export.Dim("N"), 2: torch.export.Dim("H", min=4), 3: torch.export.Dim("W", min=4)}
    for strict in (False, True):
        exported = torch.export.export(net, (x,), dynamic_shapes=(dims,), strict=strict).module()
        other = torch.rand(3, 3, 7, 19)
        torch.testing.assert_close(exported(other), net.conv(other).mean((2, 3)))

    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(other), net.conv(other).mean((2, 3)))

    traced = torch.fx.symbolic_trace(net)
    torch.testing.assert_close(traced(x), net(x))


def test_images_that_are_no_tensors():
    image = Image.new("RGB", (8, 8))
    with pytest.raises(
        TypeError, match=r"Net takes .*Tensor\[N, C, H, W\], not PIL\.Image\.Image.*transforms\(\)"
    ) as error:
        check_image(image, model="Net")
    assert "numpy.array(image)" in str(error.value)
    with pytest.raises(TypeError, match="ResNet takes a batch of images"):
        resnet18()(image)


# Of one builder of each family, the least size that it takes and that leaves a single value of each channel.
SMALLEST = {
    "densenet121": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 32, "inception_v3": 299, "mnasnet0_5": 32,
    "mobilenet_v2": 32, "mobilenet_v3_small": 32, "regnet_y_400mf": 32, "resnet18": 32, "shufflenet_v2_x0_5": 32,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_one_image_too_small_to_train_on(name):
    side = SMALLEST[name]
    with without_storage():
        model = zoo_core.get_model(name).train()
    words = rf"cannot be trained on a batch of 1 image of {side}x{side} pixels: .*give more or larger images"
    with pytest.raises(ValueError, match=words):
        model(torch.empty(1, 3, side, side, device="meta"))
    assert model(torch.empty(2, 3, side, side, device="meta")) is not None


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_images_of_another_order_or_dtype(name):
    model = zoo_core.get_model(name).eval()
    with pytest.raises((RuntimeError, ValueError), match=r"takes images of .*permute\(0, 3, 1, 2\)"):
        model(torch.rand(1, 64, 64, 3))
    with pytest.raises(RuntimeError, match=r"computes in torch\.float32, .*not torch\.float64"):
        model(torch.rand(1, 3, 64, 64).double())
