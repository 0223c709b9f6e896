"""Models on any classifier: one step of training lowers the loss, and they export."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from support import recording, reference
from tools.backbone_tables import detection_loss, one_step, segmentation_loss

__all__ = ["check_detector", "check_segmentation", "classifier"]


def classifier(name: str) -> nn.Module:
    """A classifier with parameters as they are at first, small where its size can be."""
    torch.manual_seed(0)
    import zoo_core

    return zoo_core.get_model(name, **recording.SMALL_ARGUMENTS.get(name, {}))


def check_detector(build: Callable[..., nn.Module], name: str, *, export: bool = True) -> nn.Module:
    model: Any = build(classifier(name), num_classes=3, min_size=96, max_size=128, trainable_backbone_layers=2)
    before, after = one_step(model, detection_loss)
    assert after < before
    model.eval()
    images = [reference.image(1, 3, 96, 96)]
    with torch.no_grad():
        expected = model(images)
        assert set(expected[0]) == {"boxes", "labels", "scores"}
        if export:
            program = torch.export.export(model, (images,))
            assert_same(program.module()(images)[0], expected[0])
    return model


def check_segmentation(build: Callable[..., nn.Module], name: str) -> nn.Module:
    torch.manual_seed(0)
    model: Any = build(classifier(name), num_classes=3, aux_loss=True)
    size = model.backbone.body.input_size or (64, 64)
    before, after = one_step(model, lambda m: segmentation_loss(m, size))
    assert after < before
    model.eval()
    x = reference.image(1, 2, 3, *size)
    with torch.no_grad():
        expected = model(x)["out"]
        assert expected.shape == (2, 3, *size)
        program = torch.export.export(model, (x,))
        torch.testing.assert_close(program.module()(x)["out"], expected, rtol=1e-4, atol=1e-4)
    return model


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-3)
