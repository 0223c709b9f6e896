"""Data sets that tools.compose writes: pairs with known flow, in the layout that optical flow reads."""

import pytest
import torch

from support import composed
from tools.compose import flow
from tools.compose.kinds import compose
from zoo_core.images import read_image
from zoo_core.training import prepare


@pytest.fixture
def few_textures(monkeypatch):
    monkeypatch.setattr(flow, "_PROCEDURAL", 3)
    monkeypatch.setattr(flow, "_TOGETHER", 2)


def test_it_is_read(few_textures, tmp_path):
    parts = composed.sources(tmp_path / "parts")
    for name in "ab":
        compose("flow", tmp_path / name, train=3, val=2, size=48, parts=parts)
    assert composed.files(tmp_path / "a") == composed.files(tmp_path / "b")
    job = prepare("raft_small", tmp_path / "a", from_scratch=True)
    assert (len(job.samples), len(job.held_out)) == (3, 2)
    motions = []
    for data in (job.samples, job.held_out):
        for index in range(len(data)):
            sample = data.sample(index)
            first, second = (read_image(file) for file in sample.files)
            assert first.shape == second.shape == (3, 48, 48)
            assert not torch.equal(first, second)
            assert sample.truth.shape == (2, 48, 48)
            motions.append(float(sample.truth.norm(dim=0).max()))
    # Up to an eighth of the side.
    assert 0 < max(motions) <= 6 + 1e-4
    assert len(set(motions)) == 5
