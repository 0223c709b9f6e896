"""All implementations of the operators, in one process."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from zoo_detection import ops
from zoo_detection.ops import _fallback, _library

from .emulated_cuda import build, cuda_operators


@contextmanager
def python_operators() -> Iterator[None]:
    """Lets the pure-torch implementations serve the CPU, in place of the compiled ones."""
    library = torch.library.Library("zoo", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a kernel is overridden
        for schema in _library.SCHEMAS:
            name = schema.partition("(")[0]
            library.impl(name, getattr(_fallback, name), "CPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()


@pytest.fixture(scope="session")
def emulated_cuda(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The library with the CUDA kernels for a machine without a GPU, the same for all test processes."""
    base = tmp_path_factory.getbasetemp()
    return build(base if worker_id == "master" else base.parent)


@pytest.fixture(params=["compiled", "cuda", "python"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """What serves the operators: the kernels for the CPU, those for CUDA (emulated on the CPU), or pure torch."""
    if request.param == "python":
        with python_operators():
            yield "python"
    elif request.param == "cuda":
        with cuda_operators(request.getfixturevalue("emulated_cuda")):
            yield "cuda"
    else:
        state = ops.backend()["cpu"]
        assert state.startswith("compiled"), f"install packages/zoo-detection, which builds its operators ({state})"
        yield "compiled"
