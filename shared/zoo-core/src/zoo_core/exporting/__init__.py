"""Models as files for other runtimes: ONNX, OpenVINO, torch's own ``.pt2``.

``zoo export`` is a thin face over :func:`~zoo_core.exporting.job.export`, which takes a model of the zoo::

    from zoo_core.exporting import export

    exported = export("resnet50", "resnet50.onnx")

:func:`export_module` writes any module, with an :class:`Example` of what it is called with.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from zoo_core.exported_files import FORMATS, format_of
from zoo_core.exporting.recording import Example, ExportError, Program, record
from zoo_core.exporting.structure import NamedTensor, Signature
from zoo_core.exporting.writing import placed, require_writers, write

if TYPE_CHECKING:
    from zoo_core.exporting.job import Exported, export

__all__ = [
    "FORMATS",
    "Example",
    "ExportError",
    "Exported",
    "NamedTensor",
    "Program",
    "Signature",
    "export",
    "export_module",
    "format_of",
]


def __getattr__(name: str) -> Any:
    # These know tasks, which know engines, which write files.
    if name in ("Exported", "export"):
        from zoo_core.exporting import job

        return getattr(job, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
        format: one of :data:`FORMATS`; by default what the file's ending says.
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
