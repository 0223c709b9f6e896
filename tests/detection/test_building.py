"""What the builders of all detectors have in common."""

import ast
from pathlib import Path

import pytest
import torch

import zoo_detection
from zoo_detection.building import RegionBatchNorm2d


def test_normalisation_of_no_regions():
    """It leaves the statistics as they are, and gradients defined."""
    norm = RegionBatchNorm2d(4).train()
    empty = torch.zeros(0, 4, 2, 2, requires_grad=True)
    norm(empty).sum().backward()
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.weight.grad, torch.zeros(4))
    reference_norm, x = torch.nn.BatchNorm2d(4), torch.rand(3, 4, 2, 2)
    for _ in range(2):
        torch.testing.assert_close(norm(x), reference_norm(x))
    torch.testing.assert_close(norm.eval()(x), reference_norm.eval()(x))


FAMILIES = {"fcos", "faster_rcnn", "keypoint_rcnn", "mask_rcnn", "retinanet", "ssd", "ssdlite"}
EXTENDS = {"mask_rcnn": {"faster_rcnn"}, "keypoint_rcnn": {"faster_rcnn"}, "ssdlite": {"ssd"}}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_stand_side_by_side(family):
    """What they share is below them; a family knows another only where its model is one of the other's."""
    tree = ast.parse((Path(zoo_detection.__file__).parent / f"{family}.py").read_text())
    imported = {node.module.rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported & FAMILIES == EXTENDS.get(family, set())
