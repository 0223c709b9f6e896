"""The whole of an export: a model found and built, recorded, written, and compared with itself."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from zoo_core import extras, specs
from zoo_core.checkpoints.cache import path_of, sha256_of
from zoo_core.engines import open_file
from zoo_core.engines.exported import ExportedEngine
from zoo_core.exported_files import FORMATS, ModelFacts, companions, format_of
from zoo_core.exporting.checking import Difference, difference
from zoo_core.exporting.int8 import accuracy_of, labelled, quantize
from zoo_core.exporting.integers import has_int8_layers, in_float
from zoo_core.graphs.modules import FixedDetections, Normalization, WithNormalization
from zoo_core.graphs.recording import Example, ExportError, Program, record
from zoo_core.graphs.writing import onnx_to_openvino, placed, require_writers, write
from zoo_core.inference import optimize_for_inference
from zoo_core.runtimes import version_of
from zoo_core.specs import ModelSpec
from zoo_core.tasks import Task, task_class

if TYPE_CHECKING:
    from zoo_core.graphs.structure import Signature

__all__ = ["DYNAMIC", "Exported", "Options", "export"]

DYNAMIC: Mapping[str, frozenset[str] | None] = {
    "auto": None,
    "batch,size": frozenset({"batch", "size"}),
    "batch": frozenset({"batch"}),
    "size": frozenset({"size"}),
    "none": frozenset(),
}
"""What may stay open: the number of inputs, and their size; ``"auto"`` is as much as the model takes."""

# Of the output's largest magnitude: float32 computed in another order, and weights with ten bits.
_TOLERANCE = 1e-3
_TOLERANCE_OF_HALF = 2e-2
# A rounding that falls on the next level moves what comes behind it.
_TOLERANCE_OF_INTEGERS = 5e-2


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        files: that and what lies beside it.
        format: ``"onnx"``, ``"openvino"`` or ``"pt2"``.
        signature: what it takes and gives.
        differences: from the model itself, by the shapes of the inputs with which both were run.
        tolerance: what these were compared with.
        accuracy: figures before and after quantization, where the images have labels.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    signature: "Signature"
    differences: Mapping[str, Difference]
    tolerance: float
    accuracy: tuple[Mapping[str, float], Mapping[str, float]] | None = None

    @property
    def difference(self) -> Difference:
        """The largest of all."""
        return max(self.differences.values(), key=lambda found: found.value)


@dataclass(frozen=True)
class Options:
    """How a model is exported; see :func:`export`."""

    dynamic: str = "auto"
    half: bool = False
    opset: int | None = None
    preprocess: bool = False
    max_detections: int | None = None
    size: tuple[int, ...] | None = None
    batch_size: int = 1


def export(
    model: str | os.PathLike[str] | ModelSpec,
    file: str | os.PathLike[str] | None = None,
    *,
    weights: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    dynamic: str = "auto",
    size: Sequence[int] | None = None,
    batch_size: int = 1,
    half: bool = False,
    int8: str | os.PathLike[str] | None = None,
    opset: int | None = None,
    preprocess: bool = False,
    max_detections: int | None = None,
    tolerance: float | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Exported:
    """Writes a model to a file for another runtime, and checks that it computes the same there.

    The file is run at the size of the export and at two others, as far as it takes others, and compared with the model
    in eager mode. It is written beside its place and moved there when all is well; else nothing is left.

    ::

        from zoo_core.exporting import export

        exported = export("resnet50", "resnet50.onnx")
        print(exported.signature.inputs, exported.difference.value)

    Args:
        model: its name, the path of a checkpoint, or its spec; see :func:`zoo_core.specs.find`.
        file: where to; by default the model's name with the ending of the format, in the working directory.
        weights: which published weights; by default the best.
        checkpoint, labels: parameters of your own for the model that is named, and the names of its classes.
        format: ``"onnx"``, ``"openvino"`` or ``"pt2"``; by default what the file's ending says, or else ``"onnx"``.
        options: of the task, by key, as far as they are part of the model: ``{"updates": 20}`` for optical flow.
        dynamic: what stays open: ``"batch,size"``, ``"batch"``, ``"size"`` or ``"none"``; by default (``"auto"``)
            as much as the model takes.
        size: of the inputs that the model is recorded with: height and width of images, with the number of frames
            before them for clips. By default what the weights were made for.
        batch_size: how many inputs a file takes whose number is fixed.
        half: store weights in 16 bits, which halves the file. They are computed with in what the runtime chooses.
        int8: a folder of images, as a data set of the task or loose, by which layers are quantized to 8 bits.
        opset: version of ONNX's operators; by default that of torch.
        preprocess: make normalisation part of the file, which takes uint8 then, in 0..255. Resizing and cropping are
            not: what Pillow does there has no counterpart. Detectors resize their images themselves, in the file.
        max_detections: give detectors outputs of one size: so many rows for each image, zeros behind those found, and
            their number in ``num_detections``.
        tolerance: the largest difference that is taken, as a share of the output's largest magnitude; by default 0.001,
            with ``half`` 0.02, of models with int8 layers 0.05. Not with ``int8``, where accuracy is what counts.
        on_step: called with what is done next, in a few words.

    Raises:
        ExportError: the model cannot be exported that way, or the file computes something else.
        zoo_core.extras.MissingExtraError: what writes or runs the format is not installed.
        zoo_core.catalog.UnknownModelError, zoo_core.checkpoints.CheckpointError: the model cannot be had.
        ValueError: an option does not suit the model or the format.
        OSError: the file cannot be written.
    """
    spec = specs.find(model, weights=weights, checkpoint=checkpoint, labels=labels)
    if spec.format != "state_dict":
        raise ValueError(f"{spec} is an exported file already; export the model that it was made of")
    chosen = format or (format_of(file) if file is not None else "onnx")
    _check(chosen, file, dynamic, half, int8, opset, batch_size)
    path = Path(file) if file is not None else Path(f"{spec.name}{FORMATS[chosen]}")
    require_writers(chosen)
    require_runtime(chosen)
    asked = Options(dynamic, half, opset, preprocess, max_detections, None if size is None else tuple(size), batch_size)
    tell = on_step or (lambda step: None)
    return _Export(spec, path, chosen, asked, options or {}, tolerance, tell).run(None if int8 is None else Path(int8))


def require_runtime(format: str) -> None:
    """Raises MissingExtraError if what runs a format is not installed."""
    if format in ("onnx", "openvino"):
        module = {"onnx": "onnxruntime", "openvino": "openvino"}[format]
        extras.require(module, extra=format, purpose="to run what was exported, and to compare it with the model")


def _check(
    format: str,
    file: str | os.PathLike[str] | None,
    dynamic: str,
    half: bool,
    int8: object,
    opset: int | None,
    batch_size: int,
) -> None:
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    if file is not None and Path(file).suffix.lower() != FORMATS[format]:
        raise ValueError(f"{os.fspath(file)}: files of the format {format} end in {FORMATS[format]}")
    if dynamic not in DYNAMIC:
        raise ValueError(f"dynamic must be one of {', '.join(DYNAMIC)}, not {dynamic!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if format == "pt2":
        for given, what in ((half, "half"), (int8 is not None, "int8"), (opset is not None, "opset")):
            if given:
                raise ValueError(f"{what} is for onnx and openvino: torch runs a .pt2 file in what it was exported in")
    if half and int8 is not None:
        raise ValueError("give half or int8, not both: either says how weights are stored")
    if opset is not None and not 18 <= opset <= 25:
        raise ValueError(f"opset must be between 18 and 25, not {opset}")


@dataclass(frozen=True)
class _Export:
    spec: ModelSpec
    path: Path
    format: str
    asked: Options
    task_options: Mapping[str, Any]
    tolerance: float | None
    tell: Callable[[str], None]

    def run(self, images: Path | None) -> Exported:
        self.tell("building the model")
        task = task_class(self.spec.task)(self.spec, self.task_options)
        model = specs.build(self.spec)
        normalization = self._normalization(task)
        with torch.inference_mode():
            examples, expected = self._examples(task, model)
        of_integers = has_int8_layers(model)
        if of_integers and images is not None:
            raise ExportError(f"{self.spec} has int8 layers already; leave out int8")
        model = in_float(model) if of_integers else optimize_for_inference(model)
        self.tell("recording the model")
        program = self._record(model, examples[0], normalization)
        taken = [
            (example, result)
            for example, result in zip(examples, expected, strict=True)
            if _takes(program.signature, example)
        ]
        facts = self._facts(task, program, images)
        self.tell(f"writing {self.path.name}")
        with placed(self.path) as temporary:
            first = temporary if images is None else temporary.with_suffix(".onnx")
            how = self.format if images is None else "onnx"
            said = facts.as_metadata()
            write(
                program,
                first,
                how,
                metadata=said if images is None else {},
                opset=self.asked.opset,
                half=self.asked.half,
            )
            signature = program.signature
            there: dict[str, Difference] | None = None
            del program, model
            if images is not None:
                quantize(first, facts, task, images, self.tell, said if first == temporary else {})
                if first != temporary:
                    there = _compare(first, facts, taken, self.asked.max_detections)
                    onnx_to_openvino(first, temporary, said)
                    first.unlink()
            self.tell("comparing with the model")
            differences = _compare(temporary, facts, taken, self.asked.max_detections)
            if there is not None:
                _judge_quantized(differences, there, self.spec)
            tolerance = math.inf if images is not None else self.tolerance
            if tolerance is None:
                tolerance = _TOLERANCE_OF_HALF if self.asked.half else _TOLERANCE
                tolerance = _TOLERANCE_OF_INTEGERS if of_integers else tolerance
            _judge(differences, tolerance, self.spec)
            accuracy = None if images is None else self._accuracy(task, temporary, images)
            beside = [temporary, *companions(temporary)]
            files = tuple(self.path.with_name(file.name) for file in beside if file.exists())
        return Exported(self.path, files, self.format, signature, differences, tolerance, accuracy)

    def _accuracy(
        self, task: Task[Any, Any], file: Path, images: Path
    ) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
        """Figures of the model and of the file, if the images have labels."""
        samples = labelled(task, images)
        if samples is None:
            return None
        self.tell("evaluating the model")
        before = accuracy_of(self.spec, samples, self.task_options)
        self.tell("evaluating the file")
        return before, accuracy_of(specs.find(file), samples, self.task_options)

    def _normalization(self, task: Task[Any, Any]) -> Normalization | None:
        if not self.asked.preprocess:
            return None
        if task.preprocess is None:
            raise ValueError(f"{self.spec} has no preset, so nothing says how to normalise")
        return Normalization.of(task.preprocess)

    def _examples(self, task: Task[Any, Any], model: nn.Module) -> tuple[list[Example], list[Any]]:
        """What to record the model with, then inputs of other sizes that it takes; and what it gives for each."""
        first = task.example(self.asked.size, self.asked.batch_size)
        if self.asked.max_detections is not None and not isinstance(first.arguments[0], list):
            raise ValueError(f"max_detections is for detectors, and {self.spec.name} is none")
        try:
            expected = [model(*first.arguments, **first.forward_arguments)]
        except (ValueError, RuntimeError, AssertionError) as error:
            raise ExportError(f"{self.spec} does not take the size {_size(first)}: {error}") from error
        examples = [first]
        wanted = DYNAMIC[self.asked.dynamic]
        open_ = {"batch", "size"} if wanted is None else set(wanted)
        if "batch" in open_ and any(0 in dims for dims in first.dynamic):
            more = task.example(self.asked.size, self.asked.batch_size + 2)
            examples.append(more)
            expected.append(model(*more.arguments, **more.forward_arguments))
        fits = 0
        if "size" in open_:
            for size in task.example_sizes(_sides(first)):
                other = task.example(size, self.asked.batch_size)
                try:
                    result = model(*other.arguments, **other.forward_arguments)
                except (ValueError, RuntimeError, AssertionError):
                    continue
                examples.append(other)
                expected.append(result)
                fits += 1
                if fits == 2:
                    break
            if not fits and wanted is not None:
                raise ExportError(f"{self.spec.name} takes images of {_size(first)} only, so the size cannot stay open")
        kept = {"batch"} if "batch" in open_ else set()
        dynamic = tuple(
            {dim: name for dim, name in dims.items() if (name in kept if name == "batch" else fits > 0)}
            for dims in first.dynamic
        )
        examples[0] = dataclasses.replace(first, dynamic=dynamic)
        return examples, expected

    def _record(self, model: nn.Module, example: Example, normalization: Normalization | None) -> Program:
        wrapped = model
        if self.asked.max_detections is not None:
            wrapped = FixedDetections(wrapped, self.asked.max_detections)
        if normalization is not None:
            wrapped = WithNormalization(wrapped, normalization)
            example = dataclasses.replace(example, arguments=_levels(example.arguments, normalization))
        program = self._recorded(wrapped.eval(), example)
        if self.asked.max_detections is None:
            return program
        names = [tensor.name for tensor in program.signature.outputs if tensor.name != FixedDetections.COUNT]
        template = {"padded": {name: name for name in names}, "count": FixedDetections.COUNT}
        return dataclasses.replace(program, signature=dataclasses.replace(program.signature, result=template))

    def _recorded(self, model: nn.Module, example: Example) -> Program:
        """With as many open dimensions as can be recorded, of those that the example lets change."""
        attempts = [example.dynamic]
        if self.asked.dynamic == "auto":  # what cannot be recorded for all sizes can be for some
            attempts.append(tuple({dim: n for dim, n in dims.items() if n == "batch"} for dims in example.dynamic))
            attempts.append(tuple({} for _ in example.dynamic))
        error: ExportError | None = None
        for dynamic in attempts:
            try:
                program = record(model, dataclasses.replace(example, dynamic=dynamic))
                # A forward that takes another way above some size has that size as a bound.
                bounded = program.bounded
                if bounded:
                    open_ = tuple({dim: n for dim, n in dims.items() if n not in bounded} for dims in dynamic)
                    program = record(model, dataclasses.replace(example, dynamic=open_))
                return program
            except ExportError as failure:
                error = error or failure
        assert error is not None
        raise error

    def _facts(self, task: Task[Any, Any], program: Program, images: Path | None) -> ModelFacts:
        spec = self.spec
        exported = {
            f.name: getattr(self.asked, f.name)
            for f in dataclasses.fields(self.asked)
            if getattr(self.asked, f.name) != f.default
        }
        return ModelFacts(
            model=spec.name,
            task=spec.task,
            arguments=spec.arguments,
            weights=spec.weights,
            weights_sha256=_hash(spec),
            labels=spec.labels,
            preset=spec.preset,
            preset_arguments=spec.preset_arguments,
            facts=spec.facts,
            signature=program.signature.as_dict(),
            forward_arguments=task.forward_arguments,
            export=exported | ({"int8": True} if images is not None else {}),
            versions=_versions(spec, self.format),
        )


def _levels(arguments: Sequence[Any], normalization: Normalization) -> tuple[Any, ...]:
    return tuple(
        normalization.levels(value)
        if isinstance(value, torch.Tensor)
        else [normalization.levels(image[None])[0] for image in value]
        for value in arguments
    )


def _sides(example: Example) -> tuple[int, ...]:
    """Height and width, of clips the number of frames before them."""
    return tuple(example.arguments[0][0].shape[1:])


def _size(example: Example) -> str:
    return " x ".join(map(str, _sides(example)))


def _shape(example: Example) -> str:
    first = example.arguments[0]
    return f"{len(first)} x {_size(example)}"


def _takes(signature: "Signature", example: Example) -> bool:
    """Whether a file takes such inputs at once: what is fixed in it is so in them."""
    shape = (len(example.arguments[0]), *example.arguments[0][0].shape)
    return all(
        isinstance(size, str) or size == found for size, found in zip(signature.inputs[0].shape, shape, strict=True)
    )


def _compare(
    path: Path, facts: ModelFacts, cases: Sequence[tuple[Example, Any]], most: int | None
) -> dict[str, Difference]:
    engine = ExportedEngine.of(open_file(path), facts)
    found = {}
    for example, expected in cases:
        with torch.inference_mode():
            result = engine(*example.arguments)
        if most is not None:  # detections, the likeliest first
            expected = [{key: rows[:most] for key, rows in image.items()} for image in expected]
        found[_shape(example)] = difference(result, expected, size=_sides(example)[-2:], name=example.output_name)
    return found


def _judge(differences: Mapping[str, Difference], tolerance: float, spec: ModelSpec) -> None:
    for shape, found in differences.items():
        # Of quantized detectors any number of detections may be others.
        if not math.isfinite(found.value) and math.isinf(tolerance) and found.output != "detections":
            raise ExportError(
                f"{spec.name}: for inputs of {shape} the file's {found.output} are no numbers, or of another shape "
                "than the model's; nothing was written"
            )
        if not found.value <= tolerance:
            note = f" ({found.note})" if found.note else ""
            raise ExportError(
                f"{spec.name}: for inputs of {shape} the file's {found.output} differ by {found.value:.2g} from the "
                f"model's{note}, which is more than {tolerance:g}; nothing was written. If that is good enough, give a "
                "larger tolerance"
            )


def _judge_quantized(
    differences: Mapping[str, Difference], elsewhere: Mapping[str, Difference], spec: ModelSpec
) -> None:
    """OpenVINO fuses layers of 8 bits in ways of its own, which are wrong for some networks."""
    for shape, found in differences.items():
        if not found.value <= 2 * elsewhere[shape].value + 0.1:
            raise ExportError(
                f"{spec.name}: for inputs of {shape} OpenVINO's outputs of the quantized file differ by "
                f"{found.value:.2g} from the model's, those of ONNX Runtime by {elsewhere[shape].value:.2g}: OpenVINO "
                "does not compute these layers rightly; nothing was written. Give --format onnx"
            )


def _hash(spec: ModelSpec) -> str | None:
    path = None if spec.file is None else path_of(spec.file)
    return sha256_of(path) if path is not None and path.is_file() else None


def _versions(spec: ModelSpec, format: str) -> dict[str, str]:
    names = ["zoo-core", "torch"]
    if format in ("onnx", "openvino"):
        names += ["onnx", "onnxscript"]
    if format == "openvino":
        names.append("openvino")
    names.append(task_class(spec.task).__module__.partition(".")[0].replace("_", "-"))
    return {name: version for name in names if (version := version_of(name))}
