"""What tells one model from another, and one machine: keys for what engines keep."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo_core import checkpoints
from zoo_core.checkpoints.cache import path_of, sha256_of
from zoo_core.package_files import package_folders
from zoo_core.runtimes import version_of
from zoo_core.specs import ModelSpec

__all__ = ["machine", "module_key", "spec_key", "versions"]

_DISTRIBUTIONS = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "zoo-core")


def versions() -> dict[str, str]:
    """The versions of what exported and compiled models depend on, by distribution."""
    return {name: version for name in _DISTRIBUTIONS if (version := version_of(name))}


@cache
def machine() -> str:
    """This processor: compiled models are for one."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        lines = {line for line in text.splitlines() if line.startswith(("flags", "Features", "model name", "CPU part"))}
    except OSError:
        lines = {platform.processor()}
    return _digest([platform.machine(), platform.system(), *sorted(lines)])


def spec_key(spec: ModelSpec, arguments: Mapping[str, Any]) -> str | None:
    """The key of a model that is not built: of its file, its builder's arguments, and the code of the packages.

    Args:
        spec: the model.
        arguments: keyword arguments of its ``forward``.

    Returns:
        The key; ``None`` if there is no file that has its parameters, or it is not here yet.
    """
    if spec.file is None:
        return None
    try:
        parameters = sha256_of(path_of(spec.file))
    except (checkpoints.CheckpointError, OSError):
        return None
    plain = {"name": spec.name, "task": spec.task, "arguments": dict(spec.arguments), "classes": len(spec.labels)}
    said = json.dumps([plain, dict(arguments), versions()], sort_keys=True, default=repr)
    return _digest([said, parameters, machine(), *_code(spec)])


def _code(spec: ModelSpec) -> Iterator[str]:
    """Names, sizes and times of the source files that models are made of."""
    from zoo_core import catalog, declarations

    packages = {"zoo_core", "zoo_classification"}
    if spec.name in catalog.models():
        packages.add(catalog.models()[spec.name].module.partition(".")[0])
    elif spec.task in declarations.declarations():
        packages.add(declarations.declaration(spec.task).package)
    for package in sorted(packages):
        for folder in package_folders(package):
            for path, _, files in sorted(os.walk(folder)):
                for name in sorted(files):
                    if name.endswith((".py", ".so", ".pyd", ".dylib")):
                        status = os.stat(os.path.join(path, name))
                        yield f"{package} {name} {status.st_size} {status.st_mtime_ns}"


def module_key(model: nn.Module, arguments: Mapping[str, Any]) -> str:
    """The key of a module: of its parameters and buffers, its settings, and the code of its classes.

    Args:
        model: any module.
        arguments: keyword arguments of its ``forward``.
    """
    digest = hashlib.sha256()
    classes: dict[type, None] = {}
    for name, module in model.named_modules():
        classes.setdefault(type(module))
        settings = {key: value for key, value in vars(module).items() if _is_plain(value)}
        digest.update(f"{name} {type(module).__qualname__} {sorted(settings.items())!r}\n".encode())
    for kind in classes:
        digest.update(f"{kind.__module__}.{kind.__qualname__}\n".encode())
        if not kind.__module__.startswith("torch."):
            for key, value in sorted(vars(kind).items()):
                code = getattr(value, "__code__", None)
                if code is not None:
                    digest.update(f"{key} {_code_of(code)}\n".encode())
    in_state = model.state_dict()
    for name, value in [*in_state.items(), *((n, b) for n, b in model.named_buffers() if n not in in_state)]:
        # Int8 layers have their weight and bias in a tuple.
        for part in value if isinstance(value, tuple | list) else (value,):
            if not isinstance(part, Tensor):
                digest.update(f"{name} {part!r}\n".encode())
                continue
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}\n".encode())
            digest.update(_content(part))
    said = json.dumps([dict(arguments), versions()], sort_keys=True, default=repr)
    return _digest([said, digest.hexdigest(), machine()])


def _content(tensor: Tensor) -> bytes:
    """The bytes of a tensor's numbers."""
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        scales = plain.q_per_channel_scales().tolist() if _is_per_channel(plain) else plain.q_scale()
        return f"{plain.int_repr().tolist()} {scales}".encode()
    flat = plain.contiguous().flatten().view(torch.uint8)
    try:
        return flat.numpy().data  # type: ignore[return-value]  # shares the tensor's memory
    except RuntimeError:  # without NumPy
        return bytes(flat.tolist())


def _is_per_channel(tensor: Tensor) -> bool:
    return tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _code_of(code: Any) -> str:
    constants = [_code_of(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts]
    return f"{hashlib.sha256(code.co_code).hexdigest()} {code.co_names} {constants}"


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
