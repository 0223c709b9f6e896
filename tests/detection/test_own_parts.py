"""Detectors made of parts of somebody's own: anchors, heads, proposals, pooling, first layers."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo_core
from detection import toy
from detection.toy import DETECTORS, pictures
from zoo_detection import (
    FCOS,
    SSD,
    AnchorGenerator,
    DefaultBoxGenerator,
    FasterRCNN,
    FastRCNNPredictor,
    ImageList,
    MultiScaleRoIAlign,
    RetinaNet,
    RetinaNetHead,
    RPNHead,
    TwoMLPHead,
)

DIFFERING = AnchorGenerator(((16, 32), (32,)), ((1.0,), (1.0,)))


class TwoMaps(toy.Backbone):
    """Feature maps at an eighth and a sixteenth of the size."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.body(x)
        return {"0": fine, "1": F.max_pool2d(fine, 2)}


def runs(model: nn.Module) -> None:
    """It learns, and detects something."""
    images, targets = pictures()
    losses = model.train()(images, targets)
    assert all(loss.isfinite() for loss in losses.values())
    with torch.inference_mode():
        found = model.eval()(images)
    assert sum(len(image["boxes"]) for image in found)


class Grid(nn.Module):
    """A square around each place; knows nothing of torchvision's or our generators."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        anchors = []
        for feature_map in feature_maps:
            height, width = feature_map.shape[-2:]
            stride = image_list.tensors.shape[-1] // width
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            centre = (torch.stack((x, y, x, y), -1).reshape(-1, 4) + 0.5) * stride
            anchors.append(centre + stride * torch.tensor([-1.5, -1.5, 1.5, 1.5]))
        return [torch.cat(anchors)] * len(image_list)


class CountedGrid(Grid):
    def num_anchors_per_location(self) -> list[int]:
        return [1]


def test_own_anchor_generators() -> None:
    torch.manual_seed(0)
    size = {"min_size": 64, "max_size": 64}
    runs(RetinaNet(toy.Backbone(), 3, **size, anchor_generator=CountedGrid(), score_thresh=0.0))
    runs(RetinaNet(toy.Backbone(), 3, **size, anchor_generator=Grid(), head=RetinaNetHead(32, 1, 3), score_thresh=0.0))
    runs(FCOS(toy.Backbone(), 3, **size, anchor_generator=CountedGrid(), score_thresh=0.0))
    runs(FasterRCNN(**toy.two_stage_parts() | {"rpn_anchor_generator": CountedGrid()}, box_score_thresh=0.0))
    backbone = toy.Backbone()
    backbone.out_channels = [32]
    runs(SSD(backbone, CountedGrid(), (64, 64), 3))


@pytest.mark.parametrize("detector", [RetinaNet, FCOS])
def test_what_generates_no_anchors(detector: type[nn.Module]) -> None:
    with pytest.raises(TypeError, match=r"num_anchors_per_location\(\).*Identity is neither"):
        detector(toy.Backbone(), 3, anchor_generator=nn.Identity())


def test_a_shared_head_takes_one_number_of_anchors() -> None:
    message = r"one number of anchors for all feature maps, but the anchor generator makes \[2, 1\]"
    with pytest.raises(ValueError, match=message):
        RetinaNet(TwoMaps(), 3, anchor_generator=DIFFERING)
    with pytest.raises(ValueError, match=message):
        FasterRCNN(**toy.two_stage_parts() | {"rpn_anchor_generator": DIFFERING})
    with pytest.raises(ValueError, match=message):
        FCOS(TwoMaps(), 3, anchor_generator=DIFFERING)
    with pytest.raises(ValueError, match=r"makes \[2, 1, 1, 1, 1\]"):
        zoo_core.get_model(
            "retinanet_resnet50_fpn_v2",
            weights=None,
            weights_backbone=None,
            anchor_generator=AnchorGenerator(((8, 16), (32,), (64,), (128,), (256,)), ((1.0,),) * 5),
        )


@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn"])
@pytest.mark.parametrize("training", [True, False])
def test_a_generator_that_does_not_fit_the_head(name: str, training: bool) -> None:
    model = DETECTORS[name]().train(training)
    other = AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))
    if name == "retinanet":
        model.anchor_generator = other
    else:
        model.rpn.anchor_generator = other
    with pytest.raises(ValueError, match=r"predicts for 384 anchors of an image, but the anchor generator makes 576"):
        model(*pictures())


class HeadOfEachMap(nn.Module):
    """An RPN head with as many anchors on each map as it is told."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(RPNHead(32, count) for count in counts)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        outputs = [head([feature]) for head, feature in zip(self.heads, x, strict=True)]
        return [logits[0] for logits, _ in outputs], [offsets[0] for _, offsets in outputs]


class RetinaHeadOfEachMap(nn.Module):
    def __init__(self, counts: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(RetinaNetHead(32, count, 3) for count in counts)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        outputs = [head([feature]) for head, feature in zip(self.heads, x, strict=True)]
        return {key: torch.cat([output[key] for output in outputs], 1) for key in outputs[0]}

    def compute_loss(self, *args: object) -> dict[str, Tensor]:
        return self.heads[0].compute_loss(*args)


def test_own_heads_may_take_other_numbers_on_each_map() -> None:
    torch.manual_seed(0)
    parts = {"backbone": TwoMaps(), "rpn_anchor_generator": DIFFERING, "rpn_head": HeadOfEachMap([2, 1])}
    runs(FasterRCNN(**toy.two_stage_parts() | parts, box_score_thresh=0.0))
    size = {"min_size": 64, "max_size": 64}
    head = RetinaHeadOfEachMap([2, 1])
    runs(RetinaNet(TwoMaps(), 3, **size, anchor_generator=DIFFERING, head=head, score_thresh=0.0))


class Proposals(nn.Module):
    """Proposes the same regions in every image, and learns nothing."""

    regions = torch.tensor([[5.0, 5, 40, 40], [20, 20, 60, 60], [0, 0, 63, 63]])

    def forward(
        self, images: ImageList, features: Mapping[str, Tensor], targets: object = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        return [self.regions.to(images.tensors.dtype)] * len(images), {}


class Corner(nn.Module):
    """Pools whatever the region: one value a channel."""

    def forward(self, x: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        return torch.cat([x["0"][i, :, :1, :1].expand(len(b), -1, -1, -1) for i, b in enumerate(boxes)])


def test_own_proposals_pooling_and_heads() -> None:
    torch.manual_seed(0)
    parts = {"box_roi_pool": Corner(), "box_head": nn.Flatten(), "box_predictor": FastRCNNPredictor(32, 3)}
    model = FasterRCNN(**toy.two_stage_parts() | parts, box_score_thresh=0.0)
    model.rpn = Proposals()
    runs(model)


def test_parts_that_are_empty_sequences_are_kept() -> None:
    """``nn.Sequential()`` is false to Python."""
    head = nn.Sequential()
    model = FasterRCNN(**toy.two_stage_parts() | {"box_head": head})
    assert model.roi_heads.box_head is head


def test_pool_of_one_number() -> None:
    pool = MultiScaleRoIAlign(["0"], 5, 2)
    pool.output_size = 5  # type: ignore[assignment]
    parts = toy.two_stage_parts() | {"box_roi_pool": pool, "box_head": None, "box_predictor": None, "num_classes": 3}
    model = FasterRCNN(**parts)
    assert isinstance(model.roi_heads.box_head, TwoMLPHead)
    assert model.roi_heads.box_head.fc6.in_features == 32 * 25


def test_backbone_that_gives_a_list() -> None:
    class Listing(toy.Backbone):
        def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
            return [self.body(x)]

    model = RetinaNet(Listing(), 3, anchor_generator=AnchorGenerator(((16,),), ((1.0,),))).eval()
    with pytest.raises(TypeError, match="a dict of them by name, not list"):
        model(pictures()[0])


def test_own_anchors_around_a_place() -> None:
    class Halves(AnchorGenerator):
        def generate_anchors(self, scales, aspect_ratios, dtype=torch.float32, device="cpu"):
            return super().generate_anchors(scales, aspect_ratios, dtype, device) / 2

    generator = Halves(((8,),), ((1.0,),))
    batch = ImageList(torch.zeros(1, 3, 8, 8), [(8, 8)])
    assert generator(batch, [torch.zeros(1, 1, 1, 1)])[0].tolist() == [[-2.0, -2.0, 2.0, 2.0]]
    generator.cell_anchors = [torch.tensor([[-1.0, -3.0, 1.0, 3.0]])]
    assert generator(batch, [torch.zeros(1, 1, 1, 1)])[0].tolist() == [[-1.0, -3.0, 1.0, 3.0]]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ssdlite320_mobilenet_v3_large", "backbone.features.0.0.0"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "backbone.body.0.0"),
    ],
)
@pytest.mark.parametrize("channels", [1, 4])
def test_replaced_first_layer(name: str, path: str, channels: int) -> None:
    statistics = {"image_mean": [0.5] * channels, "image_std": [0.5] * channels}
    model = zoo_core.get_model(name, weights=None, weights_backbone=None, num_classes=3, **statistics)
    old = model.get_submodule(path)
    model.set_submodule(path, nn.Conv2d(channels, old.out_channels, 3, 2, 1, bias=False))
    images, targets = [torch.rand(channels, 64, 64) for _ in range(2)], pictures()[1]
    assert all(loss.isfinite() for loss in model.train()(images, targets).values())
    with torch.inference_mode():
        assert len(model.eval()(images)) == 2
        if channels == 4:
            with pytest.raises(ValueError, match="4 channels, as image_mean has, not 3"):
                model([torch.rand(3, 64, 64)])


def test_channels_of_a_backbone_that_has_to_be_run() -> None:
    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 8, 1), nn.BatchNorm2d(8), nn.Dropout())
            self.body[1].eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    backbone = Grey()
    model = SSD(backbone, DefaultBoxGenerator([[2]], scales=[0.25, 0.5]), (64, 64), 3, [0.5], [0.5])
    assert model.head.classification_head.module_list[0].in_channels == 8
    assert [module.training for module in backbone.body] == [True, False, True]


def test_one_mean_for_all_channels() -> None:
    image = torch.rand(3, 64, 64)
    backbone = toy.Backbone()
    backbone.out_channels = [32]
    boxes = DefaultBoxGenerator([[2]], scales=[0.25, 0.5])
    one, three = (SSD(backbone, boxes, (64, 64), 3, [0.4] * count, [0.2] * count) for count in (1, 3))
    assert torch.equal(one.transform([image])[0].tensors, three.transform([image])[0].tensors)


def test_batch_normalisation_of_one_image() -> None:
    model = zoo_core.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3)
    images, targets = pictures()
    with pytest.raises(ValueError, match=r"1 image of 320x320 pixels.*single value of each channel.*two images"):
        model.train()(images[:1], targets[:1])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert all(loss.isfinite() for loss in model(images[:1], targets[:1]).values())


def test_images_of_another_dtype_than_the_backbone() -> None:
    """NumPy's images are of double precision where nobody asked for less."""
    with pytest.raises(RuntimeError, match=r"computes in torch\.float32, .*not torch\.float64; .*batch\.to"):
        DETECTORS["fcos"]().eval()([torch.rand(3, 64, 64).double()])
