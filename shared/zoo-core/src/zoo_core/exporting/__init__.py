"""Models as files for other runtimes: ONNX, OpenVINO, torch's own ``.pt2``.

``zoo export`` is a thin face over :func:`~zoo_core.exporting.job.export`, which takes a model of the zoo::

    from zoo_core.exporting import export

    exported = export("resnet50", "resnet50.onnx")

:func:`export_module` writes any module, with an :class:`Example` of what it is called with. Both record and write
models by :mod:`zoo_core.graphs`, whose names stand here as well.
"""

from zoo_core.exported_files import FORMATS, format_of
from zoo_core.exporting.job import Exported, export
from zoo_core.graphs import Example, ExportError, NamedTensor, Program, Signature, export_module

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
