"""Training of classifiers: real models, augmentation and losses, every recipe of the package."""

import dataclasses
import random

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from support.colored_classes import paint
from zoo_core import catalog, specs
from zoo_core.evaluating import evaluate
from zoo_core.predicting import Prediction, predict
from zoo_core.tasks import task_class
from zoo_core.training import prepare, recipes, train
from zoo_core.training.optimization import by_decay, make_optimizer, make_schedule
from zoo_core.training.recipes import Recipe

RECIPES = [recipe for recipe in recipes.recipes() if recipe.task == "classification"]


@pytest.fixture
def data(tmp_path):
    paint(tmp_path / "data" / "train", 8)
    paint(tmp_path / "data" / "val", 3)
    return tmp_path / "data"


def test_the_embedded_model_learns_colours_and_predicts(data, tmp_path, home):
    """Without network: from the weights that ship in the package to a file that says what it is."""
    settings = {"epochs": 3, "batch_size": 8, "train_crop_size": 32, "val_crop_size": 32, "val_resize_size": 32}
    outcome = train(
        *("shufflenet_v2_x0_5", data),
        weights="FASHIONMNIST_V1",
        settings=settings | {"model_ema": True, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "auto_augment": "ta_wide"},
        output=tmp_path / "run",
        workers=0,
    )
    best = str(tmp_path / "run" / "best.pth")
    spec = specs.find(best)
    assert spec.labels == ("blue", "green", "red")
    assert (spec.preset_arguments["crop_size"], spec.preset_arguments["mean"]) == (32, (0.286, 0.286, 0.286))
    found = evaluate(best, data)
    assert found is not None
    assert found.metrics == outcome.metrics
    (prediction,) = predict(best, data / "val" / "red" / "0.png")
    assert isinstance(prediction, Prediction)
    assert {entry["label"] for entry in prediction.record()["labels"]} == {"blue", "green", "red"}


def test_stages_are_frozen_and_stay_as_they_are(data, tmp_path, home):
    settings = {"freeze_until": "stage3", "epochs": 1, "batch_size": 24, "train_crop_size": 32, "val_crop_size": 32}
    job = prepare("shufflenet_v2_x0_5", data, weights="FASHIONMNIST_V1", settings=settings)
    before = job.build()
    trained = {name.partition(".")[0] for name, parameter in before.named_parameters() if parameter.requires_grad}
    assert trained == {"stage3", "stage4", "conv5", "fc"}
    train("shufflenet_v2_x0_5", data, weights="FASHIONMNIST_V1", settings=settings, output=tmp_path / "run", workers=0)
    after = specs.build(specs.find(tmp_path / "run" / "last.pth")).state_dict()
    for name, value in before.state_dict().items():
        if name.startswith(("conv1.", "stage2.")):  # running statistics too
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["stage4.0.branch1.2.weight"], before.state_dict()["stage4.0.branch1.2.weight"])


def test_auxiliary_classifiers_count_and_their_arguments_are_kept(data, tmp_path):
    settings = {"train_crop_size": 32, "val_crop_size": 32, "val_resize_size": 32, "epochs": 1, "batch_size": 24}
    job = prepare("googlenet", data, from_scratch=True, recipe="finetune", settings=settings)
    model = job.build()
    batch = job.training.collate(
        [job.training.sample(Image.new("RGB", (40, 50), "red"), truth, random.Random(0)) for truth in (0, 2)],
        random.Random(0),
    )
    torch.manual_seed(0)
    loss = job.training.loss(model, batch)
    torch.manual_seed(0)
    main, aux2, aux1 = model(batch[0])
    parts = [F.cross_entropy(logits, batch[1], label_smoothing=0.1) for logits in (main, aux2, aux1)]
    torch.testing.assert_close(loss, parts[0] + 0.3 * (parts[1] + parts[2]), rtol=1e-4, atol=1e-5)
    assert job.training.arguments(model) == {"aux_logits": True, "transform_input": False}


def test_augmentation_is_a_function_of_its_generator(data):
    job = prepare("shufflenet_v2_x0_5", data, from_scratch=True, settings={"random_erase": 0.5, "color_jitter": 0.2})
    noise = Image.effect_noise((80, 60), 90).convert("RGB")
    one, again, other = (job.training.sample(noise, 1, random.Random(seed))[0] for seed in (1, 1, 2))
    assert one.shape == (3, 224, 224)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_is_for_models_that_are_there_and_can_be_begun(recipe):
    """Optimiser and schedule are made for it; the rate stays between 0 and its peak, which it reaches."""
    assert recipe.description
    assert recipe.source
    models = [m for m in catalog.models().values() if m.task == "classification" and recipe.closeness(m.name)]
    assert models
    spec = dataclasses.replace(specs.find(models[0].name), labels=("a", "b"))
    task = task_class("classification")(spec, scoring=True)
    training = task.training(recipe)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    groups = training.parameter_groups(layers)
    assert sum(len(group["params"]) for group in groups) == 4
    optimizer = make_optimizer(recipe, groups, recipe.lr)
    schedule = make_schedule(recipe, optimizer, steps_per_epoch=2)
    rates = []
    for parameter in layers.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(2 * recipe.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(recipe.lr, rel=1e-3)
    assert min(rates) >= 0
    assert rates[-1] < recipe.lr / 5


def test_the_recipe_of_a_model_from_scratch():
    found = {name: recipes.choose(None, "classification", name, from_scratch=True).name for name in NAMES}
    assert found == NAMES


NAMES = {
    "resnet50": "resnet",
    "wide_resnet50_2": "resnet50_v2",
    "mobilenet_v3_small": "mobilenet_v3",
    "vit_b_16": "vit_b_16",
    "swin_v2_t": "swin_v2",
    "vgg16_bn": "resnet",
    "vgg16": "vgg",
    "squeezenet1_0": "scratch",
}


def test_weight_decay_by_kind_of_parameter():
    spec = dataclasses.replace(specs.find("swin_t"), weights=None, file=None, labels=("a", "b"))
    model = specs.build(spec, train=True)
    recipe = Recipe().with_settings(
        {"weight_decay": 0.3, "norm_weight_decay": 0.2, "bias_weight_decay": 0.1, "transformer_embedding_decay": 0.0}
    )
    groups = {group["weight_decay"]: group["params"] for group in by_decay(model, recipe)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {decay: {names[id(p)] for p in parameters} for decay, parameters in groups.items()}
    assert all(name.endswith("relative_position_bias_table") for name in found[0.0])
    assert all(name.endswith("bias") and "norm" not in name for name in found[0.1])
    assert "head.bias" in found[0.1]
    assert {"features.0.2.weight", "features.0.2.bias", "norm.weight", "norm.bias"} <= found[0.2]
    assert all(name.endswith("weight") for name in found[0.3])
    assert sum(map(len, groups.values())) == len(names)
