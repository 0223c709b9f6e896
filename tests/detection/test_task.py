"""The adapter for the command line: words, pictures, COCO's records and the score, from known detections."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

import zoo_detection
from support import reference
from zoo_core.cli import main
from zoo_core.images import pil_to_tensor, to_pil_image
from zoo_core.tasks import task_class
from zoo_detection.task import Detections, ObjectDetectionTask, draw_detections, run_lengths

WEIGHTS = zoo_detection.MaskRCNN_ResNet50_FPN_Weights.DEFAULT
PERSONS = zoo_detection.KeypointRCNN_ResNet50_FPN_Weights.DEFAULT
CPU = torch.device("cpu")
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


def task(weights=WEIGHTS, threshold=None, **extras):
    options = {} if threshold is None else {"threshold": threshold}
    return ObjectDetectionTask(Found(**extras), weights, CPU, options)


def test_it_is_the_tasks_adapter():
    assert task_class("detection") is ObjectDetectionTask


def test_words():
    adapter = task()
    (result,) = adapter.run([picture()])
    assert adapter.describe(result) == ["1 person", " 98.0%  person  at (10, 20), 30 x 40 pixels"]
    both = task(threshold=0.4).describe(result)
    assert both[0] == "1 person, 1 dog"
    assert both[2] == " 40.0%  dog  at (50, 20), 40 x 24 pixels"
    assert task(threshold=0.99).describe(result) == ["nothing with a score of 99% or more"]


def test_picture_shows_what_is_above_the_threshold(tmp_path):
    adapter = task(threshold=0.4)
    (result,) = adapter.run([picture()])
    (path,) = adapter.save(picture(), result, tmp_path, "photo")
    drawn = pil_to_tensor(Image.open(path))
    assert path.name == "photo.png"
    assert drawn.shape == (3, 80, 100)
    changed = (drawn != 30).any(0)
    for x, y in ((10, 50), (40, 50), (25, 60), (50, 40), (90, 40), (70, 44)):
        assert changed[y, x], f"no line at {x}, {y}"
    assert not changed[:15].any()
    assert not changed[62:].any()
    (path,) = task(threshold=0.9).save(picture(), result, tmp_path, "one")
    assert not (pil_to_tensor(Image.open(path)) != 30).any(0)[40:, 60:].any()
    (path,) = task(threshold=1.0).save(picture(), result, tmp_path, "none")
    assert (pil_to_tensor(Image.open(path)) == 30).all()


def test_masks_are_painted_best_first(tmp_path):
    (result,) = task(masks=True).run([picture()])
    drawn = draw_detections(pil_to_tensor(picture()), result)
    assert (drawn[:, 50, 25] != 30).any()
    assert (drawn[:, 35, 70] != 30).any()
    overlapping = Detections(
        result.boxes, result.labels, result.scores, result.names, result.masks[:1].expand(2, -1, -1)
    )
    again = draw_detections(pil_to_tensor(picture()), overlapping)
    assert torch.equal(again[:, 50, 25], drawn[:, 50, 25])


def test_skeletons_leave_out_unlikely_keypoints():
    (result,) = task(PERSONS, keypoints=True).run([picture()])
    drawn = draw_detections(pil_to_tensor(picture()), result.above(0.9))
    assert (drawn[:, 30, 30] != 30).any()
    records = task(PERSONS, keypoints=True).to_json(result)["detections"]
    keypoints = records[0]["keypoints"]
    assert len(keypoints) == 51
    assert keypoints[:3] == [10.0, 30.0, 1]
    assert keypoints[9:12] == [16.0, 30.0, 0]


def test_records():
    (result,) = task(masks=True).run([picture()])
    (record,) = task(masks=True).to_json(result)["detections"]
    json.dumps(record)
    assert record["category_id"] == PERSON
    assert record["category"] == "person"
    assert record["bbox"] == [10.0, 20.0, 30.0, 40.0]
    assert record["score"] == pytest.approx(0.98)
    assert record["segmentation"]["size"] == [80, 100]
    assert sum(record["segmentation"]["counts"]) == 8000
    assert sum(record["segmentation"]["counts"][1::2]) == 30 * 40


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

    with pytest.raises(ValueError, match="no numbers"):
        ObjectDetectionTask(Broken(), WEIGHTS, CPU).run([picture()])


def test_score():
    adapter = task(masks=True)
    (result,) = adapter.run([picture()])
    score = adapter.score()
    score.update(result, {"boxes": result.boxes, "labels": torch.tensor([PERSON, DOG]), "masks": result.masks})
    values = score.compute()
    assert values["box_map"] == pytest.approx(100)
    assert values["mask_map"] == pytest.approx(100)
    boxes_only = task().score()
    boxes_only.update(task().run([picture()])[0], {"boxes": result.boxes, "labels": torch.tensor([PERSON, 3])})
    assert boxes_only.compute()["box_map"] == pytest.approx(50)


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
    assert Image.open(record["output"][0]).size == (100, 80)
    assert main(command) == 0
    assert capsys.readouterr().out.count(" pixels") == len(record["detections"])
    assert main([*command[:-1], "1.5"]) == 2
