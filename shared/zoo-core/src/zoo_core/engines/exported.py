"""An exported file as an engine: it takes and gives what the model itself takes and gives."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_core import presets
from zoo_core.engines.programs import Program, open_file
from zoo_core.exported_files import ExportedFileError, ModelFacts, read_metadata
from zoo_core.graphs.modules import Normalization
from zoo_core.graphs.structure import Signature
from zoo_core.specs import ModelSpec

__all__ = ["ExportedEngine", "open_exported"]


class ExportedEngine:
    """Runs an exported model, see :class:`zoo_core.engines.Engine`.

    Batches of another size than the file has run in several parts, and detectors image by image.

    Args:
        program: the file in a runtime.
        signature: what it takes and gives.
        normalization: that of its preset, where that is part of the file.
    """

    def __init__(self, program: Program, signature: Signature, normalization: Normalization | None = None) -> None:
        self.program = program
        self.device: torch.device = program.device
        self.signature = signature
        self.normalization = normalization
        has = {tensor.name for tensor in signature.inputs}
        if program.engine != "torch" and has != set(program.inputs):
            raise ExportedFileError(
                f"the file's inputs are {', '.join(program.inputs)}, and its description names {', '.join(sorted(has))}"
            )

    @classmethod
    def of(cls, program: Program, facts: ModelFacts) -> "ExportedEngine":
        """The engine for a file.

        Raises:
            ExportedFileError: the file does not describe itself rightly.
        """
        try:
            signature = Signature.from_dict(facts.signature)
            normalization = None
            if facts.export.get("preprocess"):
                preset = getattr(presets, facts.preset or "", None)
                if preset is None:
                    raise ValueError(f"there is no preset {facts.preset!r}")
                normalization = Normalization.of(preset(**facts.preset_arguments))
        except (ValueError, TypeError) as error:
            raise ExportedFileError(f"the file does not say rightly what it takes and gives: {error}") from error
        return cls(program, signature, normalization)

    def __call__(self, *inputs: Tensor | Sequence[Tensor]) -> Any:
        """Runs the model; see :class:`zoo_core.engines.Engine`.

        Raises:
            ValueError: the file does not take such inputs.
        """
        if len(inputs) != len(self.signature.arguments):
            raise ValueError(f"the model takes {len(self.signature.arguments)} arguments, not {len(inputs)}")
        first = inputs[0]
        if isinstance(first, Tensor):
            return self._batches(inputs)
        return [item for part, kept in self._lists(first) for item in self._run((part,))[:kept]]

    def _lists(self, images: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], int]]:
        """Lists of as many images of one size as the file takes, and how many of them are no repetition."""
        size = self.signature.inputs[0].shape[0]
        step = size if isinstance(size, int) else 1
        for start in range(0, len(images), step):
            part = list(images[start : start + step])
            if len(part) == step and len({image.shape for image in part}) == 1:
                yield part, step
            else:
                yield from (([image] * step, 1) for image in part)

    def _batches(self, inputs: Sequence[Any]) -> Any:
        size = self.signature.inputs[0].shape[0]
        count = len(inputs[0])
        if isinstance(size, str) or size == count:
            return self._run(inputs)
        results = []
        for start in range(0, count, size):
            part = [value[start : start + size] for value in inputs]
            there = len(part[0])
            if there < size:
                part = [torch.cat((value, value[-1:].expand(size - there, *value.shape[1:]))) for value in part]
            results.append(_cut(self._run(part), there))
        return _joined(results)

    def _run(self, inputs: Sequence[Any]) -> Any:
        tensors = self.signature.flat_inputs(*inputs)
        for place, (tensor, named) in enumerate(zip(tensors, self.signature.inputs, strict=True)):
            if not named.fits(tensor):
                raise ValueError(
                    f"the file takes {named}, and this is {list(tensor.shape)}; export the model for that size, or for "
                    "any where it takes any"
                )
            if named.dtype == "uint8" and tensor.dtype != torch.uint8:
                if self.normalization is None:
                    raise ValueError(f"the file takes {named}, and this is {tensor.dtype}")
                tensors[place] = self.normalization.levels(tensor)
        return self.signature.result_of(self.program(*tensors))


def open_exported(
    spec: ModelSpec,
    device: torch.device | str = "cpu",
    *,
    engine: str | None = None,
    precision: str = "fp32",
    arguments: Mapping[str, Any] | None = None,
) -> ExportedEngine:
    """Opens the exported file that a spec names.

    Args:
        spec: of the file's model.
        device: where it runs.
        engine: what runs it, if not what the format is for; ``"auto"`` is that too.
        precision: ``"fp32"``, or ``"bf16"``, for which ONNX files run in OpenVINO.
        arguments: keyword arguments of the model's ``forward``, which must be those that the file was exported with.

    Raises:
        zoo_core.extras.MissingExtraError: the runtime is not installed.
        ValueError: the file is none that its runtime takes, or was exported with other arguments.
        OSError: it cannot be read.
    """
    assert spec.file is not None
    facts = ModelFacts.from_metadata(read_metadata(spec.file), spec.file)
    wanted = json.loads(json.dumps(dict(arguments or {})))
    if wanted != facts.forward_arguments:
        differing = [
            key for key in {**wanted, **facts.forward_arguments} if wanted.get(key) != facts.forward_arguments.get(key)
        ]
        has = ", ".join(f"{key} = {facts.forward_arguments.get(key)}" for key in differing)
        asked = ", ".join(f"{key} = {wanted.get(key)}" for key in differing)
        raise ExportedFileError(
            f"{spec.file} was exported with {has}, and cannot run with {asked}; export it anew for that"
        )
    if engine == "auto":
        engine = None
    if engine is None and precision != "fp32" and spec.format == "onnx":
        engine = "openvino"
    program = open_file(spec.file, engine=engine, precision=precision, device=str(device))
    return ExportedEngine.of(program, facts)


def _cut(result: Any, count: int) -> Any:
    """The first items of a batch."""
    if isinstance(result, Mapping):
        return {key: _cut(value, count) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return type(result)([_cut(value, count) for value in result])
    return result[:count]


def _joined(results: Sequence[Any]) -> Any:
    """Batches, one after the other."""
    first = results[0]
    if isinstance(first, Mapping):
        return {key: _joined([result[key] for result in results]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)([_joined(parts) for parts in zip(*results, strict=True)])
    return torch.cat(list(results))
