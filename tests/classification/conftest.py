import pytest
import torch


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Puts a state dict where the published checkpoint of some weights would be cached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_OFFLINE", "1")

    def publish(weights, state_dict, **kwargs):
        path = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state_dict, path, **kwargs)

    return publish
