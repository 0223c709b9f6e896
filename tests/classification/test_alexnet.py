"""What is particular to AlexNet."""

import pytest
import torch
from torch import nn

from zoo_classification import AlexNet


def test_pools_any_size_to_six_by_six():
    model = AlexNet(num_classes=3, dropout=0.25).eval()
    assert [layer.p for layer in model.classifier if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    # 224 -> 55 -> 27 -> 13 -> 6 in the paper's figure 2, with the padding of this form
    assert model.features(torch.rand(1, 3, 224, 224)).shape == (1, 256, 6, 6)
    assert model(torch.rand(2, 3, 63, 100)).shape == (2, 3)
    with pytest.raises(ValueError, match="at least 63x63"):
        model(torch.rand(2, 3, 100, 62))
