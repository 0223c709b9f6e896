"""A model compiled for a runtime, called as the model itself is."""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core.engines.changes import Change, largest_change
from zoo_core.engines.eager import EagerEngine
from zoo_core.engines.programs import OnnxRuntimeProgram, OpenVinoProgram, Program, ProgramError
from zoo_core.engines.sources import ModuleSource, Source, SpecSource
from zoo_core.engines.trials import Choice, trial
from zoo_core.extras import MissingExtraError
from zoo_core.graphs import Example, ExportError, Signature, export_module
from zoo_core.kept_models import Entry
from zoo_core.runtimes import EngineError, check_device, check_engine, check_precision, install_command, installed
from zoo_core.specs import ModelSpec

__all__ = ["CompiledModel", "compile_for"]

Shapes = tuple[tuple[int, ...], ...]

# So many shapes get a program that is planned for them; all others share one that takes any.
_MOST_FIXED = 4
# A trial at one shape goes for others of up to so many times its size.
_NEAR = 2.0

_NOT_RUN = (ExportError, ProgramError, MissingExtraError)
_logger = logging.getLogger(__name__)


def compile_for(
    model: nn.Module | ModelSpec,
    engine: str = "auto",
    precision: str = "fp32",
    *,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> "CompiledModel":
    """Compiles a model for a runtime. What comes out is called as the model is, and gives what the model gives.

    ::

        from zoo_core.engines import compile_for

        fast = compile_for(resnet50(weights="DEFAULT"))
        logits = fast(batch)  # float32 Tensor[N, 1000]

    The model is exported and compiled at the first call with inputs of a shape, which takes from seconds to a minute,
    and kept beside the checkpoints (``zoo cache`` shows and clears it): under the hash of the parameters, the settings
    and code of the modules, the versions of the packages and the processor. A detector takes its list of images, and
    looks at each by itself.

    Args:
        model: a module, which is put into eval mode; or a spec, which is built only if nothing was kept.
        engine: ``"torch"``, ``"onnxruntime"``, ``"openvino"``; or ``"auto"``: the fastest of what is installed for the
            shape at hand, by a measurement of a few seconds whose outcome is kept as well.
        precision: ``"fp32"``; or ``"bf16"``, in which convolutions and matrix products have two to three digits.
        device: where ``"torch"`` runs. The others run on the CPU.
        threads: how many compute; by default as many as torch has now.
        arguments: keyword arguments of the model's ``forward``.
        tell: called with what is worth knowing, in a line: which engine was taken, what bf16 changes. By default it is
            logged.

    Raises:
        ValueError: there is no such engine or precision, or they do not go together.
        zoo_core.extras.MissingExtraError: the engine, or what exports to it, is not installed.
    """
    check_engine(engine)
    check_precision(precision, engine)
    place = torch.device(device)
    check_device(engine, str(place))
    if engine not in ("auto", *installed()):
        raise MissingExtraError(
            f"{engine} is needed to run models with it and is not installed: {install_command(engine)}", name=engine
        )
    given = dict(arguments or {})
    source = SpecSource(model, given) if isinstance(model, ModelSpec) else ModuleSource(model, given)
    return CompiledModel(source, engine, precision, place, threads or torch.get_num_threads(), tell or _logger.info)


class CompiledModel:
    """Runs a model in an engine; see :func:`compile_for`. May be called from several threads.

    Attributes:
        device: where outputs are.
        asked: the engine that was asked for.
        precision: what it computes in.
        choices: what was chosen for each shape of inputs so far.
        changes: what bf16 changed, by engine, as far as that was found.
    """

    def __init__(
        self,
        source: Source,
        engine: str,
        precision: str,
        device: torch.device,
        threads: int,
        tell: Callable[[str], None],
    ) -> None:
        self.device = device
        self.asked = engine
        self.precision = precision
        self.choices: dict[Shapes, Choice] = {}
        self.changes: dict[str, Change] = {}
        self._source = source
        self._threads = threads
        self._tell = tell
        self._lock = threading.RLock()
        self._runners: dict[tuple[str, Shapes], _Runner] = {}
        self._seen: set[tuple[str, Shapes]] = set()
        self._eager: EagerEngine | None = None
        self._error: EngineError | None = None

    def __call__(self, *inputs: Tensor | Sequence[Tensor]) -> Any:
        """See :class:`zoo_core.engines.Engine`.

        Raises:
            EngineError: the engine that was asked for does not run this model.
        """
        first = inputs[0] if inputs else ()
        if isinstance(first, Tensor):
            return self._run(inputs)
        images = list(first)
        names = {self._engine_for([image]) for image in images}
        if names <= {"torch"}:
            return self._checked("torch", inputs, self._eager_engine()(*inputs))
        return [item for image in images for item in self._run(([image],))]

    @cached_property
    def entry(self) -> Entry:
        """What is kept of the model."""
        return Entry(self._source.name, self._source.key, self._source.about)

    def _run(self, inputs: Sequence[Any]) -> Any:
        engine = self._engine_for(*inputs)
        if engine == "torch":
            return self._checked(engine, inputs, self._eager_engine()(*inputs))
        try:
            runner = self._runner(engine, inputs)
        except _NOT_RUN as error:
            why = str(error).rstrip(".")
            self._error = EngineError(
                f"{self._source.name} does not run in {engine}: {why}. The engine torch runs it, and auto takes "
                "what does"
            )
            raise self._error from error
        return self._checked(engine, inputs, runner(inputs))

    def _engine_for(self, *inputs: Any) -> str:
        """The engine for inputs of these shapes."""
        if self.asked != "auto":
            if self._error is not None:  # what could not be exported cannot be either for the next input
                raise self._error
            return self.asked
        shapes = _shapes(inputs)
        with self._lock:
            if shapes not in self.choices:
                self.choices[shapes] = self._near(shapes) or self._choose(shapes, inputs)
            return self.choices[shapes].engine

    def _near(self, shapes: Shapes) -> Choice | None:
        """What was chosen for inputs of about this size."""
        size = _size(shapes)
        for other, choice in self.choices.items():
            if len(other) == len(shapes) and 1 / _NEAR <= size / _size(other) <= _NEAR:
                return choice
        return None

    def _choose(self, shapes: Shapes, inputs: Sequence[Any]) -> Choice:
        candidates = [name for name in installed() if not (self.precision == "bf16" and name == "onnxruntime")]
        if self.device.type != "cpu" or len(candidates) == 1:
            why = f"others run on the CPU only, not on {self.device}" if self.device.type != "cpu" else ""
            others = {name: why for name in installed() if name != "torch"} if why else {}
            choice = Choice("torch", {}, others)
            self._tell(f"engine {choice}" + ("" if why else f"; none other is installed ({_INSTALL})"))
            return choice
        key = json.dumps([shapes, self.precision, self._threads, candidates])
        with self.entry.locked("trials"):
            found = _choice_of(self.entry.recall("trials").get(key), candidates)
            if found is None:
                found = self._measured(inputs, candidates)
                kept = {"engine": found.engine, "milliseconds": found.milliseconds, "failures": found.failures}
                self.entry.remember("trials", key, kept)
        self._tell(f"engine {found}")
        return found

    def _measured(self, inputs: Sequence[Any], candidates: Sequence[str]) -> Choice:
        failures: dict[str, str] = {}
        eager = self._eager_engine()
        with torch.inference_mode():
            eager(*inputs)  # what the model itself does not take is no engine's fault
        runs: dict[str, Callable[[], Any]] = {"torch": lambda: eager(*inputs)}
        for name in candidates:
            if name == "torch":
                continue
            try:
                runner = self._runner(name, inputs)
            except _NOT_RUN as error:
                failures[name] = str(error)
                continue
            runs[name] = _call(runner, inputs)
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)  # who reads files meanwhile may have changed that
        try:
            choice = trial(runs, failures)
        finally:
            torch.set_num_threads(before)
        if choice.engine != "torch":
            self._eager = None
        for key in [key for key in self._runners if key[0] != choice.engine]:
            del self._runners[key]
        return choice

    def _eager_engine(self) -> EagerEngine:
        with self._lock:
            if self._eager is None:
                self._eager = EagerEngine(
                    self._source.own_module(), self.device, self._source.arguments, precision=self.precision
                )
            return self._eager

    def _checked(self, engine: str, inputs: Sequence[Any], outputs: Any) -> Any:
        """The outputs; the first time, what bf16 has changed of them is told."""
        if self.precision == "fp32" or engine in self.changes:
            return outputs
        with self._lock:
            if engine in self.changes:
                return outputs
            key = f"{engine} {self.precision}"
            kept = self.entry.recall("changes").get(key)
            if isinstance(kept, dict) and kept.keys() == {"largest", "of", "counts"}:
                change = Change(kept["largest"], kept["of"], tuple(kept["counts"]) if kept["counts"] else None)
            else:
                with torch.inference_mode():
                    exact = EagerEngine(self._source.own_module(), self.device, self._source.arguments)(*inputs)
                change = largest_change(exact, outputs)
                self.entry.remember("changes", key, vars(change))
            self.changes[engine] = change
            self._tell(f"precision {self.precision}: {change}, on the first inputs that ran in {engine}")
        return outputs

    def _runner(self, engine: str, inputs: Sequence[Any]) -> "_Runner":
        shapes = _shapes(inputs)
        with self._lock:
            if (engine, shapes) in self._runners:
                return self._runners[engine, shapes]
            larger = self._larger_batch(engine, shapes)
            if larger is not None:
                return larger
            name, signature = self._exported(inputs)
            is_open = any(isinstance(size, str) for tensor in signature.inputs for size in tensor.shape)
            planned = [runner for (other, _), runner in self._runners.items() if other == engine and runner.fixed]
            fixed = shapes if is_open and len(planned) < _MOST_FIXED and isinstance(inputs[0], Tensor) else None
            if fixed is None:
                for (other, _), runner in self._runners.items():
                    if other == engine and not runner.fixed and runner.export == name:
                        self._runners[engine, shapes] = runner
                        return runner
            program = self._program(engine, name, fixed, inputs)
            self._runners[engine, shapes] = _Runner(program, signature, name, fixed is not None)
            return self._runners[engine, shapes]

    def _larger_batch(self, engine: str, shapes: Shapes) -> "_Runner | None":
        """The last batch of a row is smaller as a rule. The first time it is filled up, not compiled for."""
        if (engine, shapes) in self._seen:
            return None
        for (other, found), runner in self._runners.items():
            if (
                other == engine
                and runner.fixed
                and runner.is_by_item
                and [shape[1:] for shape in found] == [shape[1:] for shape in shapes]
                and all(shape[0] < larger[0] for shape, larger in zip(shapes, found, strict=True))
            ):
                self._seen.add((engine, shapes))
                return runner.filling(found[0][0])
        return None

    def _exported(self, inputs: Sequence[Any]) -> tuple[str, Signature]:
        """The name of an exported file that takes these inputs, and its signature."""
        shapes = _shapes(inputs)
        others = self.entry.names("export-*.onnx")
        for name in others:
            kept = self.entry.find(name, verify=False)
            with_signature = None if kept is None else _signature(kept.facts)
            if with_signature is not None and _fits(with_signature, shapes):
                return name, with_signature
        # Sizes stay open where there is more than one: not all models can have that, and it takes longer.
        ways = [True, False] if others or not isinstance(inputs[0], Tensor) else [False]
        for place, any_size in enumerate(ways):
            name = f"export-{_digest([shapes, any_size])}.onnx"
            key = name.removesuffix(".onnx")
            error = self.entry.recall("failures").get(key)
            if error is None:
                try:
                    return name, self._export(name, inputs, any_size)
                except ExportError as failed:
                    error = str(failed)
                    self.entry.remember("failures", key, error)
            if place == len(ways) - 1:
                raise ExportError(error)
        raise AssertionError("unreachable")

    def _export(self, name: str, inputs: Sequence[Any], any_size: bool) -> Signature:
        def write(path: Path) -> Mapping[str, Any]:
            self._tell(f"exporting {self._source.name}, which is kept for the next time")
            with torch.inference_mode(False), torch.no_grad():
                arguments = tuple(_cloned(value) for value in inputs)
                example = Example(
                    arguments,
                    _names(inputs),
                    tuple(_dynamic(value, any_size) for value in inputs),
                    forward_arguments=self._source.arguments,
                )
                signature = export_module(self._source.module(), example, path, format="onnx")
            return {"signature": signature.as_dict()}

        found = _signature(self.entry.make(name, write).facts)
        if found is None:
            raise ExportError(f"what was kept in {self.entry.path} is damaged; `zoo cache --clear` removes it")
        return found

    def _program(self, engine: str, export: str, fixed: Shapes | None, inputs: Sequence[Any]) -> Program:
        """The compiled form of an exported file, which is kept too."""
        made: list[Program] = []

        def source() -> Path:
            kept = self.entry.find(export)
            if kept is None:  # damaged, or deleted
                (self.entry.path / export).unlink(missing_ok=True)
                self._export(export, inputs, any_size=export != f"export-{_digest([_shapes(inputs), False])}.onnx")
                kept = self.entry.find(export)
                assert kept is not None
            return kept.path

        def write_blob(path: Path) -> Mapping[str, Any]:
            program = OpenVinoProgram(source(), precision=self.precision, threads=self._threads, shapes=fixed)
            program.save(path)
            made.append(program)
            return {"engine": engine}

        def write_optimized(path: Path) -> Mapping[str, Any]:
            made.append(OnnxRuntimeProgram(source(), threads=self._threads, shapes=fixed, optimized=path))
            return {"engine": engine}

        is_openvino = engine == "openvino"
        ending = "blob" if is_openvino else "onnx"
        settings = [export, fixed, self.precision, self._threads if is_openvino else None]
        name = f"{engine}-{self.precision}-{_digest(settings)}.{ending}"
        for _ in range(2):
            kept = self.entry.make(name, write_blob if is_openvino else write_optimized)
            if made:
                return made[0]
            try:
                if is_openvino:
                    return OpenVinoProgram(kept.path, precision=self.precision, threads=self._threads, is_blob=True)
                return OnnxRuntimeProgram(kept.path, threads=self._threads, is_optimized=True)
            except ProgramError:  # whole, and yet not taken: of another build of the runtime
                kept.path.unlink(missing_ok=True)
        raise ProgramError(f"{self._source.name}: what {engine} compiled cannot be loaded again")


class _Runner:
    """A program with the signature of the model.

    Args:
        program: what runs.
        signature: of the model.
        export: the exported file that it was made of.
        fixed: whether it is planned for one shape.
        batch: how many items it takes, where fewer are filled up.
    """

    def __init__(
        self, program: Program, signature: Signature, export: str, fixed: bool, batch: int | None = None
    ) -> None:
        self.program = program
        self.signature = signature
        self.export = export
        self.fixed = fixed
        self.batch = batch

    def filling(self, batch: int) -> "_Runner":
        """The same for fewer items than that."""
        return _Runner(self.program, self.signature, self.export, self.fixed, batch)

    @property
    def is_by_item(self) -> bool:
        """Whether the first dimension of all tensors is the batch."""
        tensors = (*self.signature.inputs, *self.signature.outputs)
        return all(tensor.shape and tensor.shape[0] == "batch" for tensor in tensors)

    def __call__(self, inputs: Sequence[Any]) -> Any:
        tensors = self.signature.flat_inputs(*inputs)
        count = len(tensors[0])
        if self.batch is None:
            return self.signature.result_of(self.program(*tensors))
        filled = [torch.cat((x, x[-1:].expand(self.batch - count, *x.shape[1:]))) for x in tensors]
        return self.signature.result_of([output[:count] for output in self.program(*filled)])


_INSTALL = "pip install 'zoo-core[onnx,openvino]' brings ONNX Runtime and OpenVINO"


def _call(runner: _Runner, inputs: Sequence[Any]) -> Callable[[], Any]:
    return lambda: runner(inputs)


def _choice_of(kept: Any, candidates: Sequence[str]) -> Choice | None:
    """A choice that was kept, if it is one."""
    try:
        if kept["engine"] in candidates:
            return Choice(kept["engine"], dict(kept["milliseconds"]), dict(kept["failures"]), remembered=True)
    except (TypeError, KeyError, ValueError):
        pass
    return None


def _signature(facts: Mapping[str, Any]) -> Signature | None:
    try:
        return Signature.from_dict(facts["signature"])
    except (KeyError, TypeError, ValueError):
        return None


def _fits(signature: Signature, shapes: Shapes) -> bool:
    return len(signature.inputs) == len(shapes) and all(
        len(tensor.shape) == len(shape)
        and all(isinstance(size, str) or size == given for size, given in zip(tensor.shape, shape, strict=True))
        for tensor, shape in zip(signature.inputs, shapes, strict=True)
    )


def _shapes(inputs: Sequence[Any]) -> Shapes:
    """The shapes of the tensors that a file takes: a list of images of one size is a batch of them."""
    return tuple(
        tuple(value.shape) if isinstance(value, Tensor) else (len(value), *(value[0].shape if value else ()))
        for value in inputs
    )


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes) or 1


def _names(inputs: Sequence[Any]) -> tuple[str, ...]:
    return ("images",) if len(inputs) == 1 else tuple(f"images_{place}" for place in range(len(inputs)))


def _dynamic(value: Any, any_size: bool) -> dict[int, str]:
    """The dimensions that stay open: the batch, and the sides if they are to."""
    if not isinstance(value, Tensor):
        return {2: "height", 3: "width"}
    sides = {4: {2: "height", 3: "width"}, 5: {2: "frames", 3: "height", 4: "width"}}
    return {0: "batch", **(sides.get(value.ndim, {}) if any_size else {})}


def _cloned(value: Any) -> Any:
    """Inputs without a tie to inference mode, which exporters do not take."""
    return value.detach().clone() if isinstance(value, Tensor) else [item.detach().clone() for item in value]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
