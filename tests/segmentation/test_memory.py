"""The final upsampling holds the full-size scores once."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import zoo_core
from support import reference


class FullSizeTensors(TorchDispatchMode):
    """Counts how many floating tensors of at least so many elements are alive at a time; views count once."""

    def __init__(self, elements):
        super().__init__()
        self.elements = elements
        self.seen = []
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel() >= self.elements:
                self.seen.append(weakref.ref(tensor))
        alive = {tensor.data_ptr() for reference in self.seen if (tensor := reference()) is not None}
        self.most = max(self.most, len(alive))
        return result


def test_the_count_sees_copies():
    with FullSizeTensors(1000) as tensors:
        first = torch.zeros(1000)
        second = first.view(10, 100)
        del first
        third = second + 1
        del second, third
        torch.zeros(999)
        torch.zeros(1000)
    assert tensors.most == 2


@pytest.mark.parametrize("name", reference.model_names("segmentation"))
def test_full_size_scores_are_held_once(name):
    # So many classes that no features are as large.
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None, num_classes=300).eval()
    x = torch.zeros(1, 3, 64, 96)
    with torch.no_grad(), FullSizeTensors(300 * 64 * 96) as tensors:
        out = model(x)["out"]
    assert out.shape == (1, 300, 64, 96)
    assert tensors.most == 1
