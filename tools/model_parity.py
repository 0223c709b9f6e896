"""What is compared of image, video and flow models beside their outputs (detectors: `tools/detector_parity.py`).

The parameters that a seeded run starts from, how often the hooks of each module are called, what `torch.fx` records,
and what torchvision's `create_feature_extractor` makes of ours.
"""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

import zoo_core.features
from tools import counterparts, oracle, reference_values
from zoo_core import get_model_builder

TOLERANCE = 1e-4
# Layers whose features are compared.
FEATURES = 6


def checks(name: str, inputs: tuple[Tensor, ...]) -> Iterator[tuple[str, float]]:
    """Names of the comparisons, and what differs in each.

    Raises:
        AssertionError: something differs that has no measure.
    """
    yield "initial parameters", initial_parameters(name)
    ours, theirs = counterparts.pair(name)
    yield "calls of hooks", calls_of_hooks(ours, theirs, inputs)
    yield "what hooks keep", what_hooks_keep(ours, theirs, inputs)
    try:
        traced = torch.fx.symbolic_trace(theirs)
    except torch.fx.proxy.TraceError:  # what torchvision's forward cannot do, ours need not
        return
    yield "symbolic trace", largest_difference(torch.fx.symbolic_trace(ours), traced, inputs)
    yield "extracted features", extracted_features(ours, theirs, inputs)
    yield "our extractor beside theirs", extractors(theirs, inputs)


def initial_parameters(name: str) -> float:
    """The largest difference of the tensors that both start from after the same seed."""
    kwargs = reference_values.arguments(name)
    states = []
    for build in (get_model_builder(name), oracle.builder(name)):
        torch.manual_seed(5)
        states.append(build(**kwargs).state_dict())
    return max(
        float((ours.double() - states[1][key].double()).abs().max())
        for key, ours in states[0].items()
        if isinstance(ours, Tensor) and ours.is_floating_point() and ours.numel()
    )


def calls_of_hooks(ours: nn.Module, theirs: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """A forward hook and a pre-hook on every module that both have.

    Ours may call modules that torchvision bypasses (the projections of attention); never the other way round.

    Raises:
        AssertionError: they are called another number of times.
    """
    counts = [calls_by_module(model, inputs) for model in (ours, theirs)]
    differing = {
        path: (counts[0][path], times)
        for path, times in counts[1].items()
        if path in counts[0] and times and counts[0][path] != times
    }
    assert not differing, f"calls of hooks differ, ours and torchvision's: {dict(list(differing.items())[:3])}"
    return 0.0


def calls_by_module(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, int]:
    """How many hooks of each module a run calls, of two: a forward hook and a pre-hook."""
    counts = {path: 0 for path, _ in model.named_modules(remove_duplicate=False)}

    def count(path: str) -> None:
        counts[path] += 1

    hooks = [
        register(lambda *_, path=path: count(path))
        for path, module in model.named_modules(remove_duplicate=False)
        for register in (module.register_forward_pre_hook, module.register_forward_hook)
    ]
    with torch.no_grad():
        model(*inputs)
    for hook in hooks:
        hook.remove()
    return counts


@torch.no_grad()
def what_hooks_keep(ours: nn.Module, theirs: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """What a hook on a layer keeps is changed in place later where torchvision changes it, and nowhere else."""
    changed = [_changed_later(model, inputs) for model in (ours, theirs)]
    differing = [path for path, is_changed in changed[0].items() if is_changed and changed[1].get(path) is False]
    assert not differing, (
        f"{len(differing)} outputs are changed after hooks saw them, and not torchvision's: {differing[:3]}"
    )
    return 0.0


def _changed_later(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, bool]:
    """For each layer that is called, whether what it gave first is changed in place after a hook has seen it."""
    kept: dict[str, list[tuple[Tensor, int]]] = {}

    def keep(path: str, output: object) -> None:
        kept.setdefault(path, [(tensor, tensor._version) for tensor in outputs(output)])

    hooks = [
        module.register_forward_hook(lambda *given, path=path: keep(path, given[2]))
        for path, module in model.named_modules()
    ]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    return {path: any(tensor._version != version for tensor, version in pairs) for path, pairs in kept.items()}


@torch.no_grad()
def extracted_features(ours: nn.Module, theirs: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Outputs of layers that both have by the same name in their graphs, through torchvision's own function.

    What torchvision changes in place later is compared with what the layer gave. Maps of tokens that ours keeps in
    another order of dimensions are left out.
    """
    oracle.torchvision()
    extraction: Any = importlib.import_module("torchvision.models.feature_extraction")
    names = [extraction.get_graph_node_names(model, suppress_diff_warning=True)[1] for model in (ours, theirs)]
    layers = dict(ours.named_modules())
    common = [name for name in names[0] if name in set(names[1]) and name in layers]
    wanted = common[:: max(1, len(common) // FEATURES)]
    assert wanted, "the graphs have no layer in common"
    found, later = (
        extraction.create_feature_extractor(model, return_nodes=wanted, suppress_diff_warning=True).eval()(*inputs)
        for model in (ours, theirs)
    )
    # Methods of some modules are called in the place of their forward, past all hooks.
    first = later | _outputs_of_layers(theirs, wanted, inputs)
    differences, elsewhere = [0.0], []
    for name in wanted:
        tensors = outputs(found[name])
        if [x.shape for x in tensors] == [x.shape for x in outputs(first[name])]:
            pairs = [zip(tensors, outputs(other[name]), strict=True) for other in (first, later)]
            differences.append(min(max((difference(a, b) for a, b in pair), default=0.0) for pair in pairs))
        else:
            assert sorted(tensors[0].shape) == sorted(outputs(first[name])[0].shape), f"the shapes of {name} differ"
            elsewhere.append(name)
    assert len(elsewhere) < len(wanted), f"no layer gives tensors of the same shape: {elsewhere}"
    return max(differences)


@torch.no_grad()
def extractors(theirs: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Names of nodes and features of torchvision's model, by our functions and by torchvision's.

    Raises:
        AssertionError: a name, the order or the modules that are kept differ.
    """
    extraction: Any = importlib.import_module("torchvision.models.feature_extraction")
    found = [
        module.get_graph_node_names(theirs, suppress_diff_warning=True) for module in (zoo_core.features, extraction)
    ]
    assert found[0] == found[1], "the names of the nodes differ"
    wanted = found[0][1][1 :: max(1, len(found[0][1]) // FEATURES)]
    made = [
        module.create_feature_extractor(theirs, wanted, suppress_diff_warning=True).eval()
        for module in (zoo_core.features, extraction)
    ]
    # torch.fx numbers the constants of a model on from those of earlier traces.
    kept = [[re.sub(r"_tensor_constant\d+", "constant", name) for name in extractor.state_dict()] for extractor in made]
    assert kept[0] == kept[1], "the modules that are kept differ"
    results = [extractor(*inputs) for extractor in made]
    assert list(results[0]) == list(results[1]), "the order of the features differs"
    pairs = zip(outputs(results[0]), outputs(results[1]), strict=True)
    return max((difference(a, b) for a, b in pairs if isinstance(a, Tensor)), default=0.0)


def _outputs_of_layers(model: nn.Module, names: list[str], inputs: tuple[Tensor, ...]) -> dict[str, list[Tensor]]:
    """Copies of what layers give, before anything can change it."""
    found: dict[str, list[Tensor]] = {}

    def keep(name: str, output: object) -> None:
        # Of a layer that is called several times, its name in the graph stands for the first.
        found.setdefault(name, [tensor.clone() for tensor in outputs(output)])

    hooks = [
        model.get_submodule(name).register_forward_hook(lambda *given, name=name: keep(name, given[2]))
        for name in names
    ]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))


def outputs(result: object) -> list[Tensor]:
    """The tensors of a model's output, in order."""
    if isinstance(result, Tensor):
        return [result]
    if not isinstance(result, dict | list | tuple):
        return []
    values = result.values() if isinstance(result, dict) else result
    return [tensor for value in values for tensor in outputs(value)]


@torch.no_grad()
def largest_difference(ours: nn.Module, theirs: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Of the outputs of two models, relative to the largest value of each."""
    pairs = zip(outputs(ours(*inputs)), outputs(theirs(*inputs)), strict=True)
    return max(difference(a, b) for a, b in pairs)
