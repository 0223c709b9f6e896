"""Modules as graphs with named tensors, and as files of these: ONNX, OpenVINO, torch's own ``.pt2``.

Knows modules and tensors only, no task, engine or model of the zoo: engines write here what they compile, and
:mod:`zoo_core.exporting`, above them all, whole models. A module is recorded with an :class:`Example` of what it is
called with, which gives a :class:`Program`; its :class:`Signature` says what goes into the file and comes out of it.
"""

from zoo_core.graphs.recording import Example, ExportError, Program
from zoo_core.graphs.structure import NamedTensor, Signature
from zoo_core.graphs.writing import export_module

__all__ = ["Example", "ExportError", "NamedTensor", "Program", "Signature", "export_module"]
