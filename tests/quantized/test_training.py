"""`zoo train` of int8 models: what is trained, what is kept of it, going on, freezing, every recipe."""

import json
import subprocess
import sys

import pytest
import torch
from torch.ao.quantization import FakeQuantizeBase

import zoo_quantized
from support.colored_classes import paint
from zoo_core import catalog, get_model, specs
from zoo_core.checkpoints import read_content, read_own_state_dict
from zoo_core.cli import main
from zoo_core.evaluating import evaluate
from zoo_core.training import RecipeError, prepare, recipes, train

EMBEDDED = "FASHIONMNIST_FBGEMM_V1"
SMALL = {
    "batch_size": 8,
    "epochs": 3,
    "num_observer_update_epochs": 2,
    "num_batch_norm_update_epochs": 1,
    "train_crop_size": 32,
    "val_crop_size": 32,
    "val_resize_size": 32,
    "scale": [0.7, 1.0],
}


@pytest.fixture
def data(tmp_path, home):
    paint(tmp_path / "data" / "train", 8)
    paint(tmp_path / "data" / "val", 3)
    return tmp_path / "data"


def begin(data, output, **options):
    settings = {**SMALL, "backend": "fbgemm", "lr": 0.02, **options.pop("settings", {})}
    return train(
        *("quantized_shufflenet_v2_x0_5", data),
        weights=EMBEDDED,
        settings=settings,
        output=output,
        workers=0,
        **options,
    )


def test_from_the_embedded_float_model_to_an_int8_file(data, tmp_path, capsys):
    """Without a name the recipe is `qat`; `best.pth` is int8, for all that takes models."""
    outcome = begin(data, tmp_path / "run")
    best = tmp_path / "run" / "best.pth"
    spec = specs.find(best)
    assert (spec.name, spec.task, spec.labels) == (
        "quantized_shufflenet_v2_x0_5",
        "quantized",
        ("blue", "green", "red"),
    )
    assert spec.arguments == {"quantize": True, "backend": "fbgemm"}
    assert spec.facts["recipe"] == "qat"
    assert spec.preset_arguments["mean"] == (0.286, 0.286, 0.286)
    assert read_own_state_dict(best)["conv1.0.weight"].dtype == torch.qint8
    found = evaluate(str(best), data)
    assert found is not None
    assert found.metrics == outcome.metrics
    assert outcome.metrics["acc@1"] >= 60
    assert main(["predict", str(best), str(data / "val" / "red" / "0.png"), "--topk", "1"]) == 0
    assert "%" in capsys.readouterr().out

    images = torch.rand(2, 3, 32, 32)
    model = get_model("quantized_shufflenet_v2_x0_5", num_classes=3, quantize=True, backend="fbgemm")
    model.load_state_dict(read_own_state_dict(best))
    assert type(model.fc).__module__.startswith("torch.ao.nn.quantized")
    last = specs.build(specs.find(tmp_path / "run" / "last.pth"))
    assert last(images).shape == (2, 3)
    with pytest.raises(ValueError, match="is an int8 model, which cannot be trained; begin with the float model"):
        prepare(best, data)


def test_what_is_trained_sees_the_rounding_errors_and_freezes(data):
    job = prepare("quantized_shufflenet_v2_x0_5", data, weights=EMBEDDED, settings=SMALL | {"backend": "fbgemm"})
    assert job.recipe.name == "qat"
    assert job.origin.labels[0] == "T-shirt/top"
    model = job.build()
    floating = zoo_quantized.shufflenet_v2_x0_5(weights="FASHIONMNIST_V1")
    assert torch.equal(model.conv5[0].weight, floating.conv5[0].weight)
    assert model.fc.weight.shape == (3, 1024)
    quantizers = [module for module in model.modules() if isinstance(module, FakeQuantizeBase)]
    norms = [module for module in model.modules() if hasattr(module, "freeze_bn")]
    assert quantizers
    assert norms
    for epoch, observes, normalizes in ((0, True, True), (1, True, False), (2, False, False)):
        job.training.begin_epoch(model, epoch)
        assert {bool(module.observer_enabled[0]) for module in quantizers} == {observes}
        assert {not module.freeze_bn and module.bn.training for module in norms} == {normalizes}
        assert all(bool(module.fake_quant_enabled[0]) for module in quantizers)


class Killed(BaseException):
    """Ends a run at once, as a signal does."""


def test_a_run_that_ends_at_any_step_goes_on_bit_for_bit(data, tmp_path, monkeypatch):
    """In each phase: before anything is frozen, with batch norms frozen, with ranges frozen."""
    from zoo_quantized.training import QuantizationAwareTraining

    settings = {"batch_size": 12}  # 2 steps an epoch
    begin(data, tmp_path / "whole", settings=settings)
    loss = QuantizationAwareTraining.loss
    calls = 0

    def fragile(self, model, batch):
        nonlocal calls
        calls += 1
        if calls in (2, 4, 7):
            raise Killed
        return loss(self, model, batch)

    monkeypatch.setattr(QuantizationAwareTraining, "loss", fragile)
    for _ in range(4):
        try:
            begin(data, tmp_path / "run", save_every=1, resume=True, settings=settings)
            break
        except Killed:
            pass
    first, second = (read_content(tmp_path / name / "last.pth") for name in ("whole", "run"))
    assert calls == 6 + 3
    assert first["training"]["model"].keys() == second["training"]["model"].keys()
    for key, value in first["training"]["model"].items():
        assert torch.equal(value, second["training"]["model"][key]), key
    assert torch.equal(first["model"]["conv1.0.weight"].int_repr(), second["model"]["conv1.0.weight"].int_repr())


def test_two_processes(data, tmp_path):
    words = [
        "train",
        "quantized_shufflenet_v2_x0_5",
        str(data),
        "--weights",
        EMBEDDED,
        "--output",
        str(tmp_path / "run"),
    ]
    words += ["--nproc-per-node", "2", "--workers", "0", "--json"]
    for key, value in (SMALL | {"backend": "fbgemm", "batch_size": 12, "epochs": 2}).items():
        words += ["--set", f"{key}={value}"]
    finished = subprocess.run(
        [sys.executable, "-m", "zoo_core", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["steps"] == 2
    assert specs.build(specs.find(tmp_path / "run" / "best.pth")).fc.weight().dtype == torch.qint8


def test_from_a_float_model_that_was_trained_on_the_same_data(data, tmp_path):
    """Its labels, its head and its preprocessing are taken over, and its parameters."""
    settings = {key: SMALL[key] for key in ("batch_size", "train_crop_size", "val_crop_size", "val_resize_size")}
    train(
        *("shufflenet_v2_x0_5", data),
        weights="FASHIONMNIST_V1",
        settings=settings | {"epochs": 1},
        output=tmp_path / "float",
        workers=0,
    )
    file = tmp_path / "float" / "best.pth"
    job = prepare("quantized_shufflenet_v2_x0_5", data, checkpoint=file, settings={"backend": "fbgemm"})
    assert job.keeps_head
    assert job.spec.labels == ("blue", "green", "red")
    assert job.spec.preset_arguments == specs.find(file).preset_arguments
    model = job.build()
    trained = read_own_state_dict(file)
    assert torch.equal(model.fc.weight, trained["fc.weight"])
    assert torch.equal(model.conv1[0].bn.running_mean, trained["conv1.1.running_mean"])


@pytest.mark.parametrize("key", ["amp", "model_ema", "sync_bn"])
def test_keys_that_are_not_for_int8(data, key):
    with pytest.raises(RecipeError, match=f"{key}: not for int8 models; leave it out of the recipe qat"):
        prepare("quantized_shufflenet_v2_x0_5", data, weights=EMBEDDED, settings={key: True})


@pytest.mark.parametrize("recipe", [r for r in recipes.recipes() if r.task == "quantized"], ids=lambda r: r.name)
def test_every_recipe_is_for_models_that_are_there(recipe, data):
    models = [m.name for m in catalog.models().values() if m.task == "quantized" and recipe.closeness(m.name)]
    assert models
    assert recipe.source
    prepare(models[0], data, from_scratch=True, recipe=recipe)


@pytest.mark.parametrize("name", ["quantized_mobilenet_v2", "quantized_mobilenet_v3_large", "quantized_resnet18"])
def test_families(data, tmp_path, name):
    """From fresh parameters, for the default engine."""
    settings = SMALL | {"epochs": 1, "batch_size": 24}
    train(name, data, recipe="qat", from_scratch=True, settings=settings, output=tmp_path / "run", workers=0)
    assert evaluate(str(tmp_path / "run" / "best.pth"), data) is not None
