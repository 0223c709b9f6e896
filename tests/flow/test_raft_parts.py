"""RAFT in parts: hooks on them, a user's own in their place, in the forms that torchvision has them."""

import pytest
import torch
from torch import nn

from flow.small_raft import pictures, small
from support import reference
from zoo_flow import RAFT, raft_large, raft_small
from zoo_flow.correlation import CorrBlock
from zoo_flow.raft import (
    BottleneckBlock,
    FeatureEncoder,
    FlowHead,
    MotionEncoder,
    RecurrentBlock,
    ResidualBlock,
    UpdateBlock,
)


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_hooks_see_every_call_of_a_gate(build):
    model = build().eval()
    images = pictures()
    with torch.inference_mode():
        expected = model(*images, num_flow_updates=3)
        calls = []
        unit = model.update_block.recurrent_block.convgru1
        hooks = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in (unit.convz, unit.convr, unit)]
        watched = model(*images, num_flow_updates=3)
        assert len(calls) == 3 * 3
        for hook in hooks:
            hook.remove()
        context = []
        model.update_block.register_forward_pre_hook(lambda _, inputs: context.append(inputs[1]))
        model(*images, num_flow_updates=2)
    assert all(isinstance(given, torch.Tensor) for given in context)
    for a, b in zip(watched, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * b.abs().max().item())


class Pyramid(nn.Module):
    """A correlation block that keeps what it is given, as torchvision's do."""

    def __init__(self, block):
        super().__init__()
        self.block, self.out_channels = block, block.out_channels

    def build_pyramid(self, fmap1, fmap2):
        self.kept = self.block(fmap1, fmap2)

    def index_pyramid(self, centroids_coords):
        return self.kept(centroids_coords)


def test_a_correlation_block_of_torchvisions_form():
    model = small()
    with torch.inference_mode():
        expected = model(*pictures(), num_flow_updates=2)[-1]
        model.corr_block = Pyramid(model.corr_block)
        torch.testing.assert_close(model(*pictures(), num_flow_updates=2)[-1], expected, rtol=0, atol=0)


class Doubled(CorrBlock):
    def index_pyramid(self, centroids_coords):
        return 2 * super().index_pyramid(centroids_coords)


def test_ours_in_torchvisions_form():
    model = small()
    fmap1, fmap2, points = torch.rand(3, 1, 8, 16, 17).unbind()
    block = CorrBlock(num_levels=2, radius=1)
    with pytest.raises(RuntimeError, match="build_pyramid"):
        block.index_pyramid(points[:, :2])
    block.build_pyramid(fmap1, fmap2)
    torch.testing.assert_close(block.index_pyramid(points[:, :2]), block(fmap1, fmap2)(points[:, :2]))
    # A subclass's own steps are taken.
    with torch.inference_mode():
        expected = model(*pictures(), num_flow_updates=1)[-1]
        model.corr_block = Doubled(num_levels=4, radius=3)
        assert not torch.allclose(model(*pictures(), num_flow_updates=1)[-1], expected)


def test_a_model_from_parts_as_torchvision_has_them():
    """raft_small, and raft_large but for its sizes, of parts that are called as torchvision's are."""

    def parts(block, layers, context, norm, corr_layers, flow_layers, motion, recurrent, hidden):
        return RAFT(
            feature_encoder=FeatureEncoder(block=block, layers=layers, norm_layer=nn.InstanceNorm2d),
            context_encoder=FeatureEncoder(
                block=block, layers=(*layers[:-1], context + hidden), strides=(2, 1, 2, 2), norm_layer=norm
            ),
            corr_block=CorrBlock(num_levels=4, radius=3),
            update_block=UpdateBlock(
                motion_encoder=MotionEncoder(
                    in_channels_corr=196, corr_layers=corr_layers, flow_layers=flow_layers, out_channels=motion
                ),
                recurrent_block=RecurrentBlock(input_size=motion + context, hidden_size=hidden, **recurrent),
                flow_head=FlowHead(in_channels=hidden, hidden_size=128),
            ),
        )

    one_unit = {"kernel_size": (3, None), "padding": (1, None)}
    model = parts(BottleneckBlock, (32, 32, 64, 96, 128), 64, None, (96,), (64, 32), 82, one_unit, 96)
    model.load_state_dict(small().state_dict())
    with torch.inference_mode():
        for found, expected in zip(model.eval()(*pictures()), small()(*pictures()), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    model = parts(ResidualBlock, (16, 16, 24, 32, 48), 40, nn.BatchNorm2d, (32, 24), (16, 8), 30, {}, 24)
    assert [unit.convz.kernel_size for unit in model.update_block.recurrent_block.children()] == [(1, 5), (5, 1)]
    assert model(*pictures(), num_flow_updates=1)[0].shape == (1, 2, 128, 136)
    with pytest.raises(ValueError, match=r"one entry for each unit, not 1 and 2"):
        RecurrentBlock(input_size=8, hidden_size=8, kernel_size=(3,))


def test_a_projecting_shortcut():
    x = torch.rand(1, 8, 6, 6)
    plain, projecting = (ResidualBlock(8, 8, norm_layer=None, always_project=always) for always in (False, True))
    assert isinstance(plain.downsample, nn.Identity)
    assert projecting.downsample[0].kernel_size == (1, 1)
    assert projecting(x).shape == plain(x).shape


class Gate(nn.Module):
    """A recurrent block that knows nothing of ours but the arguments of the call."""

    hidden_size = 96

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(96 + 64 + 82, 96, 1)

    def forward(self, h, x):
        return torch.tanh(self.conv(torch.cat((h, x), dim=1)))


def test_a_recurrent_block_of_ones_own():
    model = small()
    model.update_block = UpdateBlock(
        motion_encoder=model.update_block.motion_encoder, recurrent_block=Gate(), flow_head=model.update_block.flow_head
    )
    assert model(*pictures(), num_flow_updates=2)[-1].isfinite().all()


def test_first_layers_of_one_channel():
    model = small()
    for encoder in (model.feature_encoder, model.context_encoder):
        encoder.convnormrelu[0] = nn.Conv2d(1, 32, 7, stride=2, padding=3)
    grey = [image[:, :1] for image in pictures()]
    assert model(*grey, num_flow_updates=1)[0].shape == (1, 2, 128, 136)
    with pytest.raises(ValueError, match=r"this RAFT takes .*Tensor\[N, 1, H, W\].*\[1, 3, 128, 136\]"):
        model(*pictures())


def test_images_that_are_no_tensors():
    with pytest.raises(TypeError, match=r"not list.*weights\.transforms\(\)\(image1, image2\)"):
        small()([[0.0]], [[0.0]])


class Scaled(nn.Module):
    """In the place of a layer, which it calls: it has none of its attributes."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return 0.9 * self.layer(x)


@pytest.mark.parametrize("build", [raft_small, raft_large])
def test_own_modules_in_the_place_of_every_convolution(build):
    """What they compute: the same as convolutions with smaller parameters."""
    with reference.no_random_init():
        wrapped, scaled = (reference.fill_parameters(build()).eval() for _ in range(2))
    for path, module in list(wrapped.named_modules()):
        if isinstance(module, nn.Conv2d):
            wrapped.set_submodule(path, Scaled(module))
    for module in scaled.modules():
        if isinstance(module, nn.Conv2d):
            for parameter in module.parameters():
                parameter.data.mul_(0.9)
    with torch.inference_mode():
        ours, expected = (model(*pictures(), num_flow_updates=2)[-1] for model in (wrapped, scaled))
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
