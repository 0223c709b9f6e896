"""Post-training quantization: an ONNX file whose layers compute in 8 bits, by what a user's images show of their range.

ONNX Runtime's own tools do it: statically, per channel, with QuantizeLinear and DequantizeLinear around each layer,
which OpenVINO reads as well.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from zoo_core import extras
from zoo_core.data import Dataset
from zoo_core.evaluating import evaluate
from zoo_core.exported_files import ModelFacts
from zoo_core.graphs.modules import Normalization
from zoo_core.graphs.recording import ExportError, first_line
from zoo_core.graphs.structure import Signature
from zoo_core.predicting.sources import NothingFoundError, Source, Sources, inputs
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Task

__all__ = ["CALIBRATION_IMAGES", "accuracy_of", "labelled", "quantize"]

CALIBRATION_IMAGES = 128
"""So many inputs at most show the range of each layer."""

_LAYERS = ["Conv", "Gemm", "MatMul"]


def quantize(
    file: Path,
    facts: ModelFacts,
    task: Task[Any, Any],
    folder: Path,
    tell: Callable[[str], None],
    metadata: Mapping[str, str],
) -> None:
    """Quantizes an ONNX file in its place.

    Args:
        file: the file, in float32.
        facts: what it says about itself.
        task: of the model.
        folder: of images: a data set of the task, or any.
        tell: called with what is done next, and with what was left out.
        metadata: what the quantized file is to say about itself.

    Raises:
        zoo_core.extras.MissingExtraError: ONNX Runtime is not installed.
        ExportError: the folder has no images that the file takes, or the model cannot be quantized.
    """
    quantization: Any = extras.require("onnxruntime.quantization", extra="onnx", purpose="to quantize models")
    signature = Signature.from_dict(facts.signature)
    normalization = Normalization.of(task.preprocess) if facts.export.get("preprocess") else None
    problems: list[str] = []
    reader = _reader(quantization, signature, _samples(task, signature, normalization, folder, problems))
    if reader.following is None:
        first = f" ({problems[0]})" if problems else ""
        raise ExportError(f"{folder}: the model takes none of what is in it{first}, so there is nothing to quantize by")
    tell(f"quantizing by what is in {folder}")
    onnx: Any = extras.require("onnx", extra="onnx", purpose="to quantize models")
    target = file.with_name(f"int8-{file.name}")
    with _silence():
        try:
            quantization.quantize_static(
                str(file),
                str(target),
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_LAYERS,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
        except Exception as error:  # whatever the tools, and protobuf below them, raise
            raise ExportError(f"ONNX Runtime does not quantize it: {first_line(error)}") from error
    if problems:
        tell(f"left out: {len(problems)} of the images, the first since {problems[0]}")
    model = onnx.load(str(target))
    del model.metadata_props[:]
    for key, text in metadata.items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, str(file))
    target.unlink()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps hints back that are for callers of the tools, and were taken."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def labelled(task: Task[Any, Any], folder: Path) -> Dataset | None:
    """The data set in a folder; ``None`` where it holds images without a truth."""
    try:
        return task.samples(folder)
    except ValueError:  # DataError is one
        return None


def _reader(quantization: Any, signature: Signature, samples: Iterator[Sequence[torch.Tensor]]) -> Any:
    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.following = next(samples, None)

        def get_next(self) -> Mapping[str, Any] | None:
            tensors, self.following = self.following, next(samples, None)
            if tensors is None:
                return None
            return {named.name: value.numpy() for named, value in zip(signature.inputs, tensors, strict=True)}

    return Reader()


def _samples(
    task: Task[Any, Any],
    signature: Signature,
    normalization: Normalization | None,
    folder: Path,
    problems: list[str],
) -> Iterator[Sequence[torch.Tensor]]:
    """Inputs of a file, evenly spread over what the folder has; ``problems`` gets what is wrong with others."""
    sources = list(_sources(task, folder, problems))
    step = max(len(sources) / CALIBRATION_IMAGES, 1)
    chosen = [sources[int(number * step)] for number in range(min(len(sources), CALIBRATION_IMAGES))]
    batch = signature.inputs[0].shape[0]
    repeated = batch if isinstance(batch, int) else 1
    taken = 0
    for source in chosen:
        try:
            for input in inputs(task, source):
                for arguments in _arguments(task, input):
                    tensors = [tensor[None].expand(repeated, *tensor.shape).contiguous() for tensor in arguments]
                    if not all(named.fits(value) for named, value in zip(signature.inputs, tensors, strict=True)):
                        continue
                    yield tensors if normalization is None else list(map(normalization.levels, tensors))
                    taken += 1
                    if taken == CALIBRATION_IMAGES:
                        return
        except (ValueError, OSError) as error:
            problems.append(str(error))


def _arguments(task: Task[Any, Any], input: Any) -> Iterator[tuple[torch.Tensor, ...]]:
    """What the model takes at a time, without a batch dimension: the clips of a video one by one."""
    sample = task.prepare(input)
    if isinstance(sample, tuple):
        yield sample
    else:
        for tensor in sample:
            yield (tensor,)


def _sources(task: Task[Any, Any], folder: Path, problems: list[str]) -> Iterator[Source]:
    samples = labelled(task, folder)
    if samples is not None:
        for place in range(len(samples)):
            yield Source(samples.sample(place).files, False, str(place))
        return
    found = Sources(task.declaration, [str(folder)], on_problem=problems.append)
    try:
        found.start()
        yield from found
    except NothingFoundError as error:
        raise ExportError(str(error)) from error
    finally:
        found.close()


def accuracy_of(spec: ModelSpec, samples: Dataset | Path, options: Mapping[str, Any]) -> Mapping[str, float]:
    """The figures of a model on a data set."""
    found = evaluate(spec, samples, options=options)
    return {} if found is None else found.metrics
