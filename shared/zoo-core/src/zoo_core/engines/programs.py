"""Exported models, loaded into a runtime: tensors in, tensors out."""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo_core import extras
from zoo_core.exported_files import FORMATS, format_of
from zoo_core.runtimes import check_device, check_engine, check_precision, installed

__all__ = ["OnnxRuntimeProgram", "OpenVinoProgram", "Program", "ProgramError", "TorchProgram", "open_file"]

Shapes = Sequence[Sequence[int]]

# The engines that run a format, the preferred one first.
_ENGINES = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "pt2": ("torch",)}


class ProgramError(ValueError):
    """A file holds no model that the runtime takes, or the model does not take an input."""


class Program(Protocol):
    """A model in a runtime. May be called from several threads.

    Attributes:
        engine: the runtime, one of :data:`~zoo_core.engines.ENGINES`.
        device: where its outputs are.
        inputs: names of the tensors that go in, in order.
        outputs: of those that come out.
        metadata: what the file says about itself, as text by name.
    """

    engine: str
    device: torch.device
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Runs the model.

        Args:
            *inputs: tensors on the CPU, in the order of :attr:`inputs`. Those of a floating dtype are converted to the
                one that the model takes.

        Returns:
            Tensors in the order of :attr:`outputs`, which later calls leave alone.

        Raises:
            ProgramError: the model does not take these inputs.
        """
        ...


def open_file(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    engine: str | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    shapes: Shapes | None = None,
) -> Program:
    """Loads an exported model into a runtime.

    Args:
        path: the file: ``.onnx``; ``.xml`` of OpenVINO, with its ``.bin`` beside it; ``.pt2`` of :mod:`torch.export`.
        format: ``"onnx"``, ``"openvino"`` or ``"pt2"``; by default what the ending says.
        engine: what runs it. By default that of the format; ONNX files run in ONNX Runtime, or in OpenVINO where only
            that is installed.
        precision: ``"fp32"``, or ``"bf16"``, which OpenVINO computes in.
        device: ``"cpu"``; a ``.pt2`` file also runs on the device that it was exported on.
        threads: how many compute; by default as many as torch has in this thread.
        shapes: of each input, if they are always the same: dimensions that the file leaves open are fixed then, and the
            runtime plans for them.

    Raises:
        FileNotFoundError: there is no such file.
        ProgramError: it is no exported model, or the runtime does not take it.
        zoo_core.extras.MissingExtraError: the runtime is not installed.
        ValueError: an argument is unknown, or they do not go together.
    """
    file = Path(path)
    if format is None:
        format = format_of(file)
    if format not in _ENGINES:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    if engine is None:
        engine = next((name for name in _ENGINES[format] if name in installed()), _ENGINES[format][0])
    check_engine(engine, auto=False)
    if engine not in _ENGINES[format]:
        raise ValueError(f"{file}: files of the format {format} run in {' or '.join(_ENGINES[format])}, not {engine}")
    check_precision(precision, engine)
    if not file.is_file():
        raise FileNotFoundError(2, "no such file", str(file))
    threads = threads or torch.get_num_threads()
    if engine == "torch":
        if precision != "fp32":
            raise ValueError(f"{file}: a .pt2 file computes in what it was exported in, not in {precision}")
        return TorchProgram(file, device)
    check_device(engine, device, hint=f"; no engine runs {file.suffix} files there")
    if engine == "onnxruntime":
        return OnnxRuntimeProgram(file, threads=threads, shapes=shapes)
    return OpenVinoProgram(file, precision=precision, threads=threads, shapes=shapes)


class OnnxRuntimeProgram:
    """An ONNX file in ONNX Runtime, on the CPU in float32. Inputs and outputs are not copied.

    Args:
        path: the file.
        threads, shapes: see :func:`open_file`.
        optimized: where to write the graph as ONNX Runtime has optimised it; loading that is quicker.
        is_optimized: whether the file is such a one.
    """

    engine = "onnxruntime"

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        shapes: Shapes | None = None,
        optimized: Path | None = None,
        is_optimized: bool = False,
    ) -> None:
        runtime = _onnxruntime()
        _require_numpy()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Threads that wait for work after the last layer would take the processors from those that read images.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        level = runtime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_DISABLE_ALL if is_optimized else level.ORT_ENABLE_ALL
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        try:
            if shapes is not None and not is_optimized:
                for name, size in _open_dimensions(runtime, path, shapes).items():
                    options.add_free_dimension_override_by_name(name, size)
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ProgramError(f"{path}: ONNX Runtime does not load it ({_first_line(error)})") from error
        self.device = torch.device("cpu")
        self._dtypes = {value.name: _DTYPES.get(value.type) for value in self._session.get_inputs()}
        self.inputs = tuple(self._dtypes)
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """See :class:`Program`."""
        _check_count(self.inputs, inputs)
        given = {
            name: _host(value, dtype).numpy() for (name, dtype), value in zip(self._dtypes.items(), inputs, strict=True)
        }
        try:
            outputs = self._session.run(None, given)
        except Exception as error:
            raise _refusal("ONNX Runtime", self.inputs, inputs, error) from error
        return [torch.from_numpy(output) for output in outputs]


class OpenVinoProgram:
    """A model in OpenVINO, on the CPU. Inputs are not copied, nor are outputs whose shape is known beforehand.

    Args:
        path: an ``.onnx`` or ``.xml`` file; or a blob, as :meth:`save` writes it.
        precision, threads, shapes: see :func:`open_file`.
        is_blob: whether the file is a blob.
    """

    engine = "openvino"

    def __init__(
        self, path: Path, *, precision: str, threads: int, shapes: Shapes | None = None, is_blob: bool = False
    ) -> None:
        runtime = _openvino()
        self._numpy = _require_numpy()
        self._runtime = runtime
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        metadata: dict[str, str] = {}
        try:
            core = _core()
            if is_blob:
                self._compiled = core.import_model(path.read_bytes(), "CPU", settings)
            else:
                model = core.read_model(str(path))
                metadata = _openvino_metadata(model)
                if shapes is not None:
                    _reshape(model, shapes)
                self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise ProgramError(f"{path}: OpenVINO does not load it ({_first_line(error)})") from error
        self.device = torch.device("cpu")
        self.inputs = tuple(value.get_any_name() for value in self._compiled.inputs)
        self.outputs = tuple(_name(value) for value in self._compiled.outputs)
        self.metadata: Mapping[str, str] = metadata
        self._dtypes = [_DTYPES.get(f"tensor({_element(value)})") for value in self._compiled.inputs]
        # A fixed shape: the output is written where its tensor lies.
        self._fixed = [
            (tuple(value.shape), torch.empty(0, dtype=_DTYPES[f"tensor({_element(value)})"]).numpy().dtype)
            if not value.partial_shape.is_dynamic and f"tensor({_element(value)})" in _DTYPES
            else None
            for value in self._compiled.outputs
        ]
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def save(self, path: Path) -> None:
        """Writes the compiled model as a blob, for this processor and this version of OpenVINO."""
        path.write_bytes(self._compiled.export_model().getvalue())

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """See :class:`Program`."""
        _check_count(self.inputs, inputs)
        tensor_of = self._runtime.Tensor
        given = [_host(value, dtype) for value, dtype in zip(inputs, self._dtypes, strict=True)]
        # NumPy asks for huge pages and torch does not: writing 181 MB of scores takes a third of the time.
        outputs = [None if fixed is None else torch.from_numpy(self._numpy.empty(*fixed)) for fixed in self._fixed]
        with self._request() as request:
            try:
                for place, value in enumerate(given):
                    request.set_input_tensor(place, tensor_of(value.numpy(), shared_memory=True))
                for place, output in enumerate(outputs):
                    if output is not None and output.numel():
                        request.set_output_tensor(place, tensor_of(output.numpy(), shared_memory=True))
                request.infer()
            except Exception as error:
                raise _refusal("OpenVINO", self.inputs, inputs, error) from error
            return [
                torch.from_numpy(request.get_output_tensor(place).data.copy()) if output is None else output
                for place, output in enumerate(outputs)
            ]

    @contextmanager
    def _request(self) -> Iterator[Any]:
        """A request that no other thread has: each holds the memory of one run."""
        with self._lock:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            yield request
        finally:
            with self._lock:
                self._idle.append(request)


class TorchProgram:
    """A ``.pt2`` file of :func:`torch.export.save`, run by torch.

    Args:
        path: the file.
        device: where it runs.
    """

    engine = "torch"

    def __init__(self, path: Path, device: str = "cpu") -> None:
        extra = dict.fromkeys(("zoo.json",), "")
        try:
            program = torch.export.load(path, extra_files=extra)
            if torch.device(device).type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
        except Exception as error:
            raise ProgramError(f"{path}: torch.export does not load it ({_first_line(error)})") from error
        self._module = program.module()
        self._dtypes = [
            node.meta["val"].dtype if isinstance(node.meta.get("val"), Tensor) else None
            for node in program.graph.nodes
            if node.name in program.graph_signature.user_inputs
        ]
        self._structure = program.call_spec.in_spec
        self.device = torch.device(device)
        self.inputs = tuple(str(name) for name in program.graph_signature.user_inputs)
        self.outputs = tuple(str(name) for name in program.graph_signature.user_outputs)
        self.metadata: Mapping[str, str] = json.loads(extra["zoo.json"] or "{}")

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """See :class:`Program`."""
        from torch.utils import _pytree

        _check_count(self.inputs, inputs)
        moved = [
            value.to(self.device, dtype if dtype is not None and value.is_floating_point() else None)
            for value, dtype in zip(inputs, self._dtypes, strict=True)
        ]
        args, kwargs = _pytree.tree_unflatten(moved, self._structure)
        try:
            with torch.inference_mode():
                return list(_pytree.tree_leaves(self._module(*args, **kwargs)))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise _refusal("torch", self.inputs, inputs, error) from error


_DTYPES = {
    **dict.fromkeys(("tensor(float)", "tensor(f32)"), torch.float32),
    **dict.fromkeys(("tensor(float16)", "tensor(f16)"), torch.float16),
    **dict.fromkeys(("tensor(double)", "tensor(f64)"), torch.float64),
    **dict.fromkeys(("tensor(int64)", "tensor(i64)"), torch.int64),
    **dict.fromkeys(("tensor(int32)", "tensor(i32)"), torch.int32),
    **dict.fromkeys(("tensor(uint8)", "tensor(u8)"), torch.uint8),
    **dict.fromkeys(("tensor(bool)", "tensor(boolean)"), torch.bool),
}
"""What runtimes call the types of tensors."""

_core_lock = threading.Lock()
_cores: list[Any] = []


def _onnxruntime() -> Any:
    return extras.require("onnxruntime", extra="onnx", purpose="to run models in ONNX Runtime")


def _openvino() -> Any:
    return extras.require("openvino", extra="openvino", purpose="to run models in OpenVINO")


def _require_numpy() -> Any:
    """Both runtimes take and give NumPy's arrays, whose memory torch's tensors share."""
    return extras.require("numpy", extra="onnx", purpose="to exchange tensors with runtimes")


def _core() -> Any:
    """OpenVINO's core, of which a process needs one."""
    with _core_lock:
        if not _cores:
            _cores.append(_openvino().Core())
        return _cores[0]


def _element(value: Any) -> str:
    return str(value.get_element_type().get_type_name())


def _name(value: Any) -> str:
    names = sorted(value.get_names())
    return names[0] if names else ""


def _openvino_metadata(model: Any) -> dict[str, str]:
    """What ``rt_info`` has under ``zoo``; of an ONNX file, its metadata."""
    found: dict[str, str] = {}
    for section in ("zoo", "framework"):
        if model.has_rt_info([section]):
            with_values = model.get_rt_info([section]).astype(dict)
            found |= {str(key): str(getattr(value, "value", value)) for key, value in with_values.items()}
    return found


def _reshape(model: Any, shapes: Shapes) -> None:
    """Fixes the shapes of a model's inputs."""
    if any(value.partial_shape.is_dynamic for value in model.inputs):
        model.reshape({value: list(shape) for value, shape in zip(model.inputs, shapes, strict=True)})


def _open_dimensions(runtime: Any, path: Path, shapes: Shapes) -> dict[str, int]:
    """The dimensions of inputs that an ONNX file leaves open, by name, with the sizes that they are to have."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {
        name: size
        for value, shape in zip(session.get_inputs(), shapes, strict=True)
        for name, size in zip(value.shape, shape, strict=True)
        if isinstance(name, str)
    }


def _host(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as runtimes take it: on the CPU, row-major, of the floating dtype that the model wants."""
    value = value.detach()
    if dtype is not None and value.dtype is not dtype and value.is_floating_point() and dtype.is_floating_point:
        value = value.to(dtype)
    return value.cpu().contiguous()


def _check_count(names: Sequence[str], inputs: Sequence[Tensor]) -> None:
    if len(inputs) != len(names):
        raise ProgramError(f"the model takes {len(names)} tensors ({', '.join(names)}), not {len(inputs)}")


def _refusal(runtime: str, names: Sequence[str], inputs: Sequence[Tensor], error: Exception) -> Exception:
    """What to raise for an error of a runtime."""
    given = ", ".join(f"{n} {tuple(v.shape)} {v.dtype}" for n, v in zip(names, inputs, strict=True))
    text = _first_line(error)
    if any(word in text.lower() for word in ("bad_alloc", "out of memory", "failed to allocate")):
        return MemoryError(f"{runtime}: {text}")
    return ProgramError(f"{runtime} does not take these inputs: {given} ({text})")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines and lines[0].startswith("Exception from") else lines[0]) if lines else repr(error)
