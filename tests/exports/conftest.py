"""Each test of this folder exports whole models; `nox -s exports` runs them, one file a task."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.runtimes import RUNTIMES, Program


@pytest.fixture(params=list(RUNTIMES))
def load(request: pytest.FixtureRequest) -> Callable[[Path], Program]:
    """Opens an ONNX file in a runtime: a function of tensors, in the order of the file's inputs and outputs."""
    return RUNTIMES[request.param]
