"""Models made with normalisations of somebody's own. Every part in many forms, beside torchvision: `nox -s parity`."""

from functools import partial

import pytest
import torch
from torch import nn

import zoo_classification


class Quiet(nn.BatchNorm2d):
    """Starts with other values than torch's."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.affine:
            nn.init.constant_(self.weight, 0.5)
            nn.init.constant_(self.bias, 0.25)


SMALL = ["efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18"]


@pytest.mark.parametrize("name", SMALL)
def test_every_batch_normalisation_starts_with_scales_of_one(name):
    """As in torchvision, which sets them whatever the class."""
    model = getattr(zoo_classification, name)(norm_layer=Quiet, num_classes=3)
    norms = [module for module in model.modules() if isinstance(module, Quiet)]
    assert len(norms) > 10
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "norm",
    [partial(nn.BatchNorm2d, affine=False), nn.Identity, partial(nn.GroupNorm, 1)],
    ids=["plain", "none", "group"],
)
def test_normalisations_need_no_parameters(name, norm):
    model = getattr(zoo_classification, name)(norm_layer=norm, num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("norm", [partial(nn.BatchNorm2d, affine=False), nn.Identity])
def test_blocks_start_as_the_identity_by_a_scale_only(name, norm):
    with pytest.raises(ValueError, match=r"zero_init_residual=True .* (BatchNorm2d|Identity) has none"):
        getattr(zoo_classification, name)(norm_layer=norm, zero_init_residual=True)
    model = getattr(zoo_classification, name)(norm_layer=Quiet, zero_init_residual=True)
    last = [getattr(block, "bn3", None) or block.bn2 for block in (*model.layer1, *model.layer4)]
    assert all(norm.weight.abs().max() == 0 for norm in last)
    assert model.bn1.weight.min() == 1
