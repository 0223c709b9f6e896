"""What is particular to SqueezeNet."""

import pytest
import torch

from support import reference
from zoo_classification import SqueezeNet
from zoo_classification.squeezenet import Fire


def test_fire():
    fire = reference.fill_parameters(Fire(5, 2, 3, 4))
    x = reference.image(1, 2, 5, 6, 7)
    y = torch.einsum("nchw,oc->nohw", x, fire.squeeze.weight[:, :, 0, 0]) + fire.squeeze.bias[:, None, None]
    y = y.relu()
    small = torch.einsum("nchw,oc->nohw", y, fire.expand1x1.weight[:, :, 0, 0]) + fire.expand1x1.bias[:, None, None]
    large = torch.nn.functional.conv2d(y, fire.expand3x3.weight, fire.expand3x3.bias, padding=1)
    torch.testing.assert_close(fire(x), torch.cat([small, large], 1).relu())


@pytest.mark.parametrize(("version", "smallest"), [("1_0", 21), ("1_1", 17)])
def test_versions(version, smallest):
    model = SqueezeNet(version, num_classes=3, dropout=0.25).eval()
    assert model.classifier[0].p == 0.25
    assert model(torch.rand(2, 3, smallest, smallest + 9)).shape == (2, 3)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        model(torch.rand(2, 3, smallest - 1, smallest))


def test_unknown_version():
    with pytest.raises(ValueError, match=r"'1_0' and '1_1', not '1\.0'"):
        SqueezeNet("1.0")
