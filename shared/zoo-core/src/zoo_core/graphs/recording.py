"""A model recorded as a program of :mod:`torch.export`, with named tensors for inputs and outputs."""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from zoo_core.graphs.structure import NamedTensor, Signature

__all__ = ["Example", "ExportError", "FlatModel", "Program", "record"]


# Sizes up to this are as good as any.
_NO_BOUND = 2**16


class ExportError(ValueError):
    """A model could not be exported, or what was exported does not compute the same."""


@dataclass(frozen=True)
class Example:
    """What a model is exported with.

    Attributes:
        arguments: the positional arguments of the model: batches, Tensor[N, ...]; of detectors, lists of images of one
            size.
        names: of the arguments, as files have them.
        dynamic: for each argument the dimensions of its batch that may change, with their names: ``{0: "batch",
            2: "height", 3: "width"}``.
        output_name: for what is no dict.
        renamed: names for what is in dicts, where they are others than the keys.
        forward_arguments: keyword arguments of the model.
    """

    arguments: tuple[Any, ...]
    names: tuple[str, ...] = ("images",)
    dynamic: tuple[Mapping[int, str], ...] = ()
    output_name: str = "output"
    renamed: Mapping[str, str] = field(default_factory=dict)
    forward_arguments: Mapping[str, Any] = field(default_factory=dict)


class FlatModel(nn.Module):
    """A model that takes and gives the tensors of its signature, one after the other.

    Args:
        model: the module.
        signature: of its calls.
        forward_arguments: keyword arguments of its ``forward``.
    """

    def __init__(self, model: nn.Module, signature: Signature, forward_arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.signature = signature
        self.forward_arguments = dict(forward_arguments)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of the signature's inputs -> tensors in the order of its outputs."""
        result = self.model(*self.signature.arguments_of(tensors), **self.forward_arguments)
        return tuple(self.signature.flat_outputs(result))


@dataclass(frozen=True)
class Program:
    """A recorded model.

    Attributes:
        exported: takes and gives the tensors of the signature.
        signature: names of dimensions are those that are not fixed.
        inputs: that it was recorded with.
        dimensions: torch's own names of the dimensions that are not fixed -> those of the signature.
    """

    exported: ExportedProgram
    signature: Signature
    inputs: tuple[Tensor, ...]
    dimensions: Mapping[str, str]

    @property
    def bounded(self) -> frozenset[str]:
        """The names of open dimensions that may not be larger than some size."""
        constraints = {str(symbol): bounds for symbol, bounds in self.exported.range_constraints.items()}
        return frozenset(
            name
            for symbol, name in self.dimensions.items()
            if symbol in constraints and constraints[symbol].upper < _NO_BOUND
        )


def record(model: nn.Module, example: Example) -> Program:
    """Records a model.

    Dimensions that the example lets change, and that the model's forward fixes, are fixed.

    Args:
        model: in eval mode.
        example: what it is called with.

    Raises:
        ExportError: ``torch.export`` cannot record it.
    """
    with torch.no_grad(), _quiet():
        result = model(*example.arguments, **example.forward_arguments)
        signature = Signature.of(
            example.arguments,
            result,
            input_names=example.names,
            output_name=example.output_name,
            renamed=example.renamed,
        )
        flat = FlatModel(model, signature, example.forward_arguments).eval()
        inputs = tuple(_enlarged_batch(signature.flat_inputs(*example.arguments), example))
        dynamic = example.dynamic or tuple({} for _ in inputs)
        shapes = tuple(dict.fromkeys(dims, Dim.AUTO) or None for dims in dynamic)
        try:
            exported = torch.export.export(flat, inputs, dynamic_shapes=(shapes,) if any(dynamic) else None)
        except Exception as error:  # whatever a forward raises that is given stand-ins for tensors
            raise ExportError(f"torch.export cannot record it: {first_line(error)}") from error
    names = _dimension_names(exported, example)
    return Program(exported, _with_shapes(signature, exported, names), inputs, names)


def _enlarged_batch(inputs: Sequence[Tensor], example: Example) -> Iterator[Tensor]:
    """A dimension of size 1 would be taken to be 1 always: where the batch may change, it is two."""
    for tensor, dims in zip(inputs, example.dynamic or [{}] * len(inputs), strict=True):
        yield torch.cat((tensor, tensor)) if 0 in dims and len(tensor) == 1 else tensor


def _user_values(exported: ExportedProgram) -> tuple[list[Any], list[Any]]:
    """The stand-ins of the inputs and outputs in the graph."""
    by_name = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    signature = exported.graph_signature
    return (
        [by_name[str(name)] for name in signature.user_inputs],
        [by_name[str(name)] for name in signature.user_outputs],
    )


def _dimension_names(exported: ExportedProgram, example: Example) -> dict[str, str]:
    names: dict[str, str] = {}
    for value, dims in zip(_user_values(exported)[0], example.dynamic or (), strict=False):
        for dim, name in dims.items():
            size = value.shape[dim]
            for symbol in getattr(getattr(size, "node", None), "expr", size).free_symbols if _is_open(size) else ():
                names.setdefault(str(symbol), name)
    return names


def _is_open(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and bool(getattr(size.node.expr, "free_symbols", ()))


def _with_shapes(signature: Signature, exported: ExportedProgram, names: Mapping[str, str]) -> Signature:
    """The signature with names for the dimensions that are not fixed."""
    inputs, outputs = _user_values(exported)
    return dataclasses.replace(
        signature,
        inputs=tuple(_named(tensor, value, names) for tensor, value in zip(signature.inputs, inputs, strict=True)),
        outputs=tuple(_named(tensor, value, names) for tensor, value in zip(signature.outputs, outputs, strict=True)),
    )


def _named(tensor: NamedTensor, value: Any, names: Mapping[str, str]) -> NamedTensor:
    def size(dim: int, found: Any) -> int | str:
        if not _is_open(found):
            return int(found)
        symbols = [str(symbol) for symbol in found.node.expr.free_symbols]
        if all(symbol in names for symbol in symbols):
            expression = str(found.node.expr)
            if expression in names:
                return names[expression]
            if len(symbols) == 1:  # a multiple or a fraction of it
                return f"{tensor.name}_{names[symbols[0]]}"
            return f"{tensor.name}_{dim}"
        return "detections" if dim == 0 else f"{tensor.name}_{dim}"  # how many depends on the values

    return dataclasses.replace(tensor, shape=tuple(size(dim, found) for dim, found in enumerate(value.shape)))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: Exception) -> str:
    """The first line of what an error says, or else its type: exporters go on with graphs and tracebacks."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
