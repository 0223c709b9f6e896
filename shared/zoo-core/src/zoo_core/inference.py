"""Making a model fast for serving."""

import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import torch
import torch.fx
from torch import Tensor, nn

from zoo_core.fused import fuse, fuse_activation, is_activation, keep_no_copies
from zoo_core.layers import scale_and_bias
from zoo_core.memory_format import CHANNELS_LAST
from zoo_core.tracing import ThreadTracer

__all__ = ["FixedNormalization", "Foldable", "optimize_for_inference"]

Model = TypeVar("Model", bound=nn.Module)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Bytes of parameters of which there may be two copies.
_MOST_TO_COPY = 1 << 29
_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@runtime_checkable
class FixedNormalization(Protocol):
    """A custom module that computes ``x * scale + bias`` per channel in eval mode, as batch normalisation does.

    Modules with this method are folded into convolutions too.
    """

    def scale_and_bias(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, both Tensor[C]."""


@runtime_checkable
class Foldable(Protocol):
    """A module that knows a faster form of itself for inference."""

    def fold_for_inference(self) -> None:
        """Changes its parameters and parts so that it computes the same faster, in eval mode and without gradients.

        It is called once, in eval mode, of a module that nobody watches and that shares no parameters, before its parts
        are folded. A second call does nothing.
        """


def optimize_for_inference(model: Model) -> Model:
    """Makes a model predict faster, in eager mode and on any device. Outputs differ by rounding only.

    - Normalisation by fixed statistics that directly follows a convolution becomes part of it; ``nn.Identity`` takes
      its place.
    - The weights of convolutions are laid out with channels last, which spares a copy of them in each run, and brings
      the features into the same order.
    - On CPUs, linear layers and convolutions are computed by oneDNN, together with an activation that directly follows,
      whose place ``nn.Identity`` takes. Up to 512 MiB of parameters, these layers keep a second copy of their weights
      once they have run, in the processor's order; it follows changes of a weight other than through ``weight.data``.
    - On x86, 3x3 convolutions of many channels and pixels take a quarter of the multiplications
      (:mod:`zoo_core.winograd`), with rounding errors of 1e-5 of the largest output, and keep a copy of their weights
      that is four times as large.
    - Modules that know a faster form of themselves (:class:`Foldable`) take it.

    Load the checkpoint first: what comes out is in eval mode, without gradients, not to be trained, and its state dict
    fits no checkpoint. Weights that were memory-mapped from a file are then copies in memory of their own, and so are
    those of a model that was made in :func:`torch.inference_mode`, whose changes torch does not count.

    Modules with hooks, parametrizations or shared parameters stay as they are. Where a forward cannot be traced since
    it depends on values, or has parameters of default ``None``, each of its children is taken to be used whole, through
    its own forward.

    bfloat16 about halves the time again where the processor computes in it, and keeps two to three digits::

        model = optimize_for_inference(resnet50(weights="DEFAULT")).to(torch.bfloat16)
        scores = model(batch.to(torch.bfloat16)).float()

    Args:
        model: a model of the zoo or any other. It is changed in place: copy it first to keep the original.

    Returns:
        the same model.

    Raises:
        TypeError: the model is compiled already (``torch.compile``, ``torch.jit``), and cannot be changed any more.
    """
    if isinstance(model, torch.jit.ScriptModule) or "_orig_mod" in model._modules:
        raise TypeError(
            f"optimize_for_inference cannot change a {type(model).__name__}; optimise the model first, and compile the "
            "result"
        )
    with torch.inference_mode(False), torch.no_grad():
        _optimize(model)
    return model


def _optimize(model: nn.Module) -> None:
    _leave_inference_mode(model)
    model.eval().requires_grad_(False)
    used_once = _used_once(model)
    convolutions = list(filter(_is_convolution, model.modules()))
    for module in model.modules():
        if isinstance(module, Foldable) and id(module) in used_once and not any(map(_is_altered, module.modules())):
            module.fold_for_inference()
    for pair in list(_find_pairs(model, used_once)):
        _fold(pair)
    for convolution in convolutions:
        if (weight := convolution.weight).ndim in CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.ndim])
    for module in model.modules():
        if not _is_altered(module):
            fuse(module)
    if sum(parameter.nbytes for parameter in model.parameters()) > _MOST_TO_COPY:
        keep_no_copies(model)


def _leave_inference_mode(model: nn.Module) -> None:
    """Gives a model that was made in inference mode tensors of which copies may be kept; shared ones stay shared."""
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        for kind in ("_parameters", "_buffers"):
            tensors: dict[str, Any] = getattr(module, kind)
            for name, tensor in tensors.items():
                if type(tensor) not in (Tensor, nn.Parameter) or not tensor.is_inference():
                    continue
                if id(tensor) not in copies:
                    copy = tensor.clone()
                    copies[id(tensor)] = nn.Parameter(copy, False) if isinstance(tensor, nn.Parameter) else copy
                tensors[name] = copies[id(tensor)]


@dataclass(frozen=True)
class _Pair:
    """A convolution, and what normalises or activates its output; the latter is a child of ``parent``."""

    convolution: _Convolution
    follower: nn.Module
    parent: nn.Module
    name: str


class _Tracer(ThreadTracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _Convolution | FixedNormalization) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> torch.fx.Graph | None:
    """What a module calls, or ``None`` where that depends on values or shapes."""
    if "forward" in vars(module):  # tracing would take the class's
        return None
    # Tracing would give stand-ins to parameters that callers may leave out, and take "is None" to be false for them.
    if any(parameter.default is None for parameter in inspect.signature(module.forward).parameters.values()):
        return None
    try:
        return _Tracer().trace(module)
    except Exception:  # whatever a forward raises that is given stand-ins for tensors
        return None


def _used_once(model: nn.Module) -> set[int]:
    """Identities of the modules that occur once in the model, and whose parameters no other module has."""
    modules = [module for _, module in model.named_modules(remove_duplicate=False)]
    times = Counter(map(id, modules))
    owners = Counter(id(parameter) for module in modules for parameter in module._parameters.values())
    return {
        id(module)
        for module in modules
        if times[id(module)] == 1 and all(p is None or owners[id(p)] == 1 for p in module._parameters.values())
    }


def _find_pairs(module: nn.Module, used_once: set[int]) -> Iterator[_Pair]:
    """The pairs in a module's graph; where there is no tracing it, in the graphs of its children."""
    if not any(map(_is_fixed_normalization, module.modules())):
        return  # tracing an attention model for nothing would take half a second
    graph = _trace(module)
    if graph is None:
        for child in module.children():
            yield from _find_pairs(child, used_once)
        return
    modules = dict(module.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    # A convolution whose parameters the graph reads apart from it has to keep them.
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    convolutions: dict[torch.fx.Node, _Convolution] = {}  # whose output, normalised or not, a node is
    for node in graph.nodes:
        if (
            node.op != "call_module"
            or calls[node.target] > 1
            or id(called := modules[str(node.target)]) not in used_once
        ):
            continue
        if _is_convolution(called):
            if str(node.target) not in read:
                convolutions[node] = called
            continue
        source = node.args[0] if node.args else None
        parent, _, name = str(node.target).rpartition(".")
        if not isinstance(source, torch.fx.Node) or source not in convolutions or len(source.users) > 1 or not name:
            continue
        if _is_fixed_normalization(called):
            convolutions[node] = convolutions[source]
        elif not (is_activation(called) and not _is_altered(called)):
            continue
        yield _Pair(convolutions[source], called, modules[parent], name)


def _is_convolution(module: nn.Module) -> TypeGuard[_Convolution]:
    return _computes_as(module, _CONVOLUTIONS, "forward", "_conv_forward") and not _is_altered(module)


def _is_fixed_normalization(module: nn.Module) -> bool:
    fixed = isinstance(module, FixedNormalization) or (
        _computes_as(module, _BATCH_NORMS, "forward") and isinstance(module.running_mean, Tensor)
    )
    return fixed and not _is_altered(module)


def _computes_as(module: nn.Module, kinds: tuple[type[nn.Module], ...], *methods: str) -> bool:
    """Whether a module is of one of those classes, or of a subclass that leaves these methods alone."""
    return any(
        isinstance(module, kind) and all(getattr(type(module), name) is getattr(kind, name) for name in methods)
        for kind in kinds
    )


def _is_altered(module: nn.Module) -> bool:
    """Whether hooks or parametrizations see or change what the module computes."""
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    return bool(hooks) or nn.utils.parametrize.is_parametrized(module) or "forward" in vars(module)


def _fold(pair: _Pair) -> None:
    """Makes what follows the convolution part of it."""
    convolution = pair.convolution
    if is_activation(pair.follower):
        if fuse_activation(convolution, pair.follower):
            setattr(pair.parent, pair.name, nn.Identity().eval())
        return
    scale, shift = _scale_and_bias(pair.follower)
    weight, bias = convolution.weight, convolution.bias
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    convolution.weight = nn.Parameter(folded.to(weight.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(
        (shift if bias is None else shift + bias * scale).to(weight.dtype), requires_grad=False
    )
    setattr(pair.parent, pair.name, nn.Identity().eval())


def _scale_and_bias(normalization: nn.Module) -> tuple[Tensor, Tensor]:
    if isinstance(normalization, FixedNormalization):
        return normalization.scale_and_bias()
    assert isinstance(normalization, _BATCH_NORMS)
    mean, variance, weight, bias = (
        None if tensor is None else tensor.to(torch.promote_types(tensor.dtype, torch.float32))
        for tensor in (normalization.running_mean, normalization.running_var, normalization.weight, normalization.bias)
    )
    assert mean is not None
    assert variance is not None
    return scale_and_bias(mean, variance, weight, bias, normalization.eps)
