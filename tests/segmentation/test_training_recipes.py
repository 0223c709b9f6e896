"""`zoo train` of segmentation models: what a sample becomes, the loss, groups of parameters, a run on painted data."""

import json
import random

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import zoo_core
from zoo_core import catalog, specs
from zoo_core.checkpoints import StateDictError
from zoo_core.evaluating import evaluate
from zoo_core.images.bands import BandImage
from zoo_core.training import prepare, recipes, train
from zoo_core.training.optimization import make_optimizer

LABELS = ("__background__", "square", "disc")
SMALL = {"base_size": 40, "train_crop_size": 32, "val_resize_size": 32, "batch_size": 4}


def paint(folder, count):
    """Images with a red square or a blue disc, and their masks."""
    rng = random.Random(1)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(count):
        kind = number % 2 + 1
        image, mask = Image.new("RGB", (48, 40), "grey"), Image.new("L", (48, 40))
        left, top = rng.randrange(20), rng.randrange(16)
        image.paste("red" if kind == 1 else "blue", (left, top, left + 20, top + 20))
        mask.paste(kind, (left, top, left + 20, top + 20))
        mask.paste(255, (left, top, left + 20, top + 2))
        image.save(folder / "images" / f"{number}.png")
        mask.save(folder / "masks" / f"{number}.png")


@pytest.fixture
def data(tmp_path):
    paint(tmp_path / "data" / "train", 6)
    paint(tmp_path / "data" / "val", 2)
    return tmp_path / "data"


def job_of(model, data, **settings):
    return prepare(model, data, from_scratch=True, recipe="finetune", labels=LABELS, settings=SMALL | settings)


def test_a_run_ends_with_a_model_that_says_what_it_is(data, tmp_path):
    outcome = train(
        *("lraspp_mobilenet_v3_large", data),
        recipe="finetune",
        from_scratch=True,
        labels=LABELS,
        settings=SMALL | {"epochs": 1},
        output=tmp_path / "run",
        workers=0,
    )
    best = str(tmp_path / "run" / "best.pth")
    assert specs.find(best).labels == LABELS
    found = evaluate(best, data)
    assert found is not None
    assert found.metrics == outcome.metrics
    assert "miou" in outcome.metrics


def test_without_names_the_models_labels_hold(data):
    job = prepare("lraspp_mobilenet_v3_large", data, from_scratch=True, recipe="finetune", settings=SMALL)
    assert len(job.spec.labels) == 21


def test_samples_and_batches(data):
    job = job_of("lraspp_mobilenet_v3_large", data)
    sample = job.samples.sample(0)
    with Image.open(sample.files[0]) as file:
        image = file.convert("RGB")
    pairs = [job.training.sample(image, sample.truth, random.Random(seed)) for seed in range(3)]
    images, truths = job.training.collate(pairs, random.Random(0))
    assert (images.shape, images.dtype) == ((3, 3, 32, 32), torch.float32)
    assert (truths.shape, truths.dtype) == ((3, 32, 32), torch.int64)
    assert set(truths.unique().tolist()) <= {0, 1, 255}
    with pytest.raises(ValueError, match="the mask has 48 x 40 pixels, and the image 10 x 10"):
        job.training.sample(Image.new("RGB", (10, 10)), sample.truth, random.Random(0))


def test_the_loss_by_hand(data):
    """Void pixels do not count, and where there are no others the loss is 0 and has a gradient."""
    job = job_of("fcn_resnet50", data)

    def model(images):
        logits = images.new_zeros(2, 3, 4, 4, requires_grad=True) + torch.tensor([1.0, 0.0, -1.0])[:, None, None]
        return {"out": logits, "aux": 2 * logits}

    truths = torch.full((2, 4, 4), 255)
    loss = job.training.loss(model, (torch.zeros(2, 3, 4, 4), truths))
    loss.backward()
    assert float(loss.detach()) == 0
    truths[0, 0, 0], truths[1, 2, 3] = 0, 2
    found = job.training.loss(model, (torch.zeros(2, 3, 4, 4), truths))
    scores = torch.tensor([[1.0, 0.0, -1.0]] * 2)
    expected = F.cross_entropy(scores, torch.tensor([0, 2])) + 0.5 * F.cross_entropy(2 * scores, torch.tensor([0, 2]))
    torch.testing.assert_close(found, expected)


def test_the_auxiliary_classifier_has_its_own_rate_and_is_kept(data):
    job = job_of("deeplabv3_mobilenet_v3_large", data, aux_loss=True, aux_lr_factor=10.0)
    model = job.build()
    assert job.training.arguments(model) == {"aux_loss": True}
    optimizer = make_optimizer(job.recipe, job.training.parameter_groups(model), 0.01)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    names = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert len(rates) == len(names)
    assert all(rate == pytest.approx(0.1 if name.startswith("aux") else 0.01) for name, rate in names.items())


def test_a_backbone_begins_with_a_classifier_of_ones_own(data, tmp_path):
    classifier = zoo_core.get_model("mobilenet_v3_large", num_classes=4)
    path = tmp_path / "classifier.pth"
    torch.save(classifier.state_dict(), path)
    model = job_of("lraspp_mobilenet_v3_large", data, weights_backbone=str(path)).build()
    expected = classifier.features.state_dict()
    found = model.backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    with pytest.raises(StateDictError, match="layers are in this file in their order"):
        job_of("fcn_resnet50", data, weights_backbone=str(path)).build()


@pytest.mark.parametrize("recipe", [r for r in recipes.recipes() if r.task == "segmentation"], ids=lambda r: r.name)
def test_every_recipe_is_for_models_that_are_there(recipe, data):
    assert [m for m in catalog.models().values() if m.task == "segmentation" and recipe.closeness(m.name)]
    assert recipe.source
    job = prepare("fcn_resnet50", data, from_scratch=True, recipe=recipe, labels=LABELS)
    assert job.training.building(from_scratch=False) == {}


def test_loss_of_held_out_images(data, tmp_path):
    """At the size of the scores, to which the truth is brought; void pixels do not count. A run records the mean."""
    job = job_of("lraspp_mobilenet_v3_large", data)
    truth = torch.zeros(8, 8, dtype=torch.uint8)
    truth[:4, 4:] = 1
    truth[4:] = 255
    scores = torch.tensor([2.0, 0.0, 0.0])[:, None, None].expand(3, 4, 4)
    right, wrong = (-F.log_softmax(scores[:, 0, 0], 0)[kind].item() for kind in (0, 1))
    assert job.training.validation_loss({"out": scores}, truth) == pytest.approx((right + wrong) / 2)
    train(job.spec.name, data, from_scratch=True, recipe="finetune", labels=LABELS, workers=0,
          settings=SMALL | {"epochs": 1}, output=tmp_path / "run")  # fmt: skip
    (record,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 0 < record["val_loss"] < 10


def test_any_classifier_as_the_backbone(data, tmp_path, home):
    """By its name; the checkpoint needs nothing else."""
    train("fcn_on", data, recipe="finetune", from_scratch=True, labels=LABELS, workers=0, safetensors=True,
          arguments={"backbone": "shufflenet_v2_x0_5"}, settings=SMALL | {"epochs": 1, "aux_loss": True},
          output=tmp_path / "run")  # fmt: skip
    best = tmp_path / "run" / "best.safetensors"
    spec = specs.find(best)
    assert (spec.name, spec.arguments["backbone"], spec.arguments["aux_loss"]) == ("fcn_on", "shufflenet_v2_x0_5", True)
    assert spec.preset_arguments["resize_size"] == 32
    found = evaluate(str(best), data)
    assert found is not None
    assert found.metrics == spec.facts["metrics"]["held-out samples"]


def test_images_of_twelve_bands(data):
    job = prepare("lraspp_mobilenet_v3_large", data, from_scratch=True, recipe="finetune", labels=LABELS,
                  in_channels=12, settings=SMALL)  # fmt: skip
    sample = job.samples.sample(0)
    bands = BandImage(torch.rand(12, 40, 48))
    pairs = [job.training.sample(bands, sample.truth, random.Random(seed)) for seed in range(2)]
    images, truths = job.training.collate(pairs, random.Random(0))
    assert images.shape == (2, 12, 32, 32)
    assert job.training.loss(job.build(), (images, truths)).isfinite()
    (prepared,) = job.task.prepare(bands)
    assert prepared.shape == (12, 32, 38)
    result = job.task.result({"out": torch.rand(3, 32, 38)}, bands)
    assert result.mask.shape == (40, 48)
    assert job.task.draw(bands.preview(), result).mode == "RGB"
