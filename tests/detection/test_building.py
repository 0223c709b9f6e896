"""What the builders of all detectors have in common."""

import torch

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
