"""What keeps forwards open to the tools that record or watch them: ``torch.fx``, ``torch.jit``, exporters, hooks."""

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch
import torch.fx
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = [
    "ThreadTracer",
    "added",
    "is_plain",
    "is_recorded",
    "is_stand_in",
    "is_transformed",
    "is_watched",
    "module_node",
    "one_node",
]

P = ParamSpec("P")
R = TypeVar("R")


class ThreadTracer(torch.fx.Tracer):
    """Records what its own thread calls.

    While it traces, torch's tracer stands in the way of every module of the process, and refuses those that are not the
    model's: the preprocessing that other threads are at, say.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def is_stand_in(value: object) -> bool:
    """Whether a value is one of ``torch.fx``'s stand-ins, or has one in it: nothing may be decided by it."""
    if isinstance(value, dict):
        return any(map(is_stand_in, value.values()))
    if isinstance(value, tuple | list):
        return any(map(is_stand_in, value))
    return isinstance(value, torch.fx.Proxy)


def is_recorded(x: Tensor) -> bool:
    """Whether what is done with ``x`` becomes part of a program that is to serve other sizes as well.

    Checks of its shape are left out then: while torch compiles, exports or traces the model.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or is_stand_in(x)


def is_transformed() -> bool:
    """Whether a transform of :mod:`torch.func` is at work (``vmap``, ``grad``, ``jvp``), or forward-mode
    differentiation: only plain operators have rules for these, and values that are kept belong to one call.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def one_node(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a function one node in graphs of ``torch.fx``, because it asks for sizes or values.

    As :func:`torch.fx.wrap`, but wherever it is called from. Its arguments must be what a graph can hold: tensors,
    numbers, strings, dtypes, devices, and tuples, lists or dicts of them. It must be a module's own, by its name.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for value in (*args, *kwargs.values()):
            if is_stand_in(value):
                tracer = _tracer_of(value)
                return cast(R, tracer.create_proxy("call_function", call, args, kwargs))
        return function(*args, **kwargs)

    return call


def _tracer_of(value: Any) -> torch.fx.proxy.TracerBase:
    while not isinstance(value, torch.fx.Proxy):
        value = next(filter(is_stand_in, value.values() if isinstance(value, dict) else value))
    return value.tracer


def module_node(module: nn.Module, *arguments: Any) -> Any:
    """Makes a call of a module one node in a graph of ``torch.fx``, as calls of torch's own modules are.

    Args:
        module: is part of what is traced.
        *arguments: of its forward, at least one of which is a stand-in.

    Returns:
        The stand-in of its output; ``None`` where the module itself is what is traced.
    """
    tracer: Any = _tracer_of(arguments)
    path = tracer.path_of_module(module)
    return tracer.create_proxy("call_module", path, arguments, {}) if path else None


def is_watched(module: nn.Module) -> bool:
    """Whether somebody sees or changes what a module takes or gives: by hooks, its own or those of all modules, or by
    a ``forward`` that was put into the instance.
    """
    own = (
        module._forward_pre_hooks,
        module._forward_hooks,
        module._backward_pre_hooks,
        module._backward_hooks,
    )
    everywhere = (
        nn.modules.module._global_forward_pre_hooks,
        nn.modules.module._global_forward_hooks,
        nn.modules.module._global_backward_pre_hooks,
        nn.modules.module._global_backward_hooks,
    )
    return any(map(len, (*own, *everywhere))) or "forward" in vars(module)


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of that class itself and is not watched, so that the same may be computed without calling it.

    A parametrized module is of a class of its own. One that :mod:`zoo_core.fused` computes faster counts as torch's.
    """
    own = type(module)
    is_kind = own is kind or (getattr(own, "plain_form", None) is kind and getattr(module, "activation", None) is None)
    return is_kind and not is_watched(module)


def added(result: Tensor, shortcut: Tensor, module: nn.Module) -> Tensor:
    """The sum of what a module gave and a shortcut, in the memory of the former where nobody can have kept it.

    Args:
        result: what ``module`` gave.
        shortcut: of the same shape.
        module: if it is an :class:`torch.nn.Sequential`, what it gave is what its last layer gave, too.
    """
    if is_stand_in(result):  # a tool may take the result out of the graph
        return result + shortcut
    giver: nn.Module | None = module
    while giver is not None:
        if is_watched(giver):
            return result + shortcut
        giver = giver[-1] if isinstance(giver, nn.Sequential) and len(giver) else None
    result += shortcut
    return result
