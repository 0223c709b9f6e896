from collections.abc import Iterator
from pathlib import Path

import pytest

from support import toy_package
from zoo_core.checkpoints import download

from .checkpoint_server import CheckpointServer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache directory of this test. It does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def toys(tmp_path: Path, cache: Path) -> Iterator[toy_package.ToyPackage]:
    """The toy package, installed; the cache of checkpoints is empty."""
    package = toy_package.write(tmp_path / "site")
    with toy_package.installed(package.path):
        yield package


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads wait for hardly anything: neither between two attempts, nor long for an answer."""
    monkeypatch.setattr(download, "BACKOFF_S", 0.001)
    monkeypatch.setattr(download, "TIMEOUT_S", (5, 5))


@pytest.fixture
def server() -> Iterator[CheckpointServer]:
    """A server for downloads that misbehaves on request."""
    with CheckpointServer() as server:
        yield server
