"""The CUDA kernels on a machine without a GPU: compiled for the CPU, where fibers stand for the threads of a block."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from zoo_detection.ops import _library

_EMULATION = Path(__file__).parent / "cuda_emulation"
_SOURCES = Path(__file__).resolve().parents[2] / "packages" / "zoo-detection" / "csrc" / "cuda"
_CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


def build(directory: Path) -> Path:
    """The library with the emulated kernels, built by the first process that asks for it in this directory."""
    if sys.platform != "linux" or (compiler := shutil.which("g++")) is None:
        pytest.skip("the emulation needs Linux and g++")
    if torch.cuda.is_available():
        pytest.skip("the kernels themselves run here: see test_ops_cuda.py")
    torch_directory = Path(torch.__file__).parent
    library = directory / "_ops_cuda_emulated.so"
    command = [compiler, "-std=c++20", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
    command += ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DUSE_CUDA", "-I", str(_EMULATION)]
    command += ["-isystem", str(torch_directory / "include"), "-o", str(library.with_suffix(".new"))]
    command += ["-x", "c++", *map(str, sorted(_SOURCES.glob("*.cu"))), str(_EMULATION / "device.cpp")]
    command += [f"-L{torch_directory / 'lib'}", "-ltorch_cpu"]
    if sanitizers := os.environ.get("ZOO_SANITIZE"):  # as for the libraries themselves
        command += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
    with FileLock(directory / "_ops_cuda_emulated.lock"):
        if not library.exists():
            subprocess.run(command, check=True)
            library.with_suffix(".new").rename(library)
    return library


@contextmanager
def cuda_operators(library: Path) -> Iterator[None]:
    """Lets the emulated kernels serve the CPU, in place of those for it."""
    torch.ops.load_library(str(library))  # registers them for CUDA
    overrides = torch.library.Library("zoo", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a kernel is overridden
        for schema in _library.SCHEMAS:
            name = schema.partition("(")[0]
            overrides.impl(name, _redispatch(name), "CPU", allow_override=True)
    try:
        yield
    finally:
        overrides._destroy()


def _redispatch(name: str) -> Any:
    operator = getattr(torch.ops.zoo, name).default
    return lambda *args: operator.redispatch(_CUDA, *args)
