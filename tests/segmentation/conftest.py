import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache that is not filled from the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    return tmp_path / "home"
