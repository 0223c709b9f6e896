"""Translations of ``torch.ops.zoo.*`` to ONNX, which torch's exporters find by themselves.

Both exporters of :func:`torch.onnx.export` keep a table of translations: that with ``dynamo=True`` the one of the
package onnxscript, in which torchvision's operators stand too, that with ``dynamo=False`` torch's own. :func:`register`
adds ours when an exporter's table is imported, so that a program that exports nothing imports neither.

The backward passes have no translation, as exporters take no gradients. What an ONNX file computes differs from
:mod:`zoo_detection.ops` in this: ``NonMaxSuppression`` takes float32 only, to which float64 boxes and scores are
rounded, and drops boxes with a score of -inf or NaN; ``RoiAlign`` of half precision computes in float32; in which order
boxes of equal scores come (OpenVINO), and what regions with NaN or infinite coordinates give, is up to the runtime.
"""

from zoo_detection.ops._after_import import after_import


def _for_dynamo() -> None:
    from zoo_detection.ops._onnx import dynamo


def _for_torchscript() -> None:
    from zoo_detection.ops._onnx import torchscript


def register() -> None:
    """Adds the translations to the exporters' tables as soon as these are imported."""
    after_import("torch.onnx", _for_torchscript)
    after_import("onnxscript.function_libs.torch_lib.registration", _for_dynamo)
