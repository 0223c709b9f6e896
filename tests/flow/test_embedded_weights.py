"""The weights in the package: the file, what the catalogue says of it, and that its figures are true."""

import hashlib
from importlib import resources

import pytest
import torch

from support import reference
from support.reference import image
from tools import evaluate_flow
from tools.synthetic_motion import make_pairs, texture_bank
from zoo_core.checkpoints import locate
from zoo_flow import Raft_Small_Weights, raft_small

WEIGHTS = Raft_Small_Weights.SYNTHETIC_V1


@pytest.fixture(scope="module")
def model():
    return raft_small(weights=WEIGHTS).eval()


def test_file():
    path = locate(WEIGHTS.url)
    assert path.parent == resources.files("zoo_flow") / "checkpoints"
    data = path.read_bytes()
    assert len(data) < 4 * 2**20
    assert hashlib.sha256(data).hexdigest().startswith(WEIGHTS.sha256_prefix)
    assert WEIGHTS.meta["_file_size"] == pytest.approx(len(data) / 2**20, abs=1e-3)


def test_it_is_not_the_default():
    assert Raft_Small_Weights.DEFAULT is Raft_Small_Weights.C_T_V2
    assert raft_small.__name__ in WEIGHTS.url


def test_parameters(model):
    assert reference.manifest_of(model) == reference.manifest("raft_small")
    assert sum(p.numel() for p in model.parameters()) == WEIGHTS.meta["num_params"]
    assert all(p.isfinite().all() for p in model.parameters())


def test_error_on_synthetic_pairs(model):
    """A few pairs of procedural textures that training never saw, as large and as fast as those of the catalogue."""
    textures = texture_bank(77, 9)
    pairs = make_pairs(8, 256, 20.0, textures, torch.Generator().manual_seed(77))
    figures = evaluate_flow.errors(model, pairs)
    stated = WEIGHTS.meta["_metrics"]["Synthetic-Textured"]["epe"]
    assert figures["epe"] < 2 * stated
    assert figures["epe"] < 0.5 * figures["no_motion"]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (7, 0), (-3, 11), (16, -9)])
def test_error_on_a_known_shift(model, dx, dy):
    """Smooth noise, of which training knew no such part, moved by whole pixels."""
    whole = torch.nn.functional.interpolate(image(5, 1, 3, 45, 45), size=(180, 180), mode="bicubic").clamp(0, 1) * 2 - 1
    first = whole[..., 20:156, 20:156]
    second = whole[..., 20 - dy : 156 - dy, 20 - dx : 156 - dx]
    with torch.inference_mode():
        flow = model(first, second, last_only=True)[-1]
    inner = flow[0, :, 20:-20, 20:-20]
    error = (inner - torch.tensor([dx, dy])[:, None, None]).square().sum(0).sqrt()
    assert error.mean() < 1.0
