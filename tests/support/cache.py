"""Checkpoints in the place where published ones are cached, so that builders find them there."""

import torch


def use(home, monkeypatch):
    """Makes a directory the cache, which nothing fills from the network."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.delenv("ZOO_MIRROR", raising=False)


def publish(home, weights, state_dict, **options):
    """Saves a state dict where the file of some weights would be cached; options are those of ``torch.save``."""
    path = home / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state_dict, path, **options)
    return path
