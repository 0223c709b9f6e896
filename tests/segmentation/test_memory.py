"""What the models hold in memory, and in which order."""

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


@pytest.mark.parametrize("name", reference.model_names("segmentation"))
def test_features_have_channels_last_and_scores_do_not(name):
    """Whatever the order of the input: callers `view` the scores, as they did torchvision's."""
    with reference.no_random_init():
        model = zoo_core.get_model(name, weights_backbone=None)
    reference.fill_parameters(model)
    seen = []

    def note(module, inputs, output):
        if inputs[0].shape[1] > 1 and inputs[0].shape[-1] > 1:
            seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    x = reference.image(1, 2, 3, 64, 96)
    with torch.inference_mode():
        outputs = [model(x)["out"], model(x.contiguous(memory_format=torch.channels_last))["out"]]
    assert seen
    assert all(seen)
    assert all(scores.is_contiguous() for scores in outputs)
    assert torch.equal(*outputs)
