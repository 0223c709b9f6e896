"""The synthetic motion that the embedded weights learned from, and the program that trains them."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from support.reference import image
from tools import embedded_checkpoints, evaluate_flow, synthetic_motion, train_raft_small
from tools.synthetic_motion import lengths, make_pairs, texture_bank
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


@pytest.fixture
def small(monkeypatch):
    """Everything as small as it can be."""
    monkeypatch.setattr(train_raft_small, "PAIRS_IN_CHUNK", 2)
    monkeypatch.setattr(train_raft_small, "CHUNK_SIZE", 136)
    monkeypatch.setattr(train_raft_small, "FIRST_CHUNKS", 1)
    monkeypatch.setattr(train_raft_small, "STEPS_PER_CHUNK", 2)
    monkeypatch.setattr(train_raft_small, "BATCH", 2)
    monkeypatch.setattr(train_raft_small, "SAVE_EVERY", 1)
    monkeypatch.setattr(train_raft_small, "PHASES", (train_raft_small.Phase(1.0, 128, 2),))
    monkeypatch.setattr(train_raft_small, "texture_bank", lambda seed, *args, **kwargs: texture_bank(seed, 2))


def pool(work, count=2):
    (work / "pairs").mkdir(parents=True, exist_ok=True)
    train_raft_small.make_chunks(work, [], 0, count)
    return train_raft_small.Pool(work, count, SimpleNamespace(exitcode=0))


def test_interrupted_training_ends_as_if_it_was_not(small, tmp_path):
    whole = train_raft_small.train(pool(tmp_path / "a"), tmp_path / "a", 3, 0)

    class Interrupted(train_raft_small.Pool):
        def batch(self, step, crop, generator):
            if step == 2:
                raise KeyboardInterrupt
            return super().batch(step, crop, generator)

    broken = pool(tmp_path / "b")
    broken.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        train_raft_small.train(broken, tmp_path / "b", 3, 0)
    resumed = train_raft_small.train(pool(tmp_path / "b"), tmp_path / "b", 3, 0)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)


def test_samples_keep_their_flow(small, tmp_path):
    """Whichever part is taken of each picture, and however they are mirrored and turned, the flow still leads there."""
    chunks = pool(tmp_path)
    # A picture whose red and green tell where in it a pixel is, and blue nothing.
    line = torch.arange(136)
    place = torch.stack((line.expand(136, 136), line[:, None].expand(136, 136), torch.full((136, 136), 200)))
    place = place.to(torch.uint8)[None].expand(2, -1, -1, -1)
    chunks.loaded = [{"image1": place, "image2": place, "flow": torch.zeros(2, 2, 136, 136).half()}]
    flows = set()
    for seed in range(40):
        first, second, flow = chunks._sample(128, torch.Generator().manual_seed(seed))
        dx, dy = flow[:, 0, 0].int().tolist()
        assert torch.equal(flow, flow[:, :1, :1].expand_as(flow))
        inner = slice(10, 110)
        there = second[:, 10 + dy : 110 + dy, 10 + dx : 110 + dx]
        assert torch.equal(first[:, inner, inner], there)
        flows.add((dx, dy))
    assert (0, 0) in flows
    assert len(flows) > 10


def test_a_maker_that_fails_stops_the_training(small, tmp_path):
    chunks = pool(tmp_path, 1)
    chunks.chunks, chunks.maker = 2, SimpleNamespace(exitcode=1)
    with pytest.raises(RuntimeError, match=r"00001\.pt"):
        chunks.batch(10, 128, torch.Generator())


def test_checkpoint_is_named_by_its_hash(tmp_path):
    tensors = train_raft_small.halved(train_raft_small.raft_small())
    path = embedded_checkpoints.save(tensors, tmp_path, "raft_small_synthetic")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"raft_small_synthetic-{digest[:8]}.pth"
    assert path.stat().st_size < 4 * 2**20
    assert {tensor.dtype for tensor in torch.load(path, weights_only=True).values()} == {torch.float16}


def test_learning_rate():
    rates = [train_raft_small.rate(done / 100) for done in range(101)]
    assert rates[0] == rates[100] == 0
    assert max(rates) == rates[4] == train_raft_small.PEAK_RATE
