"""What torch.fx records of functions and modules, and who watches a module."""

import pytest
import torch
from torch import nn

from zoo_core.attention import join_heads, pad_to
from zoo_core.tracing import added, is_plain, is_recorded, is_watched


def test_a_function_that_asks_for_sizes_is_one_node():
    def padded(x):
        return pad_to(x, (x.shape[1] + 1, 4)) * 2

    graph = torch.fx.symbolic_trace(padded)
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"].count(pad_to) == 1
    for shape in ((1, 2, 3, 5), (2, 4, 4, 1)):
        x = torch.rand(shape)
        assert torch.equal(graph(x), padded(x))


def test_nothing_is_asked_while_a_program_is_recorded():
    seen = []

    def look(x):
        seen.append(is_recorded(x))
        return x * 2

    look(torch.ones(1))
    torch.fx.symbolic_trace(look)
    torch.jit.trace(look, torch.ones(1), check_trace=False)
    torch.export.export(Call(look), (torch.ones(1),), strict=False)
    assert seen == [False, True, True, True]


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


WATCH = {
    "forward": lambda module: module.register_forward_hook(lambda *_: None),
    "before": lambda module: module.register_forward_pre_hook(lambda *_: None),
    "backward": lambda module: module.register_full_backward_hook(lambda *_: None),
    "before backward": lambda module: module.register_full_backward_pre_hook(lambda *_: None),
    "all forward": lambda _: nn.modules.module.register_module_forward_hook(lambda *_: None),
    "all before": lambda _: nn.modules.module.register_module_forward_pre_hook(lambda *_: None),
}


@pytest.mark.parametrize("how", WATCH)
def test_watched_while_a_hook_is_there(how):
    module = nn.Linear(2, 2)
    assert is_plain(module, nn.Linear)
    hook = WATCH[how](module)
    try:
        assert is_watched(module)
        assert not is_plain(module, nn.Linear)
    finally:
        hook.remove()
    assert is_plain(module, nn.Linear)


def test_what_computes_otherwise_is_not_plain():
    class Mine(nn.Linear):
        pass

    assert not is_plain(Mine(2, 2), nn.Linear)
    assert not is_plain(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear)
    module = nn.Linear(2, 2)
    module.forward = lambda x: x
    assert not is_plain(module, nn.Linear)


def test_heads_become_channels():
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    joined = join_heads(x)
    assert joined.shape == (2, 4, 15)
    assert torch.equal(joined[1, 2, 5:10], x[1, 1, 2])


@pytest.mark.parametrize("watched", [None, "", "1", "0"])
def test_a_sum_takes_no_memory_that_somebody_may_have_kept(watched):
    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Identity())
    kept = []
    if watched is not None:
        module.get_submodule(watched).register_forward_hook(lambda *given: kept.append((given[2], given[2].clone())))
    x = torch.rand(1, 2, 3, 3)
    with torch.no_grad():
        result = module(x)
        expected = result + x
        total = added(result, x, module)
    assert torch.equal(total, expected)
    # Of a layer before the last, the result is another.
    assert (total is result) == (watched in (None, "0"))
    for given, then in kept if watched != "0" else []:
        assert torch.equal(given, then)
