"""Detections and losses of one pass: those of eval mode, and those of training mode."""

import pytest
import torch
from torch import nn

import zoo_core
from zoo_detection import detections_and_losses

from . import toy

# With batch normalisation in the backbone, the pyramid and the heads, and with dropout nowhere.
REAL = {
    "fasterrcnn_resnet50_fpn_v2": {"min_size": 64, "max_size": 96},
    "ssdlite320_mobilenet_v3_large": {},
}


def toy_samples(name):
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 64, 64, generator=generator), torch.rand(3, 48, 64, generator=generator)]
    boxes = [torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 10.0, 50.0, 44.0]]), torch.zeros(0, 4)]
    labels = [torch.tensor([1, 2]), torch.zeros(0, dtype=torch.int64)]
    targets = [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]
    for image, target in zip(images, targets, strict=True):
        count = len(target["boxes"])
        if name == "mask_rcnn":
            target["masks"] = (torch.rand(count, *image.shape[1:], generator=generator) > 0.5).to(torch.uint8)
        if name == "keypoint_rcnn":
            xy = torch.rand(count, 4, 2, generator=generator) * 40
            target["keypoints"] = torch.cat((xy, torch.ones(count, 4, 1)), 2)
    return images, targets


def losses_of_training(model, images, targets, seed):
    """With the statistics left alone, after a seed."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout):
            module.eval()
    torch.manual_seed(seed)
    return model(images, targets)


def assert_same_detections(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("name", toy.DETECTORS)
def test_both_are_those_of_their_mode(name, seed):
    torch.manual_seed(1)
    model = toy.DETECTORS[name]()
    images, targets = toy_samples(name)
    found, losses = detections_and_losses(model, images, targets, seed=seed)
    expected = losses_of_training(model, images, targets, seed)
    assert losses.keys() == expected.keys()
    for key, loss in losses.items():
        assert torch.equal(loss, expected[key].detach()), key
        assert not loss.requires_grad
    with torch.no_grad():
        assert_same_detections(found, model.eval()(images))


@pytest.mark.parametrize("name", REAL)
def test_nothing_changes(name):
    """Neither parameters nor statistics, nor modes, nor the state of the generators."""
    torch.manual_seed(1)
    model = zoo_core.get_model(name, weights=None, weights_backbone=None, num_classes=3, **REAL[name])
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    images, targets = toy_samples(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    found, losses = detections_and_losses(model, images, targets)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    expected = losses_of_training(model, images, targets, 0)
    torch.testing.assert_close(losses, {key: loss.detach() for key, loss in expected.items()})
    with torch.no_grad():
        assert_same_detections(found, model.eval()(images))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_on_request():
    model = toy.faster_rcnn()
    _, losses = detections_and_losses(model, *toy_samples("faster_rcnn"), with_grad=True)
    sum(losses.values()).backward()
    assert model.backbone.body[0].weight.grad.abs().sum() > 0


def test_modes_come_back_after_an_error():
    model = toy.retinanet().train()
    images, targets = toy_samples("retinanet")
    targets[0]["labels"] = torch.tensor([1, 9])
    with pytest.raises(ValueError, match="the label of box 1"):
        detections_and_losses(model, images, targets)
    assert all(module.training for module in model.modules())


def test_what_cannot_be_taken_apart():
    with pytest.raises(TypeError, match="expected a detector of zoo_detection, not Linear"):
        detections_and_losses(nn.Linear(1, 1), [torch.rand(3, 8, 8)], [])
    model = toy.faster_rcnn()
    model.rpn = nn.Identity()
    images, targets = toy_samples("faster_rcnn")
    with pytest.raises(TypeError, match="Identity in the place of its RegionProposalNetwork"):
        detections_and_losses(model, images, targets)
    with pytest.raises(ValueError, match="one target per image"):
        detections_and_losses(toy.faster_rcnn(), images, targets[:1])
