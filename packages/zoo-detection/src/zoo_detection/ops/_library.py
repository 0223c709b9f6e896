"""The operators ``torch.ops.zoo.*``: their schemas, the libraries that implement them, and how they differentiate.

``torch.ops.zoo`` has compiled kernels for the CPU (``_ops_cpu``) and for CUDA (``_ops_cuda``). Where a library is
missing or does not load, and on other devices, the functions of :mod:`zoo_detection.ops._fallback` serve, after one
warning.
"""

import ctypes
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_detection.ops import _fallback, _onnx
from zoo_detection.precision import single_or_better

SCHEMAS = (
    "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
    "batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "SymInt batch, SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned) -> Tensor",
    "multiscale_roi_align(Tensor[] inputs, Tensor rois, Tensor levels, float[] spatial_scales, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
    "multiscale_roi_align_backward(Tensor grad, Tensor rois, Tensor levels, float[] spatial_scales, "
    "SymInt pooled_height, SymInt pooled_width, SymInt batch, SymInt channels, SymInt[] heights, SymInt[] widths, "
    "int sampling_ratio, bool aligned) -> Tensor[]",
)

_DEVICES_ADDING_IN_ANY_ORDER = ("cuda",)
_AUTOCAST_KEYS = ("AutocastCPU", "AutocastCUDA", "AutocastXPU", "AutocastMPS")

_library = torch.library.Library("zoo", "FRAGMENT")
_library_paths: dict[str, Path] = {}  # what was loaded
_failures: dict[str, str] = {}  # why a library was not
_warned = False


def backend() -> dict[str, str]:
    """What serves the operators in this process.

    Returns:
        For ``"cpu"`` and ``"cuda"``, ``"compiled"`` (for the CPU with the instruction set in use: ``"compiled
        (avx512)"``), or the reason why the pure-torch implementation serves.
    """
    result = {}
    for device in ("cpu", "cuda"):
        if device not in _library_paths:
            result[device] = _failures.get(device, "not loaded")
        elif device == "cpu":
            result[device] = f"compiled ({_instruction_set(_library_paths[device])})"
        else:
            result[device] = "compiled"
    return result


def _instruction_set(path: Path) -> str:
    function = ctypes.CDLL(str(path)).zoo_ops_instruction_set
    function.restype = ctypes.c_char_p
    return function().decode()


def _find_library(name: str) -> Path | None:
    """Looks beside this package, and, for an editable installation, where the wheel's files were installed."""
    file_name = f"{name}.dll" if sys.platform == "win32" else f"{name}.so"
    candidates = [Path(__file__).parents[1] / file_name]
    try:
        distribution = importlib.metadata.distribution("zoo-detection")
        candidates.append(Path(str(distribution.locate_file(f"zoo_detection/{file_name}"))))
    except importlib.metadata.PackageNotFoundError:
        pass
    return next((path for path in candidates if path.is_file()), None)


def _load(device: str) -> None:
    path = _find_library(f"_ops_{device}")
    if path is None:
        _failures[device] = f"this installation of zoo-detection has no compiled library for {device.upper()}"
        return
    try:
        torch.ops.load_library(str(path))
    except Exception as error:  # whatever is wrong with it, the operators still work
        _failures[device] = f"{path.name} did not load: {error}"
    else:
        _library_paths[device] = path


def _load_compiled() -> None:
    choice = os.environ.get("ZOO_OPS", "auto")
    if choice not in ("auto", "python"):
        raise ValueError(f"the environment variable ZOO_OPS is {choice!r}; expected 'auto' or 'python'")
    if choice == "python":
        _failures.update(dict.fromkeys(("cpu", "cuda"), "the environment variable ZOO_OPS is 'python'"))
        return
    _load("cpu")
    if torch.version.cuda is None:
        _failures["cuda"] = "this torch is built without CUDA"
        return
    _load("cuda")
    # The library registers nothing where the driver could not run its kernels.
    if "cuda" in _library_paths and not torch._C._dispatch_has_kernel_for_dispatch_key("zoo::nms", "CUDA"):
        del _library_paths["cuda"]
        _failures["cuda"] = "the CUDA driver is missing, or older than the CUDA that zoo-detection was built with"


def _warn_once(device: torch.device) -> None:
    global _warned
    if _warned:
        return
    _warned = True
    reason = _failures.get(device.type, f"zoo-detection has no kernels for {device.type!r} devices")
    warnings.warn(
        f"NMS and RoIAlign run in pure torch, slower than compiled: {reason}. "
        "For the fast operators install a zoo-detection wheel for this platform, or build one with a C++20 compiler: "
        "pip install --force-reinstall --no-binary zoo-detection zoo-detection.",
        RuntimeWarning,
        stacklevel=3,
    )


def _with_warning(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        first = args[0] if isinstance(args[0], Tensor) else args[0][0]
        _warn_once(first.device)
        return function(*args)

    return call


# What the operators return, without computing it.


def _nms_shape(boxes: Tensor) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size()
    torch._check(kept <= boxes.shape[0])
    return boxes.new_empty((kept,), dtype=torch.int64)


def _fake_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    _fallback.check_nms(boxes, scores, iou_threshold)
    return _nms_shape(boxes)


def _fake_batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    _fallback.check_nms(boxes, scores, iou_threshold)
    return _nms_shape(boxes)


def _fake_roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _fallback.check_pooling(pooled_height, pooled_width, sampling_ratio, (spatial_scale,))
    return _fallback.empty_map(input, (rois.shape[0], input.shape[1], pooled_height, pooled_width))


def _fake_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _fallback.check_pooling(pooled_height, pooled_width, sampling_ratio, (spatial_scale,))
    return _fallback.empty_map(grad, (batch, channels, height, width))


def _fake_multiscale_roi_align(
    inputs: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    _fallback.check_pooling(pooled_height, pooled_width, sampling_ratio, spatial_scales)
    return _fallback.empty_map(inputs[0], (rois.shape[0], inputs[0].shape[1], pooled_height, pooled_width))


def _fake_multiscale_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    levels: Tensor,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    batch: int,
    channels: int,
    heights: Sequence[int],
    widths: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    _fallback.check_pooling(pooled_height, pooled_width, sampling_ratio, spatial_scales)
    return [_fallback.empty_map(grad, (batch, channels, h, w)) for h, w in zip(heights, widths, strict=True)]


# Gradients. RoIAlign is linear in its features, so the derivative of its backward pass is its forward pass. There is no
# gradient for the regions.


def _gradient_operator(name: str, grad: Tensor) -> Callable[..., Any]:
    """The operator of a backward pass, or its deterministic form if the user asks for that.

    The kernels for CUDA add gradients in any order; the pure-torch form adds them by ``index_add_``, which heeds
    :func:`torch.use_deterministic_algorithms`.
    """
    in_any_order = grad.device.type in _DEVICES_ADDING_IN_ANY_ORDER
    if in_any_order and torch.are_deterministic_algorithms_enabled() and not torch.compiler.is_compiling():
        return getattr(_fallback, name)
    return getattr(torch.ops.zoo, name)


def _save_roi_align(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, rois, *ctx.options = inputs
    ctx.shape = input.shape
    ctx.save_for_backward(rois)


def _roi_align_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (rois,) = ctx.saved_tensors
    scale, height, width, sampling_ratio, aligned = ctx.options
    backward = _gradient_operator("roi_align_backward", grad)
    result = backward(grad, rois, scale, height, width, *ctx.shape, sampling_ratio, aligned)
    return result, *[None] * 6


def _save_roi_align_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, rois, scale, height, width, _, _, _, _, sampling_ratio, aligned = inputs
    ctx.options = (scale, height, width, sampling_ratio, aligned)
    ctx.save_for_backward(rois)


def _roi_align_backward_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (rois,) = ctx.saved_tensors
    return torch.ops.zoo.roi_align(grad, rois, *ctx.options), *[None] * 10


def _save_multiscale_roi_align(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, levels, *ctx.options = inputs
    ctx.shapes = [feature.shape for feature in features]
    ctx.save_for_backward(rois, levels)


def _multiscale_roi_align_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    rois, levels = ctx.saved_tensors
    scales, height, width, sampling_ratio, aligned = ctx.options
    batch, channels = ctx.shapes[0][:2]
    heights = [shape[2] for shape in ctx.shapes]
    widths = [shape[3] for shape in ctx.shapes]
    backward = _gradient_operator("multiscale_roi_align_backward", grad)
    result = backward(
        grad, rois, levels, scales, height, width, batch, channels, heights, widths, sampling_ratio, aligned
    )
    return result, *[None] * 7


def _save_multiscale_roi_align_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    _, rois, levels, scales, height, width, _, _, _, _, sampling_ratio, aligned = inputs
    ctx.options = (scales, height, width, sampling_ratio, aligned)
    ctx.save_for_backward(rois, levels)


def _multiscale_roi_align_backward_grad(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    rois, levels = ctx.saved_tensors
    return torch.ops.zoo.multiscale_roi_align(grads, rois, levels, *ctx.options), *[None] * 11


# Autocast. NMS decides in float32. RoIAlign accumulates in float32 whatever the features are and returns their dtype;
# only regions of another dtype have to be converted.


def _widest(tensors: Sequence[Tensor]) -> torch.dtype:
    result = tensors[0].dtype
    for tensor in tensors[1:]:
        result = torch.promote_types(result, tensor.dtype)
    return result


def _cast_nms(boxes: Tensor, scores: Tensor, *rest: Any) -> tuple[Any, ...]:
    dtype = single_or_better(_widest((boxes, scores)))
    return boxes.to(dtype), scores.to(dtype), *rest


def _cast_rois(rois: Tensor, dtype: torch.dtype) -> Tensor:
    return rois.to(single_or_better(dtype))


def _cast_roi_align(input: Tensor, rois: Tensor, *rest: Any) -> tuple[Any, ...]:
    return input, _cast_rois(rois, input.dtype), *rest


def _cast_multiscale_roi_align(inputs: Sequence[Tensor], rois: Tensor, *rest: Any) -> tuple[Any, ...]:
    dtype = _widest(inputs)
    return [tensor.to(dtype) for tensor in inputs], _cast_rois(rois, dtype), *rest


def _autocast(name: str, key: str, cast: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def call(*args: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return getattr(torch.ops.zoo, name)(*cast(*args))

    return call


def _register() -> None:
    for schema in SCHEMAS:
        name = schema.partition("(")[0]
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, _with_warning(getattr(_fallback, name)), "CompositeExplicitAutograd")
        torch.library.register_fake(f"zoo::{name}", globals()[f"_fake_{name}"], lib=_library)
    for name, save, grad in (
        ("roi_align", _save_roi_align, _roi_align_grad),
        ("roi_align_backward", _save_roi_align_backward, _roi_align_backward_grad),
        ("multiscale_roi_align", _save_multiscale_roi_align, _multiscale_roi_align_grad),
        ("multiscale_roi_align_backward", _save_multiscale_roi_align_backward, _multiscale_roi_align_backward_grad),
    ):
        torch.library.register_autograd(f"zoo::{name}", grad, setup_context=save, lib=_library)
    for name, cast in (
        ("nms", _cast_nms),
        ("batched_nms", _cast_nms),
        ("roi_align", _cast_roi_align),
        ("multiscale_roi_align", _cast_multiscale_roi_align),
    ):
        for key in _AUTOCAST_KEYS:
            _library.impl(name, _autocast(name, key, cast), key)
    _load_compiled()
    _onnx.register()


_register()
