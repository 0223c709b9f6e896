"""Training: the auxiliary loss, gradients everywhere, and batches that cannot be trained on."""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo_core
from support import reference

NAMES = reference.model_names("segmentation")


def model_to_train(name, num_classes=5, **kwargs):
    if "lraspp" not in name:
        kwargs.setdefault("aux_loss", True)
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None, num_classes=num_classes, **kwargs)
    return reference.fill_parameters(model).train()


def loss_of(model, x, target):
    """The paper's loss of the main output, and that of the auxiliary one at half the weight."""
    torch.manual_seed(0)  # the same dropout each time
    outputs = model(x)
    weights = {"out": 1.0, "aux": 0.5}
    return sum(weights[key] * F.cross_entropy(scores, target, ignore_index=255) for key, scores in outputs.items())


@pytest.mark.parametrize("name", NAMES)
def test_one_step_lowers_the_loss(name):
    """Gradients reach every parameter, and a small step against them does what calculus says."""
    model = model_to_train(name)
    x = reference.image(1, 2, 3, 65, 97)
    target = torch.randint(0, 5, (2, 65, 97), generator=torch.Generator().manual_seed(2))
    target[:, :9] = 255

    before = loss_of(model, x, target)
    before.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key
    with torch.no_grad():
        squared = sum(float(p.grad.square().sum()) for p in model.parameters())
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=0.02 * before.item() / squared)
            parameter.grad = None
        assert loss_of(model, x, target).item() < before.item()
    del model
    gc.collect()


def test_the_auxiliary_loss_trains_the_stages_below_it_only():
    model = model_to_train("fcn_resnet50")
    x = reference.image(1, 2, 3, 48, 40)
    model(x)["aux"].square().mean().backward()
    reached = {
        key.split(".")[1 if key.startswith("backbone") else 0]
        for key, p in model.named_parameters()
        if p.grad is not None
    }
    assert reached == {"conv1", "bn1", "layer1", "layer2", "layer3", "aux_classifier"}


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_one_image_is_a_batch_to_train_on(name):
    outputs = model_to_train(name)(reference.image(1, 1, 3, 71, 49))
    sum(scores.square().mean() for scores in outputs.values()).backward()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_too_small_to_train_on(name):
    model = model_to_train(name)
    with pytest.raises(ValueError, match=r"batch of 1 of 7x5 pixels is too small to train on"):
        model(reference.image(1, 1, 3, 7, 5))
    if "deeplab" in name:
        with pytest.raises(ValueError, match="at least two images"):
            model(reference.image(1, 1, 3, 71, 49))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        model(reference.image(1, 1, 3, 71, 49))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_compile_for_training_without_graph_breaks(name):
    model = model_to_train(name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = reference.image(1, 2, 3, 48, 40)
    ours, expected = compiled(x), model(x)
    for key in expected:
        torch.testing.assert_close(ours[key], expected[key], rtol=1e-3, atol=1e-4)
    ours["out"].square().mean().backward()
