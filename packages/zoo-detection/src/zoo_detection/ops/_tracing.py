"""Functions that stay whole when ``torch.fx`` traces a program symbolically, as torch's own do."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch.fx import Proxy

P = ParamSpec("P")
R = TypeVar("R")


def leaf(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a call with values that a tracer stands in for one node of the graph.

    Checks of shapes, loops over boxes and the like then run when the graph runs.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.compiler.is_compiling():
            proxy = _first_proxy((*args, *kwargs.values()))
            if proxy is not None:
                result: Any = proxy.tracer.create_proxy("call_function", call, args, kwargs)
                return result
        return function(*args, **kwargs)

    return call


def _first_proxy(values: Iterable[Any]) -> Proxy | None:
    for value in values:
        if isinstance(value, Proxy):
            return value
        if isinstance(value, list | tuple | Mapping):
            found = _first_proxy(value.values() if isinstance(value, Mapping) else value)
            if found is not None:
                return found
    return None
