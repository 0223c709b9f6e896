"""What hooks keep stays as they saw it, and backward hooks run, in the families whose sums are in place otherwise."""

import pytest
import torch

from zoo_core import get_model

NAMES = ("mobilenet_v2", "mnasnet0_5", "regnet_y_400mf")


@pytest.fixture(params=NAMES)
def model(request):
    model = get_model(request.param, weights=None).eval()
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


@torch.no_grad()
def test_features_that_hooks_keep(model):
    x = torch.rand(1, 3, 32, 32)
    expected = model(x)
    kept = []
    for module in model.modules():
        module.register_forward_hook(lambda *given: kept.append((given[2], given[2].clone())))
    assert torch.equal(model(x), expected)
    assert all(torch.equal(output, then) for output, then in kept)


def test_backward_hooks(model):
    called = set()
    for path, module in model.named_modules():
        module.register_full_backward_hook(lambda *_, path=path: called.add(path))
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    model(x).sum().backward()
    assert called == {path for path, _ in model.named_modules()}


@torch.no_grad()
def test_features_that_a_graph_gives(model):
    """By torch.fx, where a module's output is a node of its own."""
    graph = torch.fx.symbolic_trace(model)
    assert not [node for node in graph.graph.nodes if "iadd" in str(node.target)]
