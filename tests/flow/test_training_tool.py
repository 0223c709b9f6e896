"""The synthetic motion that the embedded weights learned from, and the program that trains them."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from support import composed
from support.reference import image
from tools import evaluate_flow, synthetic_motion, train
from tools.compose import flow
from tools.compose.kinds import compose
from tools.synthetic_motion import lengths, make_pairs, texture_bank
from zoo_core.evaluating import evaluate
from zoo_core.images import write_png


@pytest.fixture(scope="module")
def textures():
    return texture_bank(0, 4)


def pairs_of(textures, seed=0, count=3, size=96, motion=12.0, **options):
    return make_pairs(count, size, motion, textures, torch.Generator().manual_seed(seed), **options)


def at_targets(pairs):
    """The second picture, read where each pixel of the first has gone."""
    size = pairs.flow.shape[-1]
    line = torch.arange(float(size))
    targets = torch.stack((line.expand(size, size), line[:, None].expand(size, size))) + pairs.flow
    grid = targets.permute(0, 2, 3, 1) * (2 / (size - 1)) - 1
    return F.grid_sample(pairs.image2, grid, mode="bicubic", padding_mode="border", align_corners=True)


def test_flow_leads_to_the_same_thing(textures):
    pairs = pairs_of(textures, count=6, photographed=False)
    found = (at_targets(pairs) - pairs.image1).abs().mean(1)
    still = (pairs.image2 - pairs.image1).abs().mean(1)
    assert found[pairs.visible].median() < 0.01
    assert found[pairs.visible].mean() < 0.3 * still.mean()
    # What is hidden or outside cannot be found again.
    hidden = ~pairs.visible
    assert 0.01 < hidden.float().mean() < 0.4
    assert found[hidden].mean() > 4 * found[pairs.visible].mean()


def test_motion_is_bounded_and_varied(textures):
    pairs = pairs_of(textures, count=8, size=48, motion=9.0)
    largest = lengths(pairs.flow).flatten(1).amax(1)
    assert largest.max() <= 9.0 + 1e-4
    assert largest.min() < 4.5 < largest.max()
    # Objects move otherwise than their background.
    assert (pairs.flow.flatten(2).std(2) > 0.1).any()
    assert pairs.image1.min() >= 0
    assert pairs.image1.max() <= 1


def test_same_seed_same_pairs(textures):
    first, second, other = (pairs_of(textures, seed, count=2, size=48) for seed in (3, 3, 4))
    for name in ("image1", "image2", "flow", "visible"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(first.flow, other.flow)


def test_textures(tmp_path):
    write_png((255 * image(0, 3, 300, 400)).to(torch.uint8), tmp_path / "a.png")
    bank = texture_bank(1, 3, [tmp_path / "a.png"], views=2)
    assert bank.shape == (5, 3, 512, 512)
    assert bank.dtype == torch.uint8
    assert torch.equal(bank, texture_bank(1, 3, [tmp_path / "a.png"], views=2))
    assert (bank.float().flatten(1).std(1) > 5).all()


def test_inverse_of_motion():
    line = torch.arange(64.0)
    places = torch.stack((line.expand(64, 64), line[:, None].expand(64, 64)))[None]
    motion = torch.stack((3 * torch.sin(places[:, 1] / 9), 2 * torch.cos(places[:, 0] / 7) + 1), dim=1)
    found = synthetic_motion._inverse(motion, places[..., 16:48, 16:48])
    there = found + synthetic_motion._sample(motion, found, mode="bilinear")
    torch.testing.assert_close(there, places[..., 16:48, 16:48], rtol=0, atol=2e-3)


def test_shifted_pictures(tmp_path):
    write_png((255 * image(0, 3, 720, 800)).to(torch.uint8), tmp_path / "a.png")
    pairs = evaluate_flow.shifted_pairs([tmp_path / "a.png"], views=3)
    for number in range(3):
        dx, dy = pairs.flow[number, :, 0, 0].int().tolist()
        moved = pairs.image2[number].roll((-dy, -dx), (1, 2))
        visible = pairs.visible[number]
        assert torch.equal(moved[:, visible], pairs.image1[number][:, visible])
        assert visible.sum() == (256 - abs(dx)) * (256 - abs(dy))


# Training ------------------------------------------------------------------------------------------------------------


def test_it_trains_and_writes_what_ships(monkeypatch, tmp_path):
    monkeypatch.setattr(flow, "_PROCEDURAL", 3)
    monkeypatch.setattr(flow, "_TOGETHER", 2)
    parts = composed.sources(tmp_path / "parts")

    def write_data(kind, folder, seed):
        assert not folder.exists(), "what was not finished is made anew"
        compose(kind, folder, seed=seed, train=4, val=2, size=128, parts=parts)

    (tmp_path / "work" / "data" / "flow.part" / "train").mkdir(parents=True)
    settings = {"epochs": 1, "batch_size": 2, "amp": False, "model_ema": False, "lr_warmup_epochs": 0.5}
    path, found = train.train(
        "raft_small", tmp_path / "work", tmp_path / "out", settings=settings, write_data=write_data, workers=0
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"raft_small_composed-{digest[:8]}.pth"
    assert path.stat().st_size < 4 * 2**20
    tensors = torch.load(path, weights_only=True)
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float16}
    # Its figure is that of the file, on the held-out samples.
    again = evaluate("raft_small", tmp_path / "work" / "data" / "flow", checkpoint=path, device="cpu")
    assert found.samples == again.samples == 2
    assert found.metrics == again.metrics
    # What is done is not done again: the same file comes of it.
    assert train.train("raft_small", tmp_path / "work", tmp_path / "out", settings=settings)[0] == path
    assert len(list((tmp_path / "out").iterdir())) == 1
