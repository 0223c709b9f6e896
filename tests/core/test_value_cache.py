"""What is kept between calls is used where all that it depends on is the same, and nowhere else."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo_core.value_cache import ValueCache


class Doubling(nn.Module):
    """Keeps twice its parameter, and counts how often it computes that."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(*shape))
        self.cache = ValueCache()
        self.computed = 0

    def double(self):
        self.computed += 1
        return self.weight * 2

    def forward(self):
        return self.cache.get(self.double, [self.weight], training=self.training)


@pytest.fixture
def doubling():
    return Doubling(3, 4).eval()


def check(module, times):
    """Its results are right, after so many computations in all."""
    with torch.no_grad():
        assert torch.equal(module(), module.weight * 2)
    assert module.computed == times


def test_cache_computes_once(doubling):
    for _ in range(3):
        check(doubling, 1)
    with torch.inference_mode():
        assert torch.equal(doubling(), doubling.weight * 2)
    assert doubling.computed == 1


def test_cache_sees_every_change(doubling):
    check(doubling, 1)
    with torch.no_grad():
        doubling.weight.add_(1)
    check(doubling, 2)
    doubling.weight.data[0, 0] = 7  # leaves no trace in the tensor's version
    check(doubling, 3)
    doubling.weight.data = torch.rand(3, 4)
    check(doubling, 4)
    doubling.load_state_dict({"weight": torch.rand(3, 4)})
    check(doubling, 5)
    doubling.load_state_dict({"weight": torch.rand(3, 4)}, assign=True)
    check(doubling, 6)
    doubling.weight = nn.Parameter(torch.rand(2))
    check(doubling, 7)
    doubling.to(torch.float64)
    check(doubling, 8)
    assert doubling().dtype == torch.float64
    optimizer = torch.optim.SGD(doubling.parameters(), lr=1.0)
    doubling().sum().backward()
    optimizer.step()
    check(doubling, 11)


def test_cache_on_a_device_whose_values_cost_time(doubling):
    """There, what counts is the memory and its version. The meta device stands for it."""
    doubling.to("meta")
    with torch.no_grad():
        first = doubling()
        assert first.is_meta
        assert doubling() is first
        doubling.weight.add_(1)
        assert doubling() is not first
    doubling.cache.clear()
    with torch.no_grad():
        doubling()
    assert doubling.computed == 3
    doubling.to_empty(device="cpu")
    nn.init.ones_(doubling.weight)
    check(doubling, 4)


def test_cache_lets_gradients_pass(doubling):
    check(doubling, 1)
    doubling().sum().backward()
    assert torch.equal(doubling.weight.grad, torch.full((3, 4), 2.0))
    doubling.train()
    doubling()
    with torch.no_grad():
        doubling()
    assert doubling.computed == 4
    check(doubling.eval(), 5)


def test_cached_result_of_inference_mode_serves_training(doubling):
    doubling.weight.requires_grad_(False)
    with torch.inference_mode():
        doubling()
    x = torch.rand(3, 4, requires_grad=True)
    (x * doubling()).sum().backward()
    assert torch.equal(x.grad, doubling.weight * 2)
    assert doubling.computed == 1


def test_cached_result_is_independent_of_autocast():
    layer = nn.Linear(4, 3).eval()
    x = torch.rand(2, 4)
    cache = ValueCache()
    with torch.no_grad():
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
            kept = cache.get(lambda: layer(x), [layer.weight, layer.bias])
        assert torch.equal(kept, expected)
        assert cache.get(lambda: layer(x), [layer.weight, layer.bias]) is kept


def test_parameters_made_in_inference_mode():
    """They count no versions."""
    with torch.inference_mode():
        module = Doubling(2).eval()
        assert torch.equal(module(), module.weight * 2)
        module.weight.add_(1)
        assert torch.equal(module(), module.weight * 2)


def test_copies_start_empty(doubling):
    check(doubling, 1)
    for other in (copy.deepcopy(doubling), copy.copy(doubling), pickle.loads(pickle.dumps(doubling))):
        with torch.no_grad():
            other.weight = nn.Parameter(torch.rand(3, 4))
        check(other, 2)
    assert "cache" not in doubling.state_dict()


def test_fake_tensors_stay_out(doubling):
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        doubling()
    check(doubling, doubling.computed + 1)


def test_several_models_at_once(doubling):
    """torch.func gives the same module several parameters."""
    check(doubling, 1)
    weights = torch.rand(5, 3, 4)
    with torch.no_grad():
        results = torch.vmap(lambda w: torch.func.functional_call(doubling, {"weight": w}, ()))(weights)
    assert torch.equal(results, 2 * weights)
    check(doubling, 2)


def test_cache_under_the_compiler(doubling):
    compiled = torch.compile(doubling, fullgraph=True, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            doubling.weight.add_(1)
            assert torch.equal(compiled(), doubling.weight * 2)
    assert not doubling.cache


def test_traced_program_has_no_kept_value(doubling):
    """It would stay what it is when the program is given other parameters."""
    check(doubling, 1)
    with torch.no_grad():
        program = torch.jit.trace(doubling, ())
        program.weight.add_(1)
        assert torch.equal(program(), program.weight * 2)


def test_keys():
    """A value is kept for each of the last keys; the oldest makes room."""
    cache, computed = ValueCache(2), []

    def value(key):
        def compute():
            computed.append(key)
            return torch.full((2,), float(key[0]))

        return cache.get(compute, key=key).tolist()

    for key in [(1, "a"), (2, "a"), (1, "a"), (2, "a"), (3, "a"), (2, "a"), (1, "a")]:
        assert value(key) == [float(key[0])] * 2
    assert computed == [(1, "a"), (2, "a"), (3, "a"), (1, "a")]
    assert len(cache) == 2
    assert len(pickle.loads(pickle.dumps(cache))) == 0


def test_symbolic_sizes_are_no_keys():
    cache = ValueCache()

    class Zeros(nn.Module):
        def forward(self, x):
            return cache.get(lambda: torch.zeros(x.shape[0]), key=(x.shape[0],))

    size = {0: torch.export.Dim("n", min=2)}
    program = torch.export.export(Zeros(), (torch.rand(3),), dynamic_shapes=(size,)).module()
    assert program(torch.rand(5)).shape == (5,)
    assert not cache


def test_several_threads():
    cache, wrong = ValueCache(2), []

    def work(seed):
        for step in range(300):
            number = (seed + step) % 5
            if cache.get(lambda n=number: torch.tensor(n), key=number).item() != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 2
