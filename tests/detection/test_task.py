"""Detection as a task: words, images, COCO's records and the score, from known detections."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

import zoo_detection
from support import reference
from support.tasks import check_pickles, check_score, run
from zoo_core import specs
from zoo_core.cli import main
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.tasks import NonFiniteError, task_class
from zoo_detection.coco import coco_results, run_lengths
from zoo_detection.detections import Detections
from zoo_detection.rendering import draw_detections
from zoo_detection.task import DetectionScore, ObjectDetectionTask

OBJECTS = "maskrcnn_resnet50_fpn"
PERSONS = "keypointrcnn_resnet50_fpn"
PERSON, DOG = 1, 18


class Found(nn.Module):
    """Finds a person and, less surely, a dog on every picture."""

    def __init__(self, *, masks=False, keypoints=False):
        super().__init__()
        self.extras = masks, keypoints

    def forward(self, images):
        results = []
        for image in images:
            assert image.dtype == torch.float32
            assert image.max() <= 1
            height, width = image.shape[1:]
            result = {
                "boxes": torch.tensor([[10.0, 20.0, 40.0, 60.0], [50.0, 20.0, 90.0, 44.4]]),
                "labels": torch.tensor([PERSON, DOG]),
                "scores": torch.tensor([0.98, 0.4]),
            }
            if self.extras[0]:
                result["masks"] = torch.zeros(2, 1, height, width)
                result["masks"][0, 0, 20:60, 10:40] = 0.9
                result["masks"][1, 0, 20:44, 50:90] = 0.8
            if self.extras[1]:
                result["keypoints"] = torch.full((2, 17, 3), 1.0)
                result["keypoints"][..., 0] = torch.arange(17.0) * 2 + 10
                result["keypoints"][..., 1] = 30
                result["keypoints_scores"] = torch.full((2, 17), 5.0)
                result["keypoints_scores"][:, 3] = -1
            results.append(result)
        return results


def picture():
    return Image.new("RGB", (100, 80), (30, 30, 30))


def task(model=OBJECTS, threshold=None):
    return ObjectDetectionTask(specs.find(model), {} if threshold is None else {"threshold": threshold})


def found(model=OBJECTS, threshold=None, **extras):
    (result,) = run(task(model, threshold), Found(**extras), picture())
    return result


def test_it_is_the_tasks_adapter():
    assert task_class("detection") is ObjectDetectionTask


def test_it_goes_to_worker_processes():
    check_pickles(task(threshold=0.3), picture())


def test_words():
    assert task().describe(found()) == ["1 person", " 98.0%  person  at (10, 20), 30 x 40 pixels"]
    both = task().describe(found(threshold=0.4))
    assert both[0] == "1 person, 1 dog"
    assert both[2] == " 40.0%  dog  at (50, 20), 40 x 24 pixels"
    assert task(threshold=0.99).describe(found(threshold=0.99)) == ["nothing with a score of 99% or more"]


def test_an_image_shows_what_is_above_the_threshold():
    def drawn(threshold):
        return pil_to_tensor(task().draw_frame(picture(), found(threshold=threshold)))

    both = drawn(0.4)
    assert both.shape == (3, 80, 100)
    changed = (both != 30).any(0)
    for x, y in ((10, 50), (40, 50), (25, 60), (50, 40), (90, 40), (70, 44)):
        assert changed[y, x], f"no line at {x}, {y}"
    assert not changed[62:].any()
    assert not (drawn(0.9) != 30).any(0)[40:, 60:].any()
    assert (drawn(1.0) == 30).all()


def test_small_images_are_enlarged():
    image = task().draw(picture(), found(threshold=0.4))
    assert image.size == (300, 240)
    changed = (pil_to_tensor(image) != 30).any(0)
    for x, y in ((10, 50), (40, 50), (25, 60), (50, 40), (90, 40), (70, 44)):
        assert changed[3 * y, 3 * x], f"no line at {x}, {y}"
    masks = pil_to_tensor(task().draw(picture(), found(threshold=0.4, masks=True)))
    assert (masks[:, 3 * 50, 3 * 25] != 30).any()
    assert (masks[:, 3 * 70, 3 * 25] == 30).all()


def test_masks_are_painted_best_first():
    result = found(masks=True, threshold=0.0)
    drawn = draw_detections(pil_to_tensor(picture()), result)
    assert (drawn[:, 50, 25] != 30).any()
    assert (drawn[:, 35, 70] != 30).any()
    overlapping = Detections(
        result.boxes, result.classes, result.scores, result.labels, result.masks[:1].expand(2, -1, -1)
    )
    again = draw_detections(pil_to_tensor(picture()), overlapping)
    assert torch.equal(again[:, 50, 25], drawn[:, 50, 25])


def test_skeletons_leave_out_unlikely_keypoints():
    result = found(PERSONS, keypoints=True, threshold=0.9)
    drawn = draw_detections(pil_to_tensor(picture()), result)
    assert (drawn[:, 30, 30] != 30).any()
    keypoints = task(PERSONS).record(result)["detections"][0]["keypoints"]
    assert len(keypoints) == 51
    assert keypoints[:3] == [10.0, 30.0, 1]
    assert keypoints[9:12] == [16.0, 30.0, 0]


def test_records():
    result = found(masks=True)
    (record,) = task().record(result)["detections"]
    json.dumps(record)
    assert (record["index"], record["label"]) == (PERSON, "person")
    assert record["bbox"] == [10.0, 20.0, 30.0, 40.0]
    assert record["score"] == pytest.approx(0.98)
    assert record["segmentation"]["size"] == [80, 100]
    assert sum(record["segmentation"]["counts"]) == 8000
    assert sum(record["segmentation"]["counts"][1::2]) == 30 * 40
    (in_coco,) = coco_results(result, image_id=139)
    assert in_coco.keys() == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert (in_coco["image_id"], in_coco["category_id"], in_coco["bbox"]) == (139, PERSON, record["bbox"])


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 1], [0, 1], [1, 1]], [2, 4]),
        ([[1, 0], [1, 0]], [0, 2, 2]),
        ([[0, 0]], [2]),
        ([[1]], [0, 1]),
        ([[0, 1, 0, 1]], [1, 1, 1, 1]),
    ],
)
def test_run_lengths(mask, counts):
    """Column by column, beginning with zeros."""
    mask = torch.tensor(mask, dtype=torch.bool)
    assert run_lengths(mask) == {"size": list(mask.shape), "counts": counts}


def test_results_that_are_no_numbers():
    class Broken(Found):
        def forward(self, images):
            results = super().forward(images)
            results[0]["boxes"][1, 2] = torch.nan
            return results

    with pytest.raises(NonFiniteError, match="gave NaN or infinity"):
        run(task(), Broken(), picture())


def test_score():
    result = found(masks=True, threshold=0.0)
    score = task().score()
    score.update(0, result, {"boxes": result.boxes, "labels": torch.tensor([PERSON, DOG]), "masks": result.masks})
    values = score.compute()
    assert values["box_map"] == pytest.approx(100)
    assert values["mask_map"] == pytest.approx(100)
    boxes_only = task().score()
    boxes_only.update(0, found(threshold=0.0), {"boxes": result.boxes, "labels": torch.tensor([PERSON, 3])})
    assert boxes_only.compute()["box_map"] == pytest.approx(50)


def test_all_detections_are_scored():
    options = ObjectDetectionTask(specs.find(OBJECTS), scoring=True).options
    assert options["threshold"] == 0
    assert ObjectDetectionTask(specs.find(OBJECTS), {"threshold": 0.3}, scoring=True).options["threshold"] == 0.3


def test_the_score_does_not_depend_on_order_or_division():
    """Scores with ties, between images too, and with masks."""
    generator = torch.Generator().manual_seed(0)

    def boxes(count):
        corners = torch.rand(count, 2, generator=generator) * 20
        return torch.cat((corners, corners + 4 + torch.rand(count, 2, generator=generator) * 10), 1)

    samples = []
    for _ in range(12):
        found, objects = (int(torch.randint(1, 7, (), generator=generator)) for _ in range(2))
        truth = {"boxes": boxes(objects), "labels": torch.randint(1, 4, (objects,), generator=generator)}
        truth["masks"] = torch.rand(objects, 16, 16, generator=generator) > 0.4
        result = Detections(
            torch.cat((truth["boxes"], boxes(found)))[:found],
            torch.cat((truth["labels"], torch.randint(1, 4, (found,), generator=generator)))[:found],
            torch.randint(1, 4, (found,), generator=generator) / 4,
            [],
            torch.cat((truth["masks"], torch.rand(found, 16, 16, generator=generator) > 0.4))[:found],
        )
        samples.append((result, truth))
    check_score(DetectionScore, samples)


def test_a_truth_that_does_not_fit_changes_nothing():
    result = found(masks=True, threshold=0.0)
    truth = {"boxes": result.boxes, "labels": torch.tensor([PERSON, DOG]), "masks": result.masks}
    score = task().score()
    with pytest.raises(ValueError, match="different numbers"):
        score.update(0, result, truth | {"masks": result.masks[:1]})
    with pytest.raises(ValueError, match="no boxes"):
        score.update(0, result, {"labels": truth["labels"], "masks": result.masks})
    score.update(0, result, truth)
    assert score.compute()["mask_map"] == pytest.approx(100)


def test_a_value_that_looks_like_a_model(tmp_path, monkeypatch, capsys):
    """The word behind `--output` is a folder, even if a model of another task is called so."""
    monkeypatch.chdir(tmp_path)
    picture().save("photo.jpg")
    monkeypatch.setattr(specs, "build", lambda spec: Found(masks=True))
    line = "predict --output resnet50 maskrcnn_resnet50_fpn photo.jpg --threshold 0.7"
    assert main(line.split()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "photo.jpg",
        "  1 person",
        "   98.0%  person  at (10, 20), 30 x 40 pixels",
        "  -> resnet50/photo.jpg",
    ]
    assert main([*line.split(), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "maskrcnn_resnet50_fpn"
    assert document["results"][0]["output"] == ["resnet50/photo.jpg"]


def test_options_of_other_tasks_are_refused_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture().save("photo.jpg")
    assert main(["predict", "resnet50", "photo.jpg", "--threshold", "0.7"]) == 2
    assert capsys.readouterr().err == (
        "error: No such option: --threshold for resnet50, a model of the task classification; it is one of object "
        "detection (see `zoo predict resnet50 --help`)\n"
    )
    assert main(["predict", "maskrcnn_resnet50_fpn", "photo.jpg", "--topk", "3"]) == 2
    assert "--topk for maskrcnn_resnet50_fpn, a model of the task detection; it is one of image classification" in (
        capsys.readouterr().err
    )
    assert main(["predict", "maskrcnn_resnet50_fpn", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--threshold N" in text
    assert "--topk" not in text.partition("Options of object detection")[2].partition("Examples")[0]


def test_command(tmp_path, publish, capsys):
    """`zoo predict` with a checkpoint in the cache: words, a picture, and records as JSON."""
    with reference.no_random_init():
        model = zoo_detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    weights = zoo_detection.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT
    publish(weights, reference.fill_parameters(model).state_dict())
    photo = tmp_path / "photo.png"
    to_pil_image(reference.image(1, 3, 80, 100)).save(photo)

    command = ["predict", "ssdlite320_mobilenet_v3_large", str(photo), "--device", "cpu", "--threshold", "0.018"]
    assert main([*command, "--json", "--output", str(tmp_path / "out")]) == 0
    (record,) = json.loads(capsys.readouterr().out)["results"]
    assert record["detections"]
    assert all(detection["score"] >= 0.018 for detection in record["detections"])
    assert Image.open(record["output"][0]).size == (300, 240)
    assert main(command) == 0
    assert capsys.readouterr().out.count(" pixels") == len(record["detections"])
    assert main([*command[:-1], "1.5"]) == 2
