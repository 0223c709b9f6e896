"""`zoo train` of optical flow: pairs with their truth, the loss, a run on painted pairs, every recipe."""

import random

import pytest
import torch
from PIL import Image

from zoo_core import specs
from zoo_core.evaluating import evaluate
from zoo_core.training import RecipeError, prepare, recipes, train
from zoo_flow import sequence_loss
from zoo_flow.flo import write_flo

SMALL = {"crop_size": [128, 128], "batch_size": 1, "min_scale": 0.0, "max_scale": 0.1}


@pytest.fixture
def data(tmp_path):
    """Pairs that move by 3 pixels to the right."""
    for split, count in (("train", 2), ("val", 1)):
        for number in range(count):
            frames = tmp_path / "data" / split / "frames" / f"scene{number}"
            flows = tmp_path / "data" / split / "flow" / f"scene{number}"
            frames.mkdir(parents=True)
            flows.mkdir(parents=True)
            noise = Image.effect_noise((140, 132), 90).convert("RGB")
            noise.crop((3, 0, 139, 132)).save(frames / "0.png")
            noise.crop((0, 0, 136, 132)).save(frames / "1.png")
            write_flo(torch.tensor([3.0, 0.0])[:, None, None].expand(2, 132, 136), flows / "0.flo")
    return tmp_path / "data"


def test_a_run_ends_with_a_model_that_says_what_it_is(data, tmp_path):
    outcome = train(
        *("raft_small", data),
        recipe="finetune",
        from_scratch=True,
        settings=SMALL | {"epochs": 1},
        output=tmp_path / "run",
        workers=0,
    )
    best = str(tmp_path / "run" / "best.pth")
    assert specs.find(best).labels == ()
    found = evaluate(best, data)
    assert found is not None
    assert found.metrics == outcome.metrics
    assert outcome.steps == 2


def test_pixels_whose_flow_is_not_known_do_not_count(data):
    job = prepare("raft_small", data, from_scratch=True, recipe="finetune", settings=SMALL)
    sample = job.samples.sample(0)
    images = tuple(Image.open(file).convert("RGB") for file in sample.files)
    first, second, flow = job.training.sample(images, sample.truth, random.Random(0))
    assert first.shape == second.shape == (3, 128, 128)
    assert flow.shape == (2, 128, 128)
    batch = job.training.collate([(first, second, flow)], random.Random(0))
    batch[2][:, :, :64] = torch.nan
    predictions = [torch.ones(1, 2, 128, 128), torch.zeros(1, 2, 128, 128)]
    found = job.training.loss(lambda first, second: predictions, batch)
    torch.testing.assert_close(found, sequence_loss([p[:, :, 64:] for p in predictions], batch[2][:, :, 64:]))


def test_crops_that_the_model_does_not_take_are_refused(data):
    for wrong in ([128], [130, 128], [128, 128, 8]):
        with pytest.raises(RecipeError, match="crop_size must be height and width, multiples of 8"):
            prepare("raft_small", data, from_scratch=True, recipe="finetune", settings={"crop_size": wrong})


@pytest.mark.parametrize("recipe", [r for r in recipes.recipes() if r.task == "flow"], ids=lambda r: r.name)
def test_every_recipe_is_for_models_that_are_there(recipe, data):
    assert recipe.closeness("raft_large")
    assert recipe.source
    prepare("raft_large", data, from_scratch=True, recipe=recipe)
