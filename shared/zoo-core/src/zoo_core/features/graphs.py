"""Cuts a model's graph at any node, as torchvision does: functions of its names, arguments and names of nodes.

They trace the model with :mod:`torch.fx`. :func:`zoo_core.features.features` needs no tracing.
"""

import copy
import inspect
import math
import re
import sys
import types
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from zoo_core import layers
from zoo_core.tracing import ThreadTracer

__all__ = ["create_feature_extractor", "get_graph_node_names"]

# Packages of operators, as far as they are imported, whose functions and modules are one node each.
_OPERATORS = ("zoo_detection.ops", "torchvision.ops")
# Bases of others, which torchvision does not have there.
_NO_LEAVES = (layers.ConvNormActivation,)

_SUFFIX = re.compile(r"_\d+$")


def get_graph_node_names(
    model: nn.Module,
    tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False,
    concrete_args: dict[str, Any] | None = None,
) -> tuple[list[str], list[str]]:
    """The names of the nodes in a model's graph, in the order in which they run.

    A node of a module has the module's path as its name, one of an operation the path of the module that does it and
    the operation: ``layer1.0.add``. Where a name comes again, a number follows: ``layer1.0.relu_1``. Building blocks
    of :mod:`zoo_core.layers` and :mod:`zoo_detection.ops` are nodes as a whole.

    Args:
        model: is traced in training and in eval mode, and is then as it was.
        tracer_kwargs: arguments of :class:`torch.fx.Tracer`, and ``leaf_modules``, classes of modules that are to be
            nodes as a whole. ``autowrap_modules`` and ``leaf_modules`` come beside the defaults.
        suppress_diff_warning: do not warn if the graphs of the two modes differ.
        concrete_args: values of arguments of the forward, by name, that are not to be part of the graph.

    Returns:
        The names in training mode, and in eval mode.

    Raises:
        torch.fx.proxy.TraceError: the forward depends on values, and cannot be traced.
    """
    train, evaluation = (list(names.values()) for _, names in _both_graphs(model, tracer_kwargs, concrete_args))
    if not suppress_diff_warning:
        _warn_of_differences(train, evaluation)
    return train, evaluation


def create_feature_extractor(
    model: nn.Module,
    return_nodes: list[str] | dict[str, str] | None = None,
    train_return_nodes: list[str] | dict[str, str] | None = None,
    eval_return_nodes: list[str] | dict[str, str] | None = None,
    tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False,
    concrete_args: dict[str, Any] | None = None,
) -> fx.GraphModule:
    """A model that returns what some nodes of another's graph give, and has nothing else of it.

    Args:
        model: is traced in training and in eval mode, and is then as it was; the result shares its modules.
        return_nodes: names of nodes as :func:`get_graph_node_names` gives them, or paths of modules, whose last node is
            meant; in a dict with the names under which they are returned.
        train_return_nodes, eval_return_nodes: the same for each mode, in the place of ``return_nodes``.
        tracer_kwargs, suppress_diff_warning, concrete_args: see :func:`get_graph_node_names`.

    Returns:
        A module with a graph for each mode, that of ``model`` at first. It takes what the model takes, and returns a
        dict of what the nodes give, in the order in which they run.

    Raises:
        ValueError: there is no such node, or it is not said for both modes what is to be returned.
        torch.fx.proxy.TraceError: the forward depends on values, and cannot be traced.
    """
    if (train_return_nodes is None) != (eval_return_nodes is None):
        raise ValueError(
            "train_return_nodes and eval_return_nodes go together: give the other one too, or return_nodes for both"
        )
    if (return_nodes is None) == (train_return_nodes is None):
        raise ValueError(
            "which nodes are to be returned? Give return_nodes, or both train_return_nodes and eval_return_nodes"
        )
    asked = (return_nodes or train_return_nodes or {}, return_nodes or eval_return_nodes or {})
    traced = _both_graphs(model, tracer_kwargs, concrete_args)
    if train_return_nodes is None and not suppress_diff_warning:
        _warn_of_differences(*(list(names.values()) for _, names in traced))
    graphs = []
    for (graph, names), wanted in zip(traced, asked, strict=True):
        graph.owning_module = model  # type: ignore[assignment]  # what a module node may do besides is asked there
        _return(graph, names, wanted if isinstance(wanted, Mapping) else {name: name for name in wanted})
        graphs.append(graph)
    train_graph, eval_graph = graphs
    return _TwoGraphs(model, train_graph, eval_graph, type(model).__name__).train(model.training)


class _TwoGraphs(fx.GraphModule):
    """A module with a graph for training and one for eval mode.

    Args:
        root: has the modules and tensors that the graphs name.
        train_graph, eval_graph: the graphs.
        class_name: what it is called.
    """

    def __init__(self, root: nn.Module, train_graph: fx.Graph, eval_graph: fx.Graph, class_name: str) -> None:
        container = nn.Module()
        for graph in (train_graph, eval_graph):
            for node in graph.nodes:
                if node.op in ("call_module", "get_attr"):
                    _take(root, container, node.target)
        super().__init__(container, train_graph, class_name)
        for name, child in container.named_children():  # what only the other graph has
            if name not in self._modules:
                self.add_module(name, child)
        for node in eval_graph.nodes:
            if node.op in ("call_module", "get_attr"):
                _take(container, self, node.target)
        self.train_graph = train_graph
        self.eval_graph = eval_graph

    def train(self, mode: bool = True) -> "_TwoGraphs":
        super().train(mode)
        wanted = self.train_graph if mode else self.eval_graph
        if self.graph is not wanted:
            self.graph = wanted
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "_TwoGraphs":
        found = _rebuilt(*copy.deepcopy(self._parts(), memo))
        memo[id(self)] = found
        return found

    def __reduce__(self) -> Any:
        return _rebuilt, self._parts()

    def _parts(self) -> tuple[Any, ...]:
        container = nn.Module()
        container._modules = dict(self._modules)
        container._parameters = dict(self._parameters)
        container._buffers = dict(self._buffers)
        # Copies of the graphs do not know this module, which would be a circle.
        graphs = copy.deepcopy(self.train_graph), copy.deepcopy(self.eval_graph)
        return container, *graphs, type(self).__name__, self.training


def _rebuilt(root: nn.Module, train: fx.Graph, evaluation: fx.Graph, name: str, training: bool) -> _TwoGraphs:
    modes = {module: module.training for module in root.modules()}
    found = _TwoGraphs(root, train, evaluation, name).train(training)
    for module, mode in modes.items():
        module.training = mode
    return found


def _take(source: nn.Module, target: nn.Module, path: str) -> None:
    """Puts what a module has at a path into another, in containers of their own."""
    *parents, name = path.split(".")
    for parent in parents:
        source = getattr(source, parent)
        if parent not in target._modules:
            target.add_module(parent, nn.Module())
        target = getattr(target, parent)
        if target is source:
            return
    value = getattr(source, name)
    if name in target._modules:
        return
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        target.register_buffer(name, value, persistent=name not in source._non_persistent_buffers_set)
    else:
        setattr(target, name, value)


class _Tracer(ThreadTracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._leaves = leaves
        self.steps: set[fx.Node] = set()
        """What the forward does, without the constants and named tuples that its steps are given."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(*args, **kwargs)
        self.steps.add(proxy.node)
        return proxy


def _tracer(arguments: dict[str, Any] | None) -> _Tracer:
    given = dict(arguments or {})
    operators = [sys.modules[name] for name in _OPERATORS if name in sys.modules]
    wrapped = (*given.pop("autowrap_modules", ()), math, *operators)
    leaves = (*given.pop("leaf_modules", ()), *(kind for module in (layers, *operators) for kind in _classes(module)))
    return _Tracer(leaves, autowrap_modules=tuple(dict.fromkeys(wrapped)), **given)


def _classes(module: types.ModuleType) -> Iterator[type[nn.Module]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, nn.Module) and value not in _NO_LEAVES and not value.__module__.startswith("torch."):
            yield value


Named = tuple[fx.Graph, dict[fx.Node, str]]


def _both_graphs(
    model: nn.Module, tracer_kwargs: dict[str, Any] | None, concrete_args: dict[str, Any] | None
) -> tuple[Named, Named]:
    """The graphs in training and in eval mode, with the names of their nodes."""
    modes = {module: module.training for module in model.modules()}
    found = []
    try:
        for mode in (True, False):
            model.train(mode)
            tracer = _tracer(tracer_kwargs)
            graph = tracer.trace(model, concrete_args=concrete_args)
            found.append((graph, _names(graph, tracer.steps)))
    finally:
        for module, training in modes.items():
            module.training = training
    return found[0], found[1]


def _names(graph: fx.Graph, steps: set[fx.Node]) -> dict[fx.Node, str]:
    seen: Counter[str] = Counter()
    names = {}
    for node in graph.nodes:
        if node.op == "output" or node not in steps:
            continue
        if node.op == "call_module":
            path = str(node.target)
        else:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            path = f"{stack[-1][0]}.{node.name}" if stack and stack[-1][0] else node.name
        base = _SUFFIX.sub("", path)
        names[node] = f"{base}_{seen[base]}" if seen[base] else base
        seen[base] += 1
    return names


def _return(graph: fx.Graph, names: Mapping[fx.Node, str], wanted: Mapping[str, str]) -> None:
    """Lets a graph return some of its nodes, and drops what they do not need."""
    last: dict[str, fx.Node] = {}
    for node, name in names.items():
        for asked in wanted:
            if name == asked or name.startswith(f"{asked}."):
                last[asked] = node
    for asked in wanted:
        if asked not in last:
            raise ValueError(
                f"the model has no node {asked!r}: get_graph_node_names lists those of both modes; what is in one of "
                "them only is asked for with train_return_nodes and eval_return_nodes"
            )
    order = {node: place for place, node in enumerate(graph.nodes)}
    returned: OrderedDict[str, fx.Node] = OrderedDict()
    for asked, node in sorted(last.items(), key=lambda item: order[item[1]]):
        returned[wanted[asked]] = node
    for node in reversed(graph.nodes):
        if node.op == "output":
            graph.erase_node(node)
            break
    graph.output(dict(returned))
    graph.eliminate_dead_code()


def _warn_of_differences(train: list[str], evaluation: list[str]) -> None:
    if train == evaluation:
        return
    shorter, longer = sorted((train, evaluation), key=len)
    remaining = iter(longer)
    if all(name in remaining for name in shorter):
        modes = ("eval", "train") if shorter is evaluation else ("train", "eval")
        found = f"of the graph in {modes[1]} mode, the one in {modes[0]} mode has a part of the nodes"
    else:
        found = "the graphs in train and eval mode have different nodes"
    warnings.warn(
        f"{found}: some names may be there in one mode only; give train_return_nodes and eval_return_nodes apart",
        UserWarning,
        stacklevel=3,
    )
