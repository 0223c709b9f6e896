"""`zoo train` of video classifiers: clips of videos that are written here, a run, every recipe."""

import random

import av
import pytest
import torch

from zoo_core import catalog, specs
from zoo_core.evaluating import evaluate
from zoo_core.training import prepare, recipes, train
from zoo_core.training.optimization import apart, make_optimizer
from zoo_video.reading import read_clips

SMALL = {"train_crop_size": 16, "val_crop_size": 16, "val_resize_size": 16, "train_resize_size": [18], "batch_size": 2}


def write(path, level, frames=24):
    """A video whose frames get brighter, so that a clip shows where it was taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(64, 48, "rgb24")
            frame.planes[0].update(bytes([level + 3 * number]) * frame.planes[0].buffer_size)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture
def data(tmp_path):
    for split, count in (("train", 2), ("val", 1)):
        for label, level in (("dark", 20), ("bright", 150)):
            for number in range(count):
                write(tmp_path / "data" / split / label / f"{number}.mp4", level)
    return tmp_path / "data"


def test_a_run_ends_with_a_model_that_says_what_it_is(data, tmp_path):
    outcome = train(
        *("mc3_18", data),
        recipe="finetune",
        from_scratch=True,
        settings=SMALL | {"epochs": 1, "mixup_alpha": 0.2},
        output=tmp_path / "run",
        workers=0,
    )
    best = str(tmp_path / "run" / "best.pth")
    spec = specs.find(best)
    assert spec.labels == ("bright", "dark")
    assert (spec.facts["clip_length"], spec.facts["frame_rate"]) == (16, 15)
    found = evaluate(best, data)
    assert found is not None
    assert found.metrics == outcome.metrics


def test_a_clip_is_taken_at_random_and_by_its_generator_alone(data):
    job = prepare("r3d_18", data, from_scratch=True, recipe="finetune", settings=SMALL)
    sample = job.samples.sample(0)
    video = job.task.read(sample.files[0])
    clips = [job.training.sample(video, sample.truth, random.Random(seed))[0] for seed in (0, 0, 1, 2)]
    assert clips[0].shape == (3, 16, 16, 16)
    assert torch.equal(clips[0], clips[1])
    assert len({round(float(clip.mean()), 4) for clip in clips}) == 3


def test_where_a_single_clip_is_taken(data):
    path = data / "train" / "dark" / "0.mp4"
    times = {place: next(read_clips(path, 8, place=place)).times for place in (0.0, 0.5, 1.0)}
    assert times[0.0][0] == 0
    assert times[0.5] == next(read_clips(path, 8)).times
    assert times[1.0][-1] == pytest.approx(23 / 15)
    with pytest.raises(ValueError, match=r"place must lie in 0\.\.1, not be 2"):
        read_clips(path, 8, place=2)


def test_a_random_crop_with_a_policy_and_erasing(data):
    """As MViT is trained; all frames of a clip are changed alike."""
    settings = SMALL | {"train_crop_mode": "rrc", "scale": [0.1, 0.3], "auto_augment": "ra", "ra_num_ops": 4}
    job = prepare("mc3_18", data, from_scratch=True, recipe="finetune", settings=settings | {"random_erase": 1.0})
    assert "RandAugment" in repr(job.training.augment)
    assert "RandomErasing" in repr(job.training.augment)
    sample = job.samples.sample(0)
    clips = [
        job.training.sample(job.task.read(sample.files[0]), sample.truth, random.Random(seed))[0] for seed in (3, 3, 4)
    ]
    assert clips[0].shape == (3, 16, 16, 16)
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])
    erased = (clips[0] == 0).all(0)
    assert erased.any()
    assert torch.equal(erased.all(0), erased.any(0))


def test_the_rate_of_the_body(data, tmp_path):
    """A tenth of the head's, in the recipes of Video Swin."""
    job = prepare("swin3d_t", data, from_scratch=True, recipe="swin3d")
    layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2))
    groups = apart(job.training.parameter_groups(layers), layers[0].parameters(), job.recipe.body_lr_factor)
    optimizer = make_optimizer(job.recipe, groups, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in layers.parameters()] == [0.05, 0.05, 0.5, 0.5]


@pytest.mark.parametrize("recipe", [r for r in recipes.recipes() if r.task == "video"], ids=lambda r: r.name)
def test_every_recipe_is_for_models_that_are_there(recipe, data):
    models = [m.name for m in catalog.models().values() if m.task == "video" and recipe.closeness(m.name)]
    assert models
    assert recipe.source
    prepare(models[0], data, from_scratch=True, recipe=recipe)
