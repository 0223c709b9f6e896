"""Both implementations of the operators, in one process."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from zoo_detection import ops
from zoo_detection.ops import _fallback, _library


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


@pytest.fixture(params=["compiled", "python"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "python":
        with python_operators():
            yield "python"
    else:
        state = ops.backend()["cpu"]
        assert state.startswith("compiled"), f"install packages/zoo-detection, which builds its operators ({state})"
        yield "compiled"
