"""Graphs cut at nodes: names, modes, arguments, as torchvision documents them. Expected names are written by hand."""

import copy
import inspect
import pickle
import warnings

import pytest
import torch
from torch import Tensor, nn

from zoo_core.features import create_feature_extractor, get_graph_node_names
from zoo_core.layers import Conv2dNormActivation


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.conv(x))
        y = self.relu(y * self.scale)
        return (y + x) + 1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(3, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.aux = nn.Linear(3, 2)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor, flip: bool = False) -> Tensor:
        x = self.blocks(self.stem(x))
        if flip:
            x = x.flip(-1)
        if self.training:
            self.aux(x.mean((2, 3)))
        return self.fc(x.mean((2, 3)))


X = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
BLOCK = ("conv", "relu", "{}scale", "mul", "relu_1", "add", "add_1")
EVAL = [
    "x", "flip", "stem",
    *(f"blocks.0.{name.format('blocks_0_')}" for name in BLOCK),
    *(f"blocks.1.{name.format('blocks_1_')}" for name in BLOCK),
    "mean", "fc",
]  # fmt: skip
TRAIN = [*EVAL[:-2], "mean", "aux", "mean_1", "fc"]
FLAGS = {"flip": False}
# Of the values of concrete arguments.
CHECKS = ("eq", "_assert")


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def names_of(model: nn.Module, **arguments) -> tuple[list[str], list[str]]:
    return get_graph_node_names(model, concrete_args=FLAGS, suppress_diff_warning=True, **arguments)


def test_names(model):
    model.blocks.train()
    train, evaluation = names_of(model)
    assert [name for name in train if name not in CHECKS] == TRAIN
    assert [name for name in evaluation if name not in CHECKS] == EVAL
    # Modes are as they were, each module's own.
    assert [model.training, model.blocks.training, model.blocks[0].relu.training] == [False, True, True]


def test_signatures_are_torchvisions():
    expected = {
        "create_feature_extractor": [
            "model", "return_nodes", "train_return_nodes", "eval_return_nodes", "tracer_kwargs",
            "suppress_diff_warning", "concrete_args",
        ],
        "get_graph_node_names": ["model", "tracer_kwargs", "suppress_diff_warning", "concrete_args"],
    }  # fmt: skip
    for function in (create_feature_extractor, get_graph_node_names):
        assert list(inspect.signature(function).parameters) == expected[function.__name__]


def test_extracted_by_list_dict_and_prefix(model):
    found = create_feature_extractor(model, ["blocks", "stem"], concrete_args=FLAGS, suppress_diff_warning=True)(X)
    assert list(found) == ["stem", "blocks"]
    assert torch.equal(found["stem"], model.stem(X))
    # A module means its last node.
    assert torch.equal(found["blocks"], model.blocks(model.stem(X)))
    wanted = {"blocks.0.relu": "early", "fc": "scores"}
    named = create_feature_extractor(model, wanted, concrete_args=FLAGS, suppress_diff_warning=True)(X)
    assert torch.equal(named["early"], model.blocks[0].relu(model.blocks[0].conv(model.stem(X))))
    assert torch.equal(named["scores"], model(X))


def test_modes_have_graphs_of_their_own(model):
    extractor = create_feature_extractor(
        model, train_return_nodes={"aux": "a", "fc": "b"}, eval_return_nodes=["blocks.1"], concrete_args=FLAGS
    )
    assert not extractor.training
    assert list(extractor(X)) == ["blocks.1"]
    assert list(extractor.train()(X)) == ["a", "b"]
    assert list(extractor.eval()(X)) == ["blocks.1"]
    for copied in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert list(copied(X)) == ["blocks.1"]
        assert list(copied.train()(X)) == ["a", "b"]
        assert copied.fc is not extractor.fc
        assert list(copied.state_dict()) == list(extractor.state_dict())


def test_what_comes_after_is_left_out_and_parameters_are_shared(model):
    extractor = create_feature_extractor(model, ["blocks.0.add"], concrete_args=FLAGS, suppress_diff_warning=True)
    assert [name for name, _ in extractor.named_children()] == ["stem", "blocks"]
    assert extractor.blocks.get_submodule("0.conv") is model.blocks[0].conv
    assert [name for name, _ in extractor.named_parameters() if name.endswith("scale")] == ["blocks.0.scale"]
    assert isinstance(extractor, torch.fx.GraphModule)
    assert type(extractor).__name__ == "Net"


def test_leaves_that_are_asked_for(model):
    given = {"leaf_modules": [Block]}
    evaluation = names_of(model, tracer_kwargs=given)[1]
    assert [name for name in evaluation if name not in CHECKS] == [
        "x",
        "flip",
        "stem",
        "blocks.0",
        "blocks.1",
        "mean",
        "fc",
    ]
    assert given == {"leaf_modules": [Block]}


def test_warns_of_different_graphs(model):
    with pytest.warns(UserWarning, match="eval mode has a part of the nodes.*train_return_nodes"):
        get_graph_node_names(model, concrete_args=FLAGS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_feature_extractor(model, ["fc"], suppress_diff_warning=True, concrete_args=FLAGS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "return_nodes"),
        ({"return_nodes": ["fc"], "train_return_nodes": ["fc"], "eval_return_nodes": ["fc"]}, "return_nodes"),
        ({"train_return_nodes": ["fc"]}, "both"),
        ({"return_nodes": ["blocks.7"]}, "no node 'blocks.7': get_graph_node_names"),
        ({"return_nodes": ["block"]}, "no node 'block'"),
    ],
)
def test_errors(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        create_feature_extractor(model, **arguments, concrete_args=FLAGS, suppress_diff_warning=True)
