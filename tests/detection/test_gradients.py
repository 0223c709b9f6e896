"""Gradients that reach the image, which saliency and adversarial examples are made of; and what hooks see.

Where a gradient is cut on purpose, at the coordinates of regions, finite differences say something else: there
`tools/detector_parity.py` compares with torchvision.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from detection.exported import picture
from detection.test_own_parts import Proposals
from detection.toy import DETECTORS, pictures
from support import reference


def double_detector(name: str) -> nn.Module:
    model = reference.fill_parameters(DETECTORS[name]()).double()
    model.get_submodule("roi_heads" if hasattr(model, "roi_heads") else "").score_thresh = 0.0
    return model


def assert_is_gradient(gradient: Tensor, function: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """Compares with a central difference in a direction."""
    direction = torch.randn(image.shape, dtype=image.dtype, generator=torch.Generator().manual_seed(1))
    step = 1e-6 * direction
    with torch.no_grad():
        difference = (function(image + step) - function(image - step)) / 2e-6
    assert gradient.abs().max() > 0
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-4, atol=1e-6)


def detections(model: nn.Module, image: Tensor) -> Tensor:
    (found,) = model([image])
    assert len(found["boxes"])
    return found["scores"].sum() + found["boxes"].sum() / 64


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "fcos", "ssd"])
def test_gradient_of_detections(name: str) -> None:
    model = double_detector(name)
    if name == "faster_rcnn":
        model.rpn = Proposals()
    image = picture(1, 64, 64).double().requires_grad_()
    (gradient,) = torch.autograd.grad(detections(model, image), image)
    assert_is_gradient(gradient, lambda changed: detections(model, changed), image.detach())


@pytest.mark.parametrize("name", ["retinanet", "fcos", "ssd"])
def test_gradient_of_losses(name: str) -> None:
    model = double_detector(name).train()
    images, targets = pictures()

    def loss(image: Tensor) -> Tensor:
        return sum(model([image, images[1].double()], targets).values())

    image = images[0].double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(image), image)
    assert_is_gradient(gradient, loss, image.detach())


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_every_image(name: str, training: bool) -> None:
    """Also where images are of several sizes, and beside one that takes no gradient."""
    torch.manual_seed(0)
    model = double_detector(name).train(training)
    images, targets = pictures()
    images = [images[0].double().requires_grad_(), images[1].double()[:, :, :60].requires_grad_(), images[1].double()]
    targets = [targets[0], targets[1] | {"masks": targets[1]["masks"][:, :, :60]}, targets[1]]
    if training:
        total = sum(model(images, targets).values())
    else:
        total = sum(value.sum() for found in model(images) for key, value in found.items() if key != "labels")
    for gradient in torch.autograd.grad(total, images[:2]):
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_gradient_of_keypoints_by_heatmaps() -> None:
    """The score is the peak of the enlarged heatmap; the place follows the box."""
    from zoo_detection.keypoints import heatmaps_to_keypoints

    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rois = torch.tensor([[3.0, 4.0, 20.3, 31.7], [0.0, 0.0, 7.5, 9.5]], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(heatmaps_to_keypoints, (maps, rois))


@pytest.mark.parametrize("name", DETECTORS)
def test_hooks_fire_on_every_layer(name: str) -> None:
    model = double_detector(name)
    seen = set()
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList):
            module.register_forward_pre_hook(lambda *_, path=path: seen.add(path))
    model([picture(1, 64, 64).double()])
    assert seen == {path for path, module in model.named_modules() if not isinstance(module, nn.ModuleList)}
