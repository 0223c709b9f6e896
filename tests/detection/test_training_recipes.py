"""`zoo train` of detectors: targets, classes of the data set, a run on painted data, every recipe."""

import copy
import dataclasses
import json
import random

import pytest
import torch
from PIL import Image

import zoo_core
from support import reference
from zoo_classification import ShuffleNet_V2_X0_5_Weights
from zoo_core import catalog, get_model, specs
from zoo_core.cli import main
from zoo_core.engines import EagerEngine
from zoo_core.evaluating import evaluate
from zoo_core.images.bands import BandImage
from zoo_core.training import RecipeError, prepare, recipes, train
from zoo_core.training.transforms import Sample
from zoo_detection import detections_and_losses

LABELS = ("__background__", "square", "bar")


def paint(folder, split, count):
    """Images with two objects each, and a crowd, as COCO lays them out."""
    rng = random.Random(2)
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        image = Image.new("RGB", (96, 80), "grey")
        for place, (width, height) in enumerate(((30, 30), (40, 10))):
            left, top = rng.randrange(50), rng.randrange(40)
            image.paste("red" if place == 0 else "blue", (left, top, left + width, top + height))
            corners = [left, top, left + width, top, left + width, top + height, left, top + height]
            annotations.append(
                {
                    "id": 3 * number + place + 1,
                    "image_id": number,
                    "category_id": (7, 9)[place],
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [corners],
                }
            )
        crowd = {"id": 3 * number + 3, "image_id": number, "category_id": 7, "bbox": [0, 0, 9, 9], "area": 81}
        annotations.append(crowd | {"iscrowd": 1, "segmentation": {"size": [80, 96], "counts": [0, 9, 7671]}})
        image.save(folder / split / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 80})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "square"}, {"id": 9, "name": "bar"}],
    }
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path):
    paint(tmp_path / "data", "train", 2)
    paint(tmp_path / "data", "val", 1)
    return tmp_path / "data"


def test_a_run_ends_with_a_model_that_says_what_it_is(data, tmp_path):
    outcome = train(
        *("ssdlite320_mobilenet_v3_large", data),
        recipe="finetune",
        from_scratch=True,
        settings={"epochs": 1},
        output=tmp_path / "run",
        workers=0,
    )
    best = str(tmp_path / "run" / "best.pth")
    assert specs.find(best).labels == LABELS
    found = evaluate(best, data)
    assert found is not None
    assert found.metrics.keys() == outcome.metrics.keys()
    assert found.metrics["box_map"] == outcome.metrics["box_map"]


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn"])
def test_targets(data, name):
    """Crowds are left out; masks are there for the models that take them, and lie where the boxes do."""
    job = prepare(name, data, from_scratch=True, recipe="finetune", settings={"hflip": 1.0})
    assert job.spec.labels == LABELS
    sample = job.samples.sample(1)
    with Image.open(sample.files[0]) as file:
        image, target = job.training.sample(file.convert("RGB"), sample.truth, random.Random(0))
    assert image.shape == (3, 80, 96)
    assert target["labels"].tolist() == [1, 2]
    boxes = sample.truth["boxes"][:2]
    mirrored = torch.stack([96 - boxes[:, 2], boxes[:, 1], 96 - boxes[:, 0], boxes[:, 3]], 1)
    assert torch.equal(target["boxes"], mirrored)
    assert ("masks" in target) is name.startswith("mask")
    if "masks" in target:
        x1, y1, x2, y2 = mirrored[0].int().tolist()
        inside = target["masks"][0, y1:y2, x1:x2]
        assert int(inside.sum()) == int(target["masks"][0].sum()) == 900


def test_a_category_that_no_image_has_is_named(data, tmp_path, capsys, monkeypatch):
    """Before the first step, and by --check-data too; a box outside ends it."""
    monkeypatch.chdir(tmp_path)
    file = data / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["categories"].append({"id": 11, "name": "ring"})
    file.write_text(json.dumps(content))
    words = ["train", "ssdlite320_mobilenet_v3_large", str(data), "--from-scratch", "--recipe", "finetune"]
    assert main([*words, "--check-data"]) == 0
    assert "no sample to train on has this class: ring" in capsys.readouterr().err
    content["annotations"][0]["bbox"] = [80, 10, 30, 30]
    file.write_text(json.dumps(content))
    assert main([*words, "--workers", "0"]) == 1
    assert "annotation 1: the box [80, 10, 30, 30] lies outside its image of 96 x 80 pixels" in capsys.readouterr().err
    assert not (tmp_path / "run" / "last.pth").exists()


def test_without_annotations_for_val_one_in_five_is_held_out(tmp_path):
    paint(tmp_path / "data", "train", 10)
    job = prepare("ssdlite320_mobilenet_v3_large", tmp_path / "data", from_scratch=True, recipe="finetune")
    assert (len(job.samples), len(job.held_out)) == (8, 2)


def test_an_image_without_objects_is_one_to_find_nothing_in(data):
    job = prepare("fasterrcnn_mobilenet_v3_large_320_fpn", data, from_scratch=True, recipe="finetune")
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "iscrowd": torch.zeros(0).bool()}
    image = Image.new("RGB", (64, 64))
    batch = job.training.collate([job.training.sample(image, empty, random.Random(0))], random.Random(0))
    loss = job.training.loss(job.build(), batch)
    assert loss.ndim == 0
    assert loss.requires_grad


def test_objects_are_pasted_between_the_images_of_a_batch(data):
    """Objects are added or covered, never crowds; masks stay within the boxes, and the model takes the batch."""
    settings = {"use_copypaste": True, "data_augmentation": "lsj", "train_crop_size": 64}
    job = prepare("maskrcnn_resnet50_fpn", data, from_scratch=True, recipe="finetune", settings=settings)
    samples = []
    for number in range(2):
        sample = job.samples.sample(number)
        with Image.open(sample.files[0]) as file:
            samples.append(job.training.sample(file.convert("RGB"), sample.truth, random.Random(number)))
    before = [(image.clone(), len(target["boxes"])) for image, target in samples]
    images, targets = job.training.collate(samples, random.Random(1))
    changed = [not torch.equal(image, old) for image, (old, _) in zip(images, before, strict=True)]
    assert any(changed)
    for target in targets:
        assert len({len(value) for value in target.values()}) == 1
        assert target["masks"].dtype == torch.uint8
        for (x1, y1, x2, y2), mask in zip(target["boxes"].round().int().tolist(), target["masks"], strict=True):
            inside = int(mask[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1].sum())
            assert inside == int(mask.sum()) > 0
    again, _ = job.training.collate(samples, random.Random(1))
    assert all(torch.equal(one, other) for one, other in zip(images, again, strict=True))
    assert job.training.loss(job.build(), (images, targets)).isfinite()


def test_only_models_with_masks_take_pasted_objects(data):
    settings = {"use_copypaste": True}
    with pytest.raises(RecipeError, match="use_copypaste is for models with masks, and ssd300_vgg16 has none"):
        prepare("ssd300_vgg16", data, from_scratch=True, recipe="finetune", settings=settings)


@pytest.mark.parametrize("recipe", [r for r in recipes.recipes() if r.task == "detection"], ids=lambda r: r.name)
def test_every_recipe_is_for_models_that_are_there(recipe, data):
    models = [m.name for m in catalog.models().values() if m.task == "detection" and recipe.closeness(m.name)]
    assert models
    assert recipe.source
    prepare(models[0], data, from_scratch=True, recipe=recipe)


def test_a_backbone_begins_with_another_models(data, tmp_path):
    """Also where its last stage has half as many channels, but for that stage."""
    classifier = zoo_core.get_model("mobilenet_v3_large", num_classes=4)
    path = tmp_path / "classifier.pth"
    torch.save(classifier.state_dict(), path)
    settings = {"weights_backbone": str(path)}
    job = prepare("ssdlite320_mobilenet_v3_large", data, from_scratch=True, recipe="finetune", settings=settings)
    found, expected = job.build().backbone, classifier.features
    for index in range(13):
        theirs = expected[index].state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in found.features[0][index].state_dict().items())
    assert torch.equal(found.features[0][13][0].weight, expected[13].block[0][0].weight)
    assert found.features[1][-1][0].weight.shape != expected[-1][0].weight.shape


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "maskrcnn_resnet50_fpn"])
def test_loss_of_held_out_images(data, name):
    """Both of the same pass: the detections that are scored, and the losses of the documented call."""
    size = {"min_size": 96, "max_size": 96} if name.startswith("mask") else {}
    job = prepare(name, data, from_scratch=True, recipe="finetune")
    model = specs.build(dataclasses.replace(job.spec, arguments=size))
    engine = EagerEngine(copy.deepcopy(model), "cpu", job.task.eager_arguments(model))
    sample = job.held_out.sample(0)
    with Image.open(sample.files[0]) as file:
        prepared = job.task.prepare(file.convert("RGB"))
    with torch.inference_mode():
        outputs, losses = job.training.validated(engine, [prepared], [sample.truth])
        expected = job.task.run(engine, [prepared])
    target = {"boxes": sample.truth["boxes"][:2], "labels": torch.tensor([1, 2])}
    if "masks" in expected[0]:
        masks = torch.zeros(2, 80, 96, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, target["boxes"].int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        target["masks"] = masks
    _, parts = detections_and_losses(model, list(prepared), [target])
    assert losses == pytest.approx([float(sum(parts.values()))], rel=1e-3)
    assert outputs[0].keys() == expected[0].keys()
    assert torch.equal(outputs[0]["boxes"], expected[0]["boxes"])
    assert torch.equal(outputs[0]["scores"], expected[0]["scores"])
    if "masks" in expected[0]:
        assert isinstance(outputs[0]["masks"], type(expected[0]["masks"]))

    without = {**sample.truth, "boxes": torch.zeros(3, 4)}  # no detector is trained on boxes of no width
    with torch.inference_mode():
        outputs, losses = job.training.validated(engine, [prepared], [without])
    assert losses == [None]
    assert torch.equal(outputs[0]["boxes"], expected[0]["boxes"])


def test_any_classifier_as_the_backbone(data, tmp_path, publish, capsys, monkeypatch):
    """Trained from the classifier's weights; the checkpoint says the backbone, and needs no other file."""
    state = reference.fill_parameters(get_model("shufflenet_v2_x0_5")).state_dict()
    file = publish(ShuffleNet_V2_X0_5_Weights.DEFAULT, state)
    words = ["train", "retinanet_on", str(data), "--argument", "backbone=shufflenet_v2_x0_5"]
    sizes = ["--argument", "min_size=96", "--argument", "max_size=96", "--argument", "score_thresh=0"]
    words += [*sizes, "--epochs", "1", "--workers", "0"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    assert "the backbone begins with the best weights of shufflenet_v2_x0_5" in capsys.readouterr().err
    file.unlink()
    best = tmp_path / "run" / "best.pth"
    spec = specs.find(best)
    assert (spec.name, spec.labels) == ("retinanet_on", LABELS)
    assert spec.arguments == {"backbone": "shufflenet_v2_x0_5", "min_size": 96, "max_size": 96, "score_thresh": 0}
    trained = torch.load(best, weights_only=True)["model"]
    first = "backbone.body.features.model.conv1.0.weight"  # which is frozen
    assert torch.equal(trained[first], state["conv1.0.weight"])
    image = data / "val" / "0.png"
    assert main(["predict", str(best), str(image), "--threshold", "0"]) == 0
    assert "square" in (shown := capsys.readouterr().out) or "bar" in shown
    assert main(["convert", str(best), str(tmp_path / "best.safetensors")]) == 0
    assert evaluate(str(tmp_path / "best.safetensors"), data).metrics == evaluate(str(best), data).metrics
    # With another head on the body that was trained, and from nothing.
    job = prepare(best, data, labels=("__background__", "square", "bar", "round"))
    model = job.build()
    assert model.head.classification_head.num_classes == 4
    assert torch.equal(model.state_dict()[first], trained[first])
    arguments = {"backbone": "shufflenet_v2_x0_5", "in_channels": 1}
    fresh = prepare("fasterrcnn_on", data, from_scratch=True, arguments=arguments).build()
    assert fresh.backbone.body.features.model.conv1[0].weight.shape[1] == 1
    assert len(fresh.transform.image_mean) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "fasterrcnn_on takes a classifier as its backbone, which must be named"),
        (["--argument", "backbone=fcos_resnet50_fpn"], "must be a classifier, and fcos_resnet50_fpn is for detection"),
        (["--argument", "backbone=resnet_50"], "unknown model 'resnet_50'; did you mean resnet50"),
        (["--argument", "backbone=resnet18", "--argument", "size=3"], "does not take such arguments"),
        (["--argument", "backbone=resnet18", "--argument", "num_classes=3"], "num_classes follows from the data set"),
        (["--argument", "backbone=resnet18", "--weights", "DEFAULT"], "fasterrcnn_on has no weights of its own"),
        (["--argument", "resnet18"], "write KEY=VALUE"),
    ],
)
def test_backbones_that_cannot_be(data, words, message, capsys):
    assert main(["train", "fasterrcnn_on", str(data), "--workers", "0", *words]) == 1
    assert message in capsys.readouterr().err


def test_without_a_checkpoint_nothing_is_predicted(data, capsys):
    assert main(["predict", "fasterrcnn_on", str(data / "val" / "0.png")]) == 2
    assert "fasterrcnn_on has no weights of its own: train it" in capsys.readouterr().err


def test_images_of_four_bands(data):
    """Boxes and masks move along with all of them, and the detector takes what comes out."""
    settings = {"hflip": 1.0}
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    job = prepare(name, data, from_scratch=True, recipe="finetune", in_channels=4, settings=settings)
    sample = job.samples.sample(1)
    with Image.open(sample.files[0]) as file:
        bands = BandImage.of(file.convert("RGBA"))
    image, target = job.training.sample(bands, sample.truth, random.Random(0))
    assert torch.equal(image, bands.pixels.flip(-1))
    assert torch.equal(target["boxes"][:, 0], 96 - sample.truth["boxes"][:2, 2])
    assert job.training.loss(job.build(), ([image], [target])).isfinite()
    jittered = prepare("ssd300_vgg16", data, from_scratch=True, recipe="finetune", in_channels=4).training
    assert jittered.augment(Sample(bands), random.Random(0)).image.shape[0] == 4
    colors = {"data_augmentation": "ssd"}
    with pytest.raises(RecipeError, match="data_augmentation: changes colours, which images of 4 channels do not have"):
        prepare("ssd300_vgg16", data, from_scratch=True, recipe="finetune", in_channels=4, settings=colors)
    large = prepare(job.spec.name, data, from_scratch=True, recipe="finetune", in_channels=4,
                    settings={"data_augmentation": "lsj", "train_crop_size": 64})  # fmt: skip
    image, _ = large.training.sample(bands, sample.truth, random.Random(2))
    assert image.shape == (4, 64, 64)
