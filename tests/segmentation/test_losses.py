"""Losses of segmentation models, and scores and losses of one pass."""

import pytest
import torch
from torch import nn

import zoo_core
from zoo_segmentation import lraspp_mobilenet_v3_large, scores_and_losses, segmentation_losses


def test_losses_by_hand():
    """Two pixels of two classes; a third one is void."""
    scores = torch.tensor([[[[0.0, 2.0, 5.0]], [[0.0, 0.0, 5.0]]]])
    truths = torch.tensor([[[0, 1, 255]]])
    first, second = torch.log(torch.tensor(2.0)), torch.log1p(torch.tensor(2.0).exp())
    losses = segmentation_losses({"out": scores, "aux": scores}, truths)
    torch.testing.assert_close(losses["out"], (first + second) / 2)
    torch.testing.assert_close(losses["aux"], (first + second) / 4)
    assert segmentation_losses({"out": scores}, torch.full_like(truths, 255))["out"] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_loss_where_no_pixel_counts_is_zero(dtype):
    """Also of scores whose sum overflows in half precision."""
    scores = torch.full((2, 3, 40, 50), 100.0, dtype=dtype, requires_grad=True)
    loss = segmentation_losses({"out": scores}, torch.full((2, 40, 50), 255))["out"]
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(scores.grad, torch.zeros_like(scores))


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_scores_and_losses_of_one_pass(name):
    torch.manual_seed(0)
    aux = {} if "lraspp" in name else {"aux_loss": True}
    model = zoo_core.get_model(name, weights=None, weights_backbone=None, num_classes=4, **aux).train()
    images, truths = torch.rand(2, 3, 48, 64), torch.randint(0, 4, (2, 48, 64))
    truths[0, :8] = 255
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    outputs, losses = scores_and_losses(model, images, truths)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert losses.keys() == outputs.keys()
    assert not any(loss.requires_grad for loss in losses.values())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    of_training = model(images)
    for key, loss in segmentation_losses(of_training, truths).items():
        torch.testing.assert_close(losses[key], loss.detach())
        torch.testing.assert_close(outputs[key], of_training[key].detach())
    _, losses = scores_and_losses(model, images, truths, with_grad=True)
    assert sum(losses.values()).requires_grad


def test_a_class_for_each_pixel():
    model = zoo_core.get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None)
    with pytest.raises(ValueError, match=r"here shape \[1, 32, 32\], not \[1, 16, 32\]"):
        scores_and_losses(model, torch.rand(1, 3, 32, 32), torch.zeros(1, 16, 32, dtype=torch.int64))


@pytest.mark.parametrize(
    ("truths", "error", "message"),
    [
        (torch.full((1, 32, 32), 4), ValueError, "truths has the class 4, and the model has those from 0 to 3; 255"),
        (torch.full((1, 32, 32), -1), ValueError, "truths has the class -1"),
        (torch.zeros(1, 32, 32), TypeError, "truths must be of integers, the class of each pixel, not torch.float32"),
        (torch.ones(1, 32, 32, dtype=torch.bool), TypeError, "not torch.bool"),
    ],
)
def test_truths_that_are_none(truths, error, message):
    model = lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4)
    with pytest.raises(error, match=message):
        scores_and_losses(model, torch.rand(1, 3, 32, 32), truths)
    assert model.training


def test_other_integers_and_other_models():
    model = lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4)
    images, truths = torch.rand(1, 3, 32, 32), torch.full((1, 32, 32), 3)
    truths[0, :4] = 255
    expected = scores_and_losses(model, images, truths)[1]["out"]
    for dtype in (torch.uint8, torch.int32):
        found = scores_and_losses(model, images, truths.to(dtype))[1]["out"]
        assert torch.equal(found, expected)
    with pytest.raises(TypeError, match="Conv2d is no segmentation model"):
        scores_and_losses(torch.nn.Conv2d(3, 4, 1), images, truths)
