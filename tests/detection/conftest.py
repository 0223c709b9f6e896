"""All implementations of the operators, in one process."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from support.sharing import directory_of_run, once
from zoo_detection import ops
from zoo_detection.ops import _fallback, _library

from . import emulated_cuda


@contextmanager
def serving_the_cpu(implementation_of: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    """Lets other implementations serve the CPU, in place of the compiled ones: each that of an operator's name."""
    library = torch.library.Library("zoo", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a kernel is overridden
        for schema in _library.SCHEMAS:
            name = schema.partition("(")[0]
            library.impl(name, implementation_of(name), "CPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()


@pytest.fixture(scope="session")
def emulated_kernels(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The library with the CUDA kernels for a machine without a GPU."""
    emulated_cuda.skip_where_it_cannot_run()
    run = directory_of_run(tmp_path_factory, worker_id)
    return once(run, "emulated_cuda", emulated_cuda.build) / emulated_cuda.LIBRARY


@pytest.fixture(params=["compiled", "cuda", "python"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """What serves the operators: the kernels for the CPU, those for CUDA (emulated on the CPU), or pure torch."""
    if request.param == "python":
        with serving_the_cpu(lambda name: getattr(_fallback, name)):
            yield "python"
    elif request.param == "cuda":
        torch.ops.load_library(str(request.getfixturevalue("emulated_kernels")))  # registers them for CUDA
        with serving_the_cpu(emulated_cuda.kernel):
            yield "cuda"
    else:
        state = ops.backend()["cpu"]
        assert state.startswith("compiled"), f"install packages/zoo-detection, which builds its operators ({state})"
        yield "compiled"
