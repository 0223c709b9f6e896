"""The loop in this process: what it writes, going on bit for bit, samples at fault, NaN, classes and heads."""

import contextlib
import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from support import toy_training
from zoo_core import specs
from zoo_core.checkpoints import read_content, read_own_state_dict
from zoo_core.data import DataError
from zoo_core.evaluating import evaluate
from zoo_core.training import Observer, Recipe, RecipeError, loop, prepare, train
from zoo_core.training.loop import NonFiniteLossError

STEPS = 15  # 3 epochs of 5 steps of 4 samples


def begin(data, output, **options):
    return train("dimnet", data, recipe="finetune", from_scratch=True, output=output, workers=0, **options)


def same(first: Path, second: Path) -> bool:
    """Whether all tensors of two checkpoints are the same, bit for bit, the optimiser's included."""
    one, other = read_content(first), read_content(second)
    return _same(one, other)


def _same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        keys = {*one, *other} - {"samples_per_second"}
        return all(_same(one[key], other[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def test_a_run_leaves_a_model_that_says_what_it_is(toys, data, tmp_path):
    outcome = begin(data, tmp_path / "run")
    assert (outcome.steps, outcome.of_steps, outcome.interrupted) == (STEPS, STEPS, False)
    names = {"best.pth", "last.pth", "recipe.toml", "metrics.jsonl", "metrics.csv", "curves.png", "curves.html"}
    assert {path.name for path in (tmp_path / "run").iterdir()} - {"tensorboard"} == names

    spec = specs.find(tmp_path / "run" / "best.pth")
    assert (spec.name, spec.task, spec.labels) == ("dimnet", "toys", ("dark", "bright"))
    assert spec.facts["metrics"] == {"held-out samples": dict(outcome.metrics)}
    found = evaluate(str(tmp_path / "run" / "best.pth"), data)
    assert found is not None
    assert found.metrics == outcome.metrics
    assert evaluate(str(tmp_path / "run" / "last.pth"), data) is not None

    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert records[outcome.epoch - 1]["acc@1"] == outcome.metrics["acc@1"] == max(r["acc@1"] for r in records)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [record["loss"] for record in records]
    with Image.open(tmp_path / "run" / "curves.png") as image:
        assert image.format == "PNG"
    page = (tmp_path / "run" / "curves.html").read_text()
    assert "<svg" in page
    assert "http" not in page


def test_what_is_kept_is_the_average(toys, data, tmp_path):
    begin(data, tmp_path / "run")
    content = read_content(tmp_path / "run" / "last.pth")
    averaged = content["training"]["parts"]["averaged"]
    assert int(averaged["n_averaged"]) == STEPS
    assert torch.equal(content["model"]["fc.weight"], averaged["module.fc.weight"])
    assert not torch.equal(content["model"]["fc.weight"], content["training"]["model"]["fc.weight"])


class Killed(BaseException):
    """Ends a run at once, as a signal does."""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model_ema": False, "opt": "adamw", "grad_accum_steps": 2, "batch_size": 2},
        {"amp": True, "amp_dtype": "float16", "clip_grad_norm": 0.1},
        {"amp": True, "amp_dtype": "bfloat16", "opt": "rmsprop", "lr": 0.001},
    ],
    ids=["averaged", "accumulated", "float16", "bfloat16"],
)
def test_a_run_that_ends_at_any_step_goes_on_bit_for_bit(toys, data, tmp_path, monkeypatch, settings):
    from toyzoo.training import ToyTraining

    begin(data, tmp_path / "whole", settings=settings)
    loss = ToyTraining.loss
    calls = 0

    def fragile(self, model, batch):
        nonlocal calls
        calls += 1
        if calls in (2, 9, 21, 29, 33):
            raise Killed
        return loss(self, model, batch)

    monkeypatch.setattr(ToyTraining, "loss", fragile)
    for _ in range(20):
        try:
            outcome = begin(data, tmp_path / "run", settings=settings, save_every=2, resume=True)
            break
        except Killed:
            pass
    assert outcome.steps == STEPS
    assert calls > STEPS
    assert same(tmp_path / "run" / "last.pth", tmp_path / "whole" / "last.pth")
    assert same(tmp_path / "run" / "best.pth", tmp_path / "whole" / "best.pth")
    first, second = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("run", "whole"))
    assert first == second


def test_the_speed_of_an_epoch_that_was_interrupted(toys, data, tmp_path, monkeypatch):
    """It is that of the steps since: here one of four samples a second, by a clock that counts steps."""
    now = 0.0

    class Clock(Observer):
        def step(self, number, loss):
            nonlocal now
            now += 1
            if now in (3, 8):
                raise Killed

    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    for _ in range(3):
        with contextlib.suppress(Killed):
            begin(data, tmp_path / "run", save_every=1, resume=True, observer=Clock())
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["samples_per_second"] for record in records] == [4.0] * 3


def read_lines(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "samples_per_second"} for record in records]


def test_workers_and_the_callers_own_generator_change_nothing(toys, data, tmp_path):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    begin(data, tmp_path / "one")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    train("dimnet", data, recipe="finetune", from_scratch=True, output=tmp_path / "two", workers=2)
    assert same(tmp_path / "one" / "last.pth", tmp_path / "two" / "last.pth")
    begin(data, tmp_path / "three", settings={"seed": 1})
    assert not same(tmp_path / "one" / "last.pth", tmp_path / "three" / "last.pth")


def test_another_run_in_the_folder_is_left_alone(toys, data, tmp_path):
    begin(data, tmp_path / "run")
    before = (tmp_path / "run" / "last.pth").read_bytes()
    with pytest.raises(ValueError, match="has a run in it already: --resume goes on with it"):
        begin(data, tmp_path / "run")
    with pytest.raises(ValueError, match=r"is of another run: epochs was 3 and is 5 now; lr was 0\.1 and is 0\.2 now"):
        begin(data, tmp_path / "run", resume=True, settings={"epochs": 5, "lr": 0.2})
    assert (tmp_path / "run" / "last.pth").read_bytes() == before


def test_a_run_of_an_older_version_goes_on(toys, data, tmp_path):
    """Its recipe does not have the keys that came later, and was as their defaults are."""
    begin(data, tmp_path / "run")
    content = read_content(tmp_path / "run" / "last.pth")
    for key in ("min_steps_per_epoch", "resize_scale"):
        del content["training"]["identity"]["recipe"][key]
    torch.save(content, tmp_path / "run" / "last.pth")
    assert begin(data, tmp_path / "run", resume=True).steps == STEPS
    with pytest.raises(ValueError, match="is of another run: min_steps_per_epoch was 0 and is 1 now"):
        begin(data, tmp_path / "run", resume=True, settings={"min_steps_per_epoch": 1})


def test_a_loss_that_is_nan_names_the_files(toys, data, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_NAN", "7")
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 7 is nan.*: ((bright|dark)/\d\.png(, |\. )){4}"):
        begin(data, tmp_path / "run")
    assert read_content(tmp_path / "run" / "last.pth")["training"]["progress"]["step"] == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_used_is_named(toys, data, tmp_path, workers):
    Image.new("RGB", (13, 10)).save(data / "train" / "dark" / "unlucky.png")
    (data / "train" / "dark" / "9.png").unlink()
    with pytest.raises(DataError, match=r"train/dark/unlucky\.png: images 13 pixels wide bring bad luck$"):
        train("dimnet", data, from_scratch=True, output=tmp_path / "run", workers=workers, recipe="finetune")
    (data / "train" / "dark" / "unlucky.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/dark/unlucky\.png: ") as caught:
        train(
            "dimnet", data, from_scratch=True, output=tmp_path / "run", workers=workers, recipe="finetune", resume=True
        )
    assert str(caught.value).count("unlucky") == 1


def test_it_stops_early_and_stays_stopped(toys, data, tmp_path):
    settings = {"epochs": 50, "early_stopping": 2, "lr": 0.0}
    outcome = begin(data, tmp_path / "run", settings=settings)
    assert (outcome.epoch, outcome.steps, outcome.interrupted) == (1, 15, False)
    assert begin(data, tmp_path / "run", settings=settings, resume=True).steps == 15


def test_a_data_set_without_val_gives_one_in_five(toys, tmp_path):
    toy_training.paint(tmp_path / "flat", 10)
    job = prepare("dimnet", tmp_path / "flat", from_scratch=True, recipe="finetune")
    names = [{samples.name(i) for i in range(len(samples))} for samples in (job.samples, job.held_out)]
    assert names[1] == {"bright/4.png", "bright/9.png", "dark/4.png", "dark/9.png"}
    assert not names[0] & names[1]
    assert len(names[0]) == 16
    assert "one in five samples is held out, 4 of them" in job.notes[-1]
    toy_training.paint(tmp_path / "split" / "train", 10)
    job = prepare("dimnet", tmp_path / "split", from_scratch=True, recipe="finetune")
    assert (len(job.samples), len(job.held_out)) == (16, 4)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"batch_size": 64}, 64),  # what the user sets stays
        ({"min_steps_per_epoch": 0}, 32),
        ({"min_steps_per_epoch": 2}, 16),
        ({"min_steps_per_epoch": 2, "grad_accum_steps": 2}, 8),
        ({"min_steps_per_epoch": 100}, 8),
    ],
)
def test_few_samples_make_smaller_batches(toys, tmp_path, settings, size):
    toy_training.paint(tmp_path / "data" / "train", 16)
    toy_training.paint(tmp_path / "data" / "val", 2)
    recipe = Recipe("own", "toys", min_steps_per_epoch=100)
    job = prepare("dimnet", tmp_path / "data", from_scratch=True, recipe=recipe, settings=settings)
    assert len(job.samples) == 32
    assert job.recipe.batch_size == job.training.recipe.batch_size == size
    expected = [f"batch_size is {size} instead of 32, so an epoch of 32 samples has more steps"] * (size < 32)
    assert [note.partition(";")[0] for note in job.notes] == expected


def test_classes_become_labels_and_heads(toys, data, tmp_path):
    begin(data, tmp_path / "run")
    path = tmp_path / "run" / "best.pth"
    same_classes = prepare(path, data)
    assert same_classes.keeps_head
    trained = read_own_state_dict(path)
    assert all(torch.equal(value, trained[name]) for name, value in same_classes.build().state_dict().items())

    toy_training.paint(tmp_path / "other" / "train", 3, ("red", "green", "blue"))
    job = prepare(path, tmp_path / "other")
    assert not job.keeps_head
    assert job.spec.labels == ("blue", "green", "red")
    assert "3 classes of the data set, with a new head: blue, green, red" in job.notes[0]
    model = job.build()
    assert model.fc.weight.shape == (3, 64)
    assert torch.equal(model.conv.weight, trained["conv.weight"])
    assert torch.equal(model.fc.weight, job.build().fc.weight)  # drawn from the seed
    assert torch.equal(model.norm.running_mean, trained["norm.running_mean"])

    frozen = prepare(path, tmp_path / "other", settings={"freeze_body": True}).build()
    assert {name for name, p in frozen.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    train(path, tmp_path / "other", settings={"freeze_body": True, "epochs": 1}, output=tmp_path / "frozen", workers=0)
    found = read_own_state_dict(tmp_path / "frozen" / "best.pth")
    assert torch.equal(found["conv.weight"], trained["conv.weight"])
    assert torch.equal(found["norm.running_mean"], trained["norm.running_mean"])

    (tmp_path / "other" / "val" / "yellow").mkdir(parents=True)
    (tmp_path / "other" / "val" / "yellow" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="does not know: yellow"):
        prepare(path, tmp_path / "other")


def test_the_same_from_published_weights(toys, data):
    known = prepare("brightnet", data, recipe="finetune")
    assert known.keeps_head
    assert known.spec.labels == ("dark", "bright")  # the model's, in its order
    toy_training.paint(data / "train", 3, ("dusk",))
    other = prepare("brightnet", data, recipe="finetune")
    assert other.spec.labels == ("bright", "dark", "dusk")
    assert torch.equal(other.build().body.weight, torch.full((1, 3), 1 / 3))


def test_keys_without_effect_are_refused(toys, data):
    with pytest.raises(RecipeError, match="mixup_alpha: no effect on the training of telling day from night"):
        prepare("dimnet", data, from_scratch=True, recipe="finetune", settings={"mixup_alpha": 0.2})


def test_a_warm_up_that_has_no_end_is_refused(toys, data, tmp_path):
    """With any schedule; of torch's, some would stop with an error of their own, and others never reach their rate."""
    for schedule in ("onecycle", "cosineannealinglr"):
        settings = {"epochs": 2, "lr_warmup_epochs": 3, "lr_scheduler": schedule}
        with pytest.raises(RecipeError, match="warm-up of 3 epochs is longer than the training of 2; set lr_warmup_ep"):
            begin(data, tmp_path / schedule, settings=settings)
        begin(data, tmp_path / schedule, settings=settings | {"lr_warmup_epochs": 2})


def test_options_of_the_loop_run(toys, data, tmp_path):
    settings = {"amp": True, "clip_grad_norm": 1.0, "epochs": 1}
    outcome = begin(data, tmp_path / "run", settings=settings, deterministic=True)
    assert outcome.steps == 5
    assert begin(data, tmp_path / "other", settings={"sync_bn": True, "epochs": 1}, device="cpu").steps == 5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_used_and_trains(toys, data, tmp_path, monkeypatch, dtype):
    """What layers compute is in half precision, losses and parameters are not; float16 has its gradients scaled."""
    from toyzoo.training import ToyTraining

    seen = []
    loss = ToyTraining.loss

    def watched(self, model, batch):
        model.conv.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
        found = loss(self, model, batch)
        seen.append(found.dtype)
        return found

    monkeypatch.setattr(ToyTraining, "loss", watched)
    settings = {"amp": True, "amp_dtype": dtype, "epochs": 12, "lr": 0.3, "model_ema": False}
    begin(data, tmp_path / "run", settings=settings)
    assert set(seen) == {getattr(torch, dtype), torch.float32}
    content = read_content(tmp_path / "run" / "last.pth")
    assert (content["training"]["parts"]["scaler"] != {}) is (dtype == "float16")
    assert content["model"]["fc.weight"].dtype == torch.float32
    losses = [record["loss"] for record in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert min(losses[-3:]) < losses[0]


def test_deterministic_algorithms_are_asked_for_while_it_runs(toys, data, tmp_path, monkeypatch):
    from toyzoo.training import ToyTraining

    loss = ToyTraining.loss
    asked = []

    def watched(self, model, batch):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return loss(self, model, batch)

    monkeypatch.setattr(ToyTraining, "loss", watched)
    begin(data, tmp_path / "run", settings={"epochs": 1}, deterministic=True)
    assert asked == [True] * 5
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_compiled_model_trains_as_the_plain_one_does(toys, data, tmp_path, monkeypatch):
    """Compiled for real, up to rounding; files have no trace of it."""
    monkeypatch.setenv("TOY_PLAIN", "norm")
    begin(data, tmp_path / "plain", settings={"epochs": 1})
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    begin(data, tmp_path / "compiled", settings={"epochs": 1}, compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    first, second = (read_content(tmp_path / name / "last.pth") for name in ("plain", "compiled"))
    assert first["model"].keys() == second["model"].keys()
    for name, value in first["model"].items():
        torch.testing.assert_close(second["model"][name], value, rtol=1e-6, atol=1e-9)


class Told(Observer):
    """Keeps what it is told before the first step."""

    def __init__(self):
        self.notes, self.problems, self.steps = [], [], 0

    def note(self, message):
        self.notes.append((message, self.steps))

    def bad(self, messages):
        self.problems += [(message, self.steps) for message in messages]

    def step(self, done, loss):
        self.steps += 1


def test_faults_are_found_before_the_first_step(toys, data, tmp_path):
    """In samples to train on they end it; held-out samples are left out of the score, which is said at once."""
    (data / "val" / "dark" / "3.png").write_bytes(b"no image")
    told = Told()
    begin(data, tmp_path / "run", observer=told, settings={"epochs": 1})
    assert [steps for _, steps in told.problems] == [0, 5]
    assert all("val/dark/3.png" in message for message, _ in told.problems)
    assert told.notes == []

    for number in range(5, 9):
        (data / "train" / "dark" / f"{number}.png").write_bytes(b"no image")
    told = Told()
    with pytest.raises(DataError, match=r"train/dark/[5-8]\.png") as caught:
        begin(data, tmp_path / "other", observer=told)
    assert len(caught.value.faults) >= 2
    assert told.steps == 0
    assert not (tmp_path / "other" / "last.pth").exists()


def test_classes_that_no_sample_has_are_named(toys, data, tmp_path, monkeypatch):
    from toyzoo.training import ToyTraining

    monkeypatch.setattr(ToyTraining, "classes", lambda self, truth: (0,))
    told = Told()
    begin(data, tmp_path / "run", observer=told, settings={"epochs": 1})
    assert told.notes == [("no sample to train on has this class: bright", 0)]


def test_classes_that_differ_from_the_checkpoints_are_named(toys, data, tmp_path):
    begin(data, tmp_path / "run", settings={"epochs": 1})
    toy_training.paint(tmp_path / "other" / "train", 3, ("bright", "dim", "dusk"))
    notes = prepare(tmp_path / "run" / "best.pth", tmp_path / "other").notes
    assert notes[1].startswith("1 of them are classes of dimnet from ")
    assert notes[1].endswith("too; new are dim, dusk; not there any more dark")


def test_the_loss_of_the_held_out_samples_is_recorded(toys, data, tmp_path, monkeypatch):
    """Where a training says what it is, as a mean over the samples, beside the figures of the model."""
    from toyzoo.training import ToyTraining

    seen = []

    def validation_loss(self, output, truth):
        seen.append((output.shape, truth))
        return None if len(seen) % 10 == 1 else 0.5 + truth

    monkeypatch.setattr(ToyTraining, "validation_loss", validation_loss)
    outcome = begin(data, tmp_path / "run")
    assert len(seen) == 30
    assert {truth for _, truth in seen} == {0, 1}
    for place, record in enumerate(read_lines(tmp_path / "run" / "metrics.jsonl")):
        truths = [truth for _, truth in seen[10 * place + 1 : 10 * place + 10]]
        assert record["val_loss"] == pytest.approx(0.5 + sum(truths) / 9)
    assert "val_loss" in (tmp_path / "run" / "curves.html").read_text()
    assert "val_loss" in (tmp_path / "run" / "metrics.csv").read_text()
    assert "val_loss" not in outcome.metrics
