"""Data sets that tools.compose writes: clips of a garment that moves, as video classification reads them."""

import random
from collections import Counter

import pytest
from PIL import Image

from support import composed
from tools import train
from tools.compose import video
from tools.compose.kinds import compose
from tools.compose.writing import Order
from zoo_core.images import pil_to_tensor
from zoo_core.predicting import Source
from zoo_core.predicting.sources import inputs
from zoo_core.training import prepare
from zoo_video.data import open_video_data
from zoo_video.reading import read_video


def test_it_is_read(tmp_path):
    parts = composed.sources(tmp_path / "parts")
    compose("video", tmp_path / "data", train=16, val=8, size=32, parts=parts)
    for split, each in (("train", 2), ("val", 1)):
        data = open_video_data(tmp_path / "data", video.MOTIONS, split)
        samples = [data.sample(index) for index in range(len(data))]
        assert Counter(sample.truth for sample in samples) == dict.fromkeys(range(8), each)
        frames, *_ = read_video(samples[0].files[0])
        assert frames.shape == (20, 32, 32, 3)
    recipe = str(train.RECIPES / "clips_video.toml")
    spec = train._spec("x3d_xs", train.MODELS["x3d_xs"])
    job = prepare(spec, tmp_path / "data", from_scratch=True, recipe=recipe)
    assert job.spec.labels == video.MOTIONS
    assert job.recipe.hflip == 0, "which would make left right"
    sample = job.samples.sample(0)
    video_of_it = next(inputs(job.task, Source(sample.files, False, "")))
    clip, truth = job.training.sample(video_of_it, sample.truth, random.Random(0))
    assert clip.shape == (3, 4, 48, 48)
    assert truth == sample.truth


def test_same_seed_same_frames(tmp_path):
    parts = composed.sources(tmp_path / "parts")

    def frames(seed):
        order = Order(tmp_path, "train", 1, 32, seed, parts)
        return [frame.tobytes() for frame in video.frames(order, "turning", order.rng(0))]

    assert frames(0) == frames(0)
    assert frames(0) != frames(1)
    assert len(set(frames(0))) > 15


@pytest.mark.parametrize("motion", video.MOTIONS)
def test_motions(motion):
    for seed in range(20):
        poses = video.path(motion, random.Random(seed))
        assert len(poses) == video.FRAMES
        first, last = poses[0], poses[-1]
        x, y, turned, grown = (
            *(last.x - first.x, last.y - first.y),
            *(abs(last.angle - first.angle) / 60, last.side / first.side),
        )
        assert (x < -0.2) == (motion == "left")
        assert (x > 0.2) == (motion == "right")
        assert (y < -0.2) == (motion == "up")
        assert (y > 0.2) == (motion == "down")
        assert (turned >= 1) == (motion == "turning")
        assert (grown > 1.5) == (motion == "growing")
        assert (grown < 1 / 1.5) == (motion == "shrinking")
        assert (poses == [first] * video.FRAMES) == (motion == "still")


def test_a_garment_is_where_its_pose_says():
    layer = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (10, 15, 30, 25))  # twice as wide as high
    for x, y, side, angle in ((0.5, 0.5, 0.5, 0), (0.3, 0.6, 0.8, 90), (0.7, 0.4, 0.4, 0)):
        image = Image.new("RGB", (80, 80))
        video.paste(image, layer, video.Pose(x, y, side, angle))
        seen = pil_to_tensor(image)[0] >= 128
        rows, columns = seen.any(1).nonzero()[:, 0].float(), seen.any(0).nonzero()[:, 0].float()
        assert columns.mean() + 0.5 == pytest.approx(80 * x, abs=1)
        assert rows.mean() + 0.5 == pytest.approx(80 * y, abs=1)
        wide, high = (40 * side, 20 * side) if angle == 0 else (20 * side, 40 * side)
        assert (len(columns), len(rows)) == (pytest.approx(wide, abs=2), pytest.approx(high, abs=2))
    # An angle leads from right to up, as of all that is drawn here.
    image = Image.new("RGB", (80, 80))
    layer.paste((255, 255, 255, 0), (10, 15, 20, 25))  # the right half is left
    video.paste(image, layer, video.Pose(0.5, 0.5, 1, 90))
    rows = (pil_to_tensor(image)[0] >= 128).any(1).nonzero()[:, 0]
    assert rows.max() < 41
