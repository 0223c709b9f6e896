"""Steps of a detector's forward, called one by one or overridden, as scripts and subclasses of torchvision's do."""

import pytest
import torch

from tools.detector_parity import detections_by_steps, losses_by_steps
from zoo_detection import FCOS, SSD, RetinaNet

from . import toy
from .test_validation import assert_same_detections, losses_of_training, toy_samples


@pytest.fixture(params=toy.DETECTORS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(1)
    return toy.DETECTORS[name]().eval()


def test_losses(name, model):
    images, targets = toy_samples(name)
    torch.manual_seed(3)
    losses = losses_by_steps(model, images, targets)
    expected = losses_of_training(model, images, targets, 3)
    assert losses.keys() <= expected.keys()
    for key, loss in losses.items():
        torch.testing.assert_close(loss, expected[key])


@torch.no_grad()
def test_detections(name, model):
    images, _ = toy_samples(name)
    assert_same_detections(detections_by_steps(model, images), model(images))


@torch.no_grad()
def test_proposals_of_one_s_own(name, model):
    if not hasattr(model, "rpn"):
        return
    images, _ = toy_samples(name)
    expected = model(images)
    given = []

    class Proposals(type(model.rpn)):
        def filter_proposals(self, proposals, objectness, image_shapes, num_anchors_per_level):
            given.append((proposals.shape, objectness.shape, image_shapes, num_anchors_per_level))
            return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)

    model.rpn.__class__ = Proposals
    assert_same_detections(model(images), expected)
    ((proposals, objectness, shapes, counts),) = given
    assert proposals == (2, sum(counts), 4)
    assert objectness == (2 * sum(counts), 1)
    assert len(shapes) == 2


@torch.no_grad()
def test_postprocessing_and_losses_of_one_s_own(name, model):
    """With the arguments that torchvision gives."""
    if hasattr(model, "rpn"):
        return
    images, targets = toy_samples(name)
    expected = model(images), losses_of_training(model, images, targets, 0)
    kind = type(model)
    further = {FCOS: 1, SSD: 1, RetinaNet: 0}

    class Own(kind):
        def postprocess_detections(self, head_outputs, anchors, image_shapes):
            return super().postprocess_detections(head_outputs, anchors, image_shapes)

        def compute_loss(self, targets, head_outputs, anchors, *args):
            assert len(args) == further[kind]
            return super().compute_loss(targets, head_outputs, anchors, *args)

    model.__class__ = Own
    assert_same_detections(model.eval()(images), expected[0])
    losses = losses_of_training(model, images, targets, 0)
    assert losses == expected[1]


@torch.no_grad()
def test_outputs_of_one_s_own(name, model):
    images, targets = toy_samples(name)
    model.eager_outputs = lambda losses, detections: (losses, detections)
    losses, detections = model(images)
    assert losses == {}
    assert [set(found) >= {"boxes", "scores", "labels"} for found in detections] == [True, True]
    losses, detections = model.train()(images, targets)
    assert all(isinstance(loss, torch.Tensor) for loss in losses.values())
    assert detections == []
