"""The CUDA kernels on a machine without a GPU: compiled for the CPU, where fibers stand for the threads of a block."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

LIBRARY = "_ops_cuda_emulated.so"
_EMULATION = Path(__file__).parent / "cuda_emulation"
_SOURCES = Path(__file__).resolve().parents[2] / "packages" / "zoo-detection" / "csrc" / "cuda"
_CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


def skip_where_it_cannot_run() -> None:
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("the emulation needs Linux and g++")
    if torch.cuda.is_available():
        pytest.skip("the kernels themselves run here: see test_ops_cuda.py")


def build(directory: Path) -> None:
    """Builds the library with the emulated kernels.

    Raises:
        subprocess.CalledProcessError: the compiler has said why not.
    """
    torch_directory = Path(torch.__file__).parent
    command = ["g++", "-std=c++20", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
    command += ["-DTORCH_TARGET_VERSION=0x020A000000000000", "-DUSE_CUDA", "-I", str(_EMULATION)]
    command += ["-isystem", str(torch_directory / "include"), "-o", str(directory / LIBRARY)]
    command += ["-x", "c++", *map(str, sorted(_SOURCES.glob("*.cu"))), str(_EMULATION / "device.cpp")]
    command += [f"-L{torch_directory / 'lib'}", "-ltorch_cpu"]
    if sanitizers := os.environ.get("ZOO_SANITIZE"):  # as for the libraries themselves
        command += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
    subprocess.run(command, check=True)


def kernel(name: str) -> Callable[..., Any]:
    """The kernel that a loaded library has registered for CUDA, to be called with the CPU's tensors."""
    operator = getattr(torch.ops.zoo, name).default
    return lambda *args: operator.redispatch(_CUDA, *args)
