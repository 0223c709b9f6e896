"""Modules as files: ONNX, OpenVINO's, torch's own. Nothing of a file is there before all of it is."""

import contextlib
import glob
import io
import json
import os
import re
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo_core import extras
from zoo_core.exported_files import FORMATS, companions, format_of
from zoo_core.graphs.recording import Example, ExportError, Program, record
from zoo_core.graphs.structure import Signature

__all__ = ["export_module", "onnx_to_openvino", "placed", "require_writers", "write"]

# Protobuf, which ONNX files are, ends at 2 GB: of larger ones the tensors lie in a file beside.
_MOST_BYTES_IN_ONE_FILE = 1_900_000_000

# Tensors of fewer numbers, biases for instance, are not worth a loss of digits.
_FEW = 1024
_LARGEST_HALF = 65504.0


def export_module(
    model: nn.Module,
    example: Example,
    file: str | os.PathLike[str],
    *,
    format: str | None = None,
    metadata: Mapping[str, str] | None = None,
    opset: int | None = None,
) -> Signature:
    """Writes a module to a file, as it is.

    Args:
        model: in eval mode.
        example: what it is recorded with, and which dimensions may change.
        file: where to; it is there when it is complete.
        format: one of :data:`~zoo_core.exported_files.FORMATS`; by default what the file's ending says.
        metadata: what the file is to say about itself beside its signature, as text by name.
        opset: the version of ONNX's operators; by default torch's.

    Returns:
        What the file takes and gives, which its metadata has under ``"signature"``.

    Raises:
        ExportError: the model cannot be exported.
        zoo_core.extras.MissingExtraError: what writes the format is not installed.
        OSError: the file cannot be written.
    """
    path = Path(file)
    chosen = format or format_of(path)
    require_writers(chosen)
    program = record(model, example)
    said = {**(metadata or {}), "signature": json.dumps(program.signature.as_dict())}
    with placed(path) as temporary:
        write(program, temporary, chosen, metadata=said, opset=opset)
    return program.signature


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Has a file and its companions written in a folder beside their place, and moves them there in the end.

    What was there before stays until then, and if something is raised. The file itself is moved last, so that it never
    lies without its companions.

    Args:
        path: where the file belongs.

    Yields:
        Where to write it, under the same name.

    Raises:
        OSError: there is no such folder, there is a folder of that name, or nothing can be written there.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(folder))
    if path.is_dir():
        raise IsADirectoryError(21, "there is a folder of that name", str(path))
    _remove_leftovers(path)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_prefix(path)}{os.getpid()}-", suffix=".part", dir=folder))
    try:
        yield temporary / path.name
        written = {file.name for file in temporary.iterdir()}
        for companion in companions(path):
            if companion.name in written:
                os.replace(temporary / companion.name, companion)
        os.replace(temporary / path.name, path)
        for companion in companions(path):  # of what was there before
            if companion.name not in written:
                companion.unlink(missing_ok=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prefix(path: Path) -> str:
    return f".{path.name}.{socket.gethostname()}-"


def _remove_leftovers(path: Path) -> None:
    """Removes what exports of the same file left that were killed."""
    for folder in path.absolute().parent.glob(f"{glob.escape(_prefix(path))}*.part"):
        process = folder.name.removeprefix(_prefix(path)).partition("-")[0]
        if process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    if os.name != "posix":  # where a signal would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write(
    program: Program,
    path: Path,
    format: str,
    *,
    metadata: Mapping[str, str] | None = None,
    opset: int | None = None,
    half: bool = False,
) -> None:
    """Writes a recorded model.

    Args:
        program: what to write.
        path: where to; see :func:`placed`.
        format: one of :data:`~zoo_core.exported_files.FORMATS`.
        metadata: what the file is to say about itself.
        opset: the version of ONNX's operators; by default torch's.
        half: store large tensors in float16; ONNX files convert them back when they are loaded. Not for ``.pt2``.

    Raises:
        zoo_core.extras.MissingExtraError: what writes the format is not installed.
        ExportError: an operator has no counterpart there.
        OSError: the file cannot be written.
    """
    writers: dict[str, Callable[[], None]] = {
        "onnx": lambda: _write_onnx(program, path, dict(metadata or {}), opset, half),
        "openvino": lambda: _write_openvino(program, path, dict(metadata or {}), opset, half),
        "pt2": lambda: _write_pt2(program, path, dict(metadata or {})),
    }
    if format not in writers:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    writers[format]()


def require_writers(format: str) -> None:
    """Raises MissingExtraError if what writes a format is not installed."""
    if format in ("onnx", "openvino"):
        for module in ("onnx", "onnxscript"):
            extras.require(module, extra=format, purpose=f"to export to {_TITLES[format]}")
    if format == "openvino":
        extras.require("openvino", extra="openvino", purpose="to export to OpenVINO")


_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO", "pt2": "torch.export"}


def _write_pt2(program: Program, path: Path, metadata: dict[str, str]) -> None:
    exported = program.exported
    # Files hold the inputs that they were recorded with otherwise.
    exported._example_inputs = None
    extra = {"zoo.json": json.dumps(metadata)} if metadata else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that share memory, which is as it should be
        torch.export.save(exported, path, extra_files=extra)


def _write_onnx(program: Program, path: Path, metadata: dict[str, str], opset: int | None, half: bool) -> None:
    require_writers("onnx")
    made = _onnx_program(program, opset)
    if half:
        _halve(made.model)
    made.model.metadata_props.clear()
    made.model.metadata_props.update(metadata)
    made.model.producer_name = "zoo"
    size = sum(value.const_value.nbytes for value in made.model.graph.initializers.values())
    made.save(str(path), external_data=size > _MOST_BYTES_IN_ONE_FILE)


def _halve(model: Any) -> None:
    """Stores weights in float16, each with a Cast behind it, which runtimes carry out while they load the file."""
    ir: Any = extras.require("onnx_ir", extra="onnx", purpose="to export to ONNX")
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < _FEW or not value.uses():
            continue
        halved = torch.from_numpy(tensor.numpy().copy()).clamp(-_LARGEST_HALF, _LARGEST_HALF).half()
        stored = ir.Value(
            name=f"{name}_half",
            shape=ir.Shape(tensor.shape),
            type=ir.TensorType(ir.DataType.FLOAT16),
            const_value=ir.tensor(halved.numpy(), name=f"{name}_half"),
        )
        uses = list(value.uses())
        del graph.initializers[name]
        graph.initializers[stored.name] = stored
        cast = ir.Node("", "Cast", [stored], [ir.AttrInt64("to", ir.DataType.FLOAT)], num_outputs=1)
        cast.outputs[0].name = name
        cast.outputs[0].shape = ir.Shape(tensor.shape)
        cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        for user, place in uses:
            user.replace_input_with(place, cast.outputs[0])
        graph.insert_before(graph[0], cast)


def _onnx_program(program: Program, opset: int | None) -> Any:
    """torch's own export, without the traces of this machine, and with names for dimensions."""
    names = program.signature
    if opset is None and any("grid_sampler" in str(node.target) for node in program.exported.graph.nodes):
        # From 20 on, modes of GridSample have other names, which OpenVINO took only in 2026.
        opset = 18
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program.exported,
                input_names=[tensor.name for tensor in names.inputs],
                output_names=[tensor.name for tensor in names.outputs],
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps whatever goes wrong in errors of its own
            cause = error.__cause__ or error
            raise ExportError(f"it has no form in ONNX: {_last_line(cause)}") from error
    assert made is not None
    _tidy(made.model, program)
    return made


def _tidy(model: Any, program: Program) -> None:
    """Removes what tells of the machine (paths of sources, in each node), and names the open dimensions."""
    onnx_ir: Any = extras.require("onnx_ir", extra="onnx", purpose="to export to ONNX")
    pattern = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in program.dimensions) or r"(?!)")
    values = [*model.graph.inputs]
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        graph.metadata_props.clear()
        for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
            node.metadata_props.clear()
            node.doc_string = None
            values += node.outputs
    for value in [*values, *model.graph.initializers.values()]:
        value.metadata_props.clear()
        if value.shape is not None:
            for dim, size in enumerate(value.shape):
                if isinstance(size, onnx_ir.SymbolicDim) and size.value is not None and not value.shape.frozen:
                    value.shape[dim] = pattern.sub(lambda match: program.dimensions[match[0]], str(size.value))
    for tensor, value in [
        *zip(program.signature.inputs, model.graph.inputs, strict=True),
        *zip(program.signature.outputs, model.graph.outputs, strict=True),
    ]:
        value.shape = onnx_ir.Shape(tensor.shape)


def _write_openvino(program: Program, path: Path, metadata: dict[str, str], opset: int | None, half: bool) -> None:
    require_writers("openvino")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source = Path(folder) / "model.onnx"
        _write_onnx(program, source, {}, opset, half=False)
        onnx_to_openvino(source, path, metadata, half=half)


def onnx_to_openvino(source: Path, path: Path, metadata: Mapping[str, str], *, half: bool = False) -> None:
    """Writes an ONNX file that says nothing about itself in OpenVINO's form, with the same inputs and outputs.

    Args:
        source: the ONNX file.
        path: ends in ``.xml``; the weights go into a ``.bin`` file beside.
        metadata: what the file is to say about itself.
        half: store weights in 16 bits.

    Raises:
        ExportError: OpenVINO does not take it.
        OSError: it cannot be written.
    """
    openvino: Any = extras.require("openvino", extra="openvino", purpose="to export to OpenVINO")
    try:
        model = openvino.Core().read_model(str(source))
    except Exception as error:
        raise ExportError(f"OpenVINO does not take it: {_last_line(error)}") from error
    for key, text in metadata.items():
        model.set_rt_info(text, ["zoo", key])
    openvino.save_model(model, str(path), compress_to_fp16=half)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
