"""What targets have in common: a share of the time, bounds of memory and time for each input, evidence of what crashed.

A target is a test in a file of its own, ``test_<what>.py``, in the form that :mod:`hypothesis` gives to tests. It runs
again and again with other seeds until its share of ``--seconds`` is used up::

    @fuzz
    @given(damaged("videos"))
    def test_videos(file: bytes) -> None:
        with evidence(file):
            ...

``corpus/<target>`` holds what it starts from: small valid files, and inputs that once failed.
"""

import resource
from collections.abc import Iterator

import pytest

from . import fuzzing

MEMORY_LIMIT = 6 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=300, help="time for all targets together (default: 300)")
    parser.addoption("--evidence", default="out/fuzz", help="where the input lies that a target is at (out/fuzz)")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Divides the time between the targets that run."""
    targets = [item for item in session.items if hasattr(getattr(item, "function", None), "fuzz_target")]
    if targets:
        fuzzing.seconds_a_target = session.config.getoption("--seconds") / len(targets)
    fuzzing.evidence_directory = session.config.rootpath / session.config.getoption("--evidence")


@pytest.fixture(autouse=True, scope="session")
def bounded_memory() -> Iterator[None]:
    """An input that asks for more memory gets a MemoryError, and the machine goes on."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
