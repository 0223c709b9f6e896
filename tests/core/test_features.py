"""Features of small models of one's own: hooks, tools that record, modes, threads, parts."""

import copy
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo_core.features import (
    FeatureLayers,
    FeatureModel,
    Layer,
    features,
    freeze,
    model_features,
    unfreeze,
)
from zoo_core.features.declared import channels_first, strided_stages, token_form
from zoo_core.features.freezing import parts_of
from zoo_core.tracing import is_watched


class Toy(nn.Module):
    """Two stages, of which the second gives channels last, and a head; writes to what the first gives."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(4, 6, 2, stride=2)
        self.norm = nn.LayerNorm(6)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 5)
        self.only_training = nn.Linear(6, 5)

    def feature_layers(self) -> FeatureLayers:
        stages = (Layer("relu"), Layer("norm"))
        return FeatureLayers(stages, head="fc", forms={nn.LayerNorm: channels_first}, input_size=(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.down(self.relu(self.stem(x))).permute(0, 2, 3, 1))
        x = x.mean((1, 2))
        if self.training:
            self.only_training(x)
        return self.fc(self.dropout(x))


@pytest.fixture
def model() -> Toy:
    torch.manual_seed(0)
    return Toy().eval()


X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def test_all_by_default(model):
    found = features(model, X)
    assert list(found) == ["stage1", "stage2", "embedding"]
    assert [tuple(value.shape) for value in found.values()] == [(2, 4, 8, 8), (2, 6, 4, 4), (2, 6)]
    torch.testing.assert_close(found["embedding"], found["stage2"].mean((2, 3)))
    torch.testing.assert_close(model.fc(found["embedding"]), model(X))


def test_names_indices_paths_and_outputs(model):
    found = features(model, X, layers=[-1, 0, "stem.0", "norm", "logits", "output"])
    assert list(found) == ["stage2", "stage1", "stem.0", "norm", "logits", "output"]
    assert torch.equal(found["stem.0"], model.stem[0](X))
    # A path in a transformer gives a map as its stage does.
    assert torch.equal(found["norm"], found["stage2"])
    assert torch.equal(found["logits"], model(X))
    assert torch.equal(found["output"], model(X))


def test_what_is_written_to_later_is_what_the_layer_gave(model):
    """The ReLU works in place on what the normalisation gives."""
    expected = model.stem(X)
    assert (expected < 0).any()
    assert torch.equal(features(model, X, layers="stem")["stem"], expected)
    assert torch.equal(features(model, X, layers=["stem", "embedding"])["stem"], expected)
    assert torch.equal(features(model, X, layers=["stem", "stage1"])["stage1"], expected.clamp(min=0))


def test_nothing_runs_behind_the_last_layer_and_nothing_stays(model):
    ran = []
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    features(model, X, layers=["stage1", "stem"])
    assert ran == ["", "stem", "stem.0", "stem.1", "relu"]
    for module in model.modules():
        module._forward_pre_hooks.clear()
    FeatureModel(model, "stage2")(X)
    assert not any(map(is_watched, model.modules()))
    assert type(model) is Toy


def test_running_statistics_and_gradients_are_the_models_own(model):
    model.train()
    before = model.stem[1].running_mean.clone()
    features(model, X, layers="stage2")["stage2"].sum().backward()
    assert not torch.equal(model.stem[1].running_mean, before)
    assert model.stem[0].weight.grad is not None
    assert model.fc.weight.grad is None


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("stage3", "no layer 'stage3'.*stage1, stage2, embedding"),
        (2, "no stage 2.*from -2 to 1"),
        (-3, "no stage -3"),
        ([], "layers is empty"),
        ("only_training", "did not run.*training only"),
        ("", "no layer ''"),
        ("stem.", "no layer 'stem.'"),
        ("forward", "no layer 'forward'"),
        ("fc.weight", "no layer 'fc.weight'"),
    ],
)
def test_layers_that_are_not_there(model, layers, message):
    with pytest.raises(ValueError, match=message):
        features(model, X, layers=layers)
    assert features(model, X, layers="stage1")  # nothing is left of it


@pytest.mark.parametrize("layers", [True, 1.0, [None], ["stage1", b"stage2"]])
def test_layers_that_are_none(model, layers):
    with pytest.raises(TypeError, match="a layer is a name, a path or an index, and not"):
        features(model, X, layers=layers)


def test_hooks_that_fail_leave_the_model_as_it_was(model):
    module = FeatureModel(model, ["stage1", -1])

    def fail(*_: Any) -> None:
        raise RuntimeError("of the hook")

    handle = model.down.register_forward_hook(fail)
    for call in (module, lambda x: features(model, x, layers=["stage1", -1])):
        with pytest.raises(RuntimeError, match="of the hook"):
            call(X)
    handle.remove()
    assert not any(map(is_watched, model.modules()))
    for name, value in module(X).items():
        assert torch.equal(value, features(model, X)[name])


def test_wrapped_by_torch(model):
    """The model inside of one that is compiled runs, and is as it was; of other wrappers the error says what to do."""
    expected = features(model, X, layers=["stem.0", -1])
    compiled: Any = torch.compile(model, backend="eager")
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    for found in (features(compiled, X, layers=["stem.0", -1]), FeatureModel(compiled, ["stem.0", -1])(X)):
        for name, value in expected.items():
            assert torch.equal(found[name], value)
    for name, module in model.named_modules():
        assert module.__dict__.keys() == before[name].keys()
        assert all(module.__dict__[key] is value for key, value in before[name].items())

    parallel = nn.DataParallel(model)
    with pytest.raises(ValueError, match="it wraps a Toy: give that one, or wrap a FeatureModel of it in a DataP"):
        features(parallel, X, layers=-1)
    with pytest.raises(TypeError, match="of TorchScript"):
        features(torch.jit.trace(model, X), X, layers="stem")
    for wrapped in (compiled, parallel, torch.optim.swa_utils.AveragedModel(model)):
        assert model_features(wrapped) == model_features(model)
        assert freeze(wrapped, until="stage1") == freeze(model, until="stage1")
    assert not model.stem[0].weight.requires_grad
    unfreeze(parallel, "stage1")
    assert model.stem[0].weight.requires_grad
    torch.compiler.reset()


def test_compiled_parts_of_a_model(model):
    expected = features(model, X, layers=["stem.0", "stem", -1])
    model.stem = torch.compile(model.stem, backend="eager")
    model.norm.compile(backend="eager")
    for name, value in features(model, X, layers=["stem.0", "stem", -1]).items():
        torch.testing.assert_close(value, expected[name])
    torch.compiler.reset()


def test_models_that_declare_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert torch.equal(features(model, X, layers="0")["0"], model[0](X))
    with pytest.raises(ValueError, match="does not declare stages"):
        features(model, X, layers=-1)
    with pytest.raises(ValueError, match="feature_layers"):
        model_features(model)
    with pytest.raises(ValueError, match="feature_layers"):
        freeze(model, "body")


def test_module_that_runs_several_times_gives_its_first_output():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.twice(self.twice(x))

    model = Twice()
    x = torch.ones(1, 2)
    assert torch.equal(features(model, x, layers=["twice", "output"])["twice"], model.twice(x))


def test_module_has_the_models_own_parameters_and_modes(model):
    module = FeatureModel(model, [-1, "embedding"])
    assert module.layers == ("stage2", "embedding")
    assert list(module.state_dict()) == [f"model.{name}" for name in model.state_dict()]
    module.train()
    assert model.training
    assert not module.eval().model.training
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(copied(X)["stage2"], module(X)["stage2"])
        assert copied.model is not model


def test_compiled(model):
    module = FeatureModel(model, ["stage1", -1, "embedding", "stem"]).eval()
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(module, fullgraph=True, backend=backend)
    with torch.no_grad():
        found, expected = compiled(X), module(X)
        again = compiled(2 * X)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    torch.testing.assert_close(again["stage2"], module(2 * X)["stage2"])
    # The tail's parameters are no inputs of the graph. (What functions are called is told with addresses.)
    nodes = [node for graph in graphs for node in graph.graph.nodes if node.op != "call_function"]
    assert nodes
    assert not any("fc" in str(node.target) for node in nodes)
    torch.compiler.reset()


def test_changed_after_it_was_compiled(model):
    """A new layer, hook, mode or model counts, as it does without the compiler."""
    module = FeatureModel(model, ["stem.0", -1]).eval()
    compiled = torch.compile(module, backend="eager")
    compiled(X)

    def check() -> None:
        with torch.no_grad():
            found, expected = compiled(X), features(module.model, X, layers=["stem.0", -1])
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)

    model.norm = nn.LayerNorm(6, elementwise_affine=False)
    model.stem[0] = nn.Conv2d(3, 4, 1)
    check()
    model.norm.register_forward_hook(lambda module, inputs, output: output + 1)
    check()
    module.model = Toy().eval()
    check()
    module.model.train()  # not by the module's own
    before = module.model.stem[1].num_batches_tracked.clone()
    compiled(X)
    assert module.model.stem[1].num_batches_tracked == before + 1
    torch.compiler.reset()

    model.norm = nn.LayerNorm(6)
    fullgraph = torch.compile(FeatureModel(model, -1), backend="eager", fullgraph=True)
    fullgraph(X)
    model.norm = nn.LayerNorm(6)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="the model was changed after its FeatureModel was made"):
        fullgraph(X)
    torch.compiler.reset()


def test_exported(model):
    module = FeatureModel(model, [-1, "embedding"]).eval()
    program = torch.export.export(module, (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    x = torch.cat((X, X, X))
    for name, value in module(x).items():
        torch.testing.assert_close(program.module()(x)[name], value)
    operators = [str(node.target) for node in program.run_decompositions({}).graph.nodes]
    assert not any("addmm" in operator or "linear" in operator for operator in operators)


def test_autocast(model):
    with torch.autocast("cpu", torch.bfloat16):
        found = features(model, X, layers=["stage1", "embedding", "down"])
    assert found["down"].dtype == torch.bfloat16


def test_replicas_in_threads(model):
    """As ``DataParallel`` runs them: copies that share hooks and tensors with the module, at the same time."""
    module = FeatureModel(model, ["stage1", "embedding"])

    def replica(of: nn.Module) -> nn.Module:
        copied = of._replicate_for_data_parallel()
        copied._parameters, copied._buffers = dict(of._parameters), dict(of._buffers)
        copied._modules = OrderedDict((name, replica(child)) for name, child in of._modules.items())
        return copied

    inputs = [X * scale for scale in range(1, 5)]
    expected = [module(x) for x in inputs]
    replicas = [replica(module) for _ in inputs]
    barrier = threading.Barrier(len(inputs))
    wrong = []

    def run(place: int) -> None:
        for _ in range(20):
            barrier.wait()
            found = replicas[place](inputs[place])
            if any(not torch.equal(found[name], value) for name, value in expected[place].items()):
                wrong.append(place)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_measured_without_a_change(model):
    model.train()
    state = copy.deepcopy(model.state_dict())
    told = model_features(model)
    assert [(s.name, s.path, s.channels, s.reduction) for s in told] == [
        ("stage1", "relu", 4, 1),
        ("stage2", "norm", 6, 2),
    ]
    assert (told.embedding, told.head, told[-1].channels, told["stage1"].reduction) == (6, "fc", 6, 1)
    assert told.channels == (4, 6)
    assert told.reductions == (1, 2)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    with pytest.raises(KeyError, match="no stage 'stage9'"):
        told["stage9"]


def test_parts_are_frozen(model):
    assert {part: len(names) for part, names in parts_of(model).items()} == {
        "stage1": 4, "stage2": 4, "neck": 2, "head": 2,
    }  # fmt: skip
    model.train()
    assert freeze(model, until="stage1") == ["stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]
    assert not model.stem[1].training
    assert model.down.weight.requires_grad
    freeze(model, "body")
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    unfreeze(model, "stage1")
    assert model.stem[1].training
    assert model.stem[0].weight.requires_grad
    assert not model.down.weight.requires_grad
    with pytest.raises(ValueError, match="no part 'stage7'; it has stage1, stage2, neck, head, body"):
        freeze(model, "stage7")
    with pytest.raises(ValueError, match="name parts"):
        freeze(model)


def test_stages_end_where_the_size_changes():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3, (1, 2)))
    )
    assert strided_stages(model) == ["1", "3", "4"]


def test_tokens_become_a_map():
    tokens = torch.arange(2 * 7 * 3.0).reshape(2, 7, 3)
    found = token_form(2, 3)(tokens)
    assert found.shape == (2, 3, 2, 3)
    assert torch.equal(found[1, :, 1, 0], tokens[1, 1 + 3])


def test_the_compiler_is_not_imported_before_something_is_compiled():
    """It takes seconds to import, which programs that compile nothing need not wait for."""
    program = "import sys, zoo_core.features.extracting; print('torch._dynamo' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
