"""The order in memory of what goes through a detector, which parts of somebody's own must not have to know."""

import pytest
import torch
from torch import Tensor, nn

import zoo_core
from support import reference
from zoo_core.memory_format import channels_last
from zoo_detection import AnchorGenerator, FasterRCNN, FastRCNNPredictor, MultiScaleRoIAlign

from . import toy


@pytest.mark.parametrize(
    "name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"]
)
def test_our_backbones_give_channels_last(name: str) -> None:
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights=None, weights_backbone=None)
    backbone = reference.fill_parameters(model).backbone
    with torch.inference_mode():
        features = backbone(reference.image(1, 1, 3, 320, 320))
    maps = [feature for feature in features.values() if feature.shape[-1] > 1]
    assert maps
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in maps)


class Flattening(nn.Module):
    """A box head that flattens its features by ``view``, as heads written for torchvision may."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(32 * 25, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.view(x.size(0), -1)).relu()


class ChannelsLastBackbone(toy.Backbone):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(channels_last(x))


def test_a_box_head_may_view() -> None:
    outputs = []
    for backbone in (ChannelsLastBackbone, toy.Backbone):
        torch.manual_seed(0)
        parts = toy.two_stage_parts() | {"backbone": backbone(), "box_head": Flattening()}
        model = FasterRCNN(**parts, box_score_thresh=0.0).eval()
        with torch.inference_mode():
            outputs.append(model([reference.image(1, 3, 64, 64)])[0])
    assert len(outputs[0]["boxes"])
    torch.testing.assert_close(outputs[0]["boxes"], outputs[1]["boxes"], rtol=1e-3, atol=1e-2)


class Viewing(toy.Backbone):
    """A backbone that views its input and features."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), 3, -1).view(x.shape)
        features = super().forward(x)
        return features.view(features.size(0), features.size(1), -1).view(features.shape)


def test_a_backbone_may_view() -> None:
    model = FasterRCNN(
        Viewing(),
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
        box_head=Flattening(),
        box_predictor=FastRCNNPredictor(64, 3),
    ).eval()
    with torch.inference_mode():
        (detections,) = model([reference.image(1, 3, 64, 64)])
    assert detections["boxes"].shape[1] == 4
