"""COCO's figures: pycocotools called by hand on files, our own average precision, hand-made cases."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from support.tasks import check_score
from zoo_detection.coco_score import CocoScore
from zoo_detection.detections import Detections
from zoo_detection.task import DetectionScore

SIZE = 64


def scene(generator, keypoints=False):
    """Objects, and detections that are near them, far from them, of another class, or twice there."""

    def numbers(*shape, high=1.0):
        return torch.rand(*shape, generator=generator) * high

    count = int(torch.randint(0, 6, (), generator=generator))
    corners = numbers(count, 2, high=40)
    boxes = torch.cat((corners, corners + 7 + numbers(count, 2, high=17)), 1)
    labels = torch.randint(1, 4, (count,), generator=generator)
    near = boxes + (numbers(count, 4) - 0.5) * 6
    extra = torch.cat((numbers(3, 2, high=30), 30 + numbers(3, 2, high=30)), 1)
    found = torch.cat((near, near[:2], extra)).clamp(0, SIZE)
    classes = torch.cat((labels, labels[:2], torch.randint(1, 4, (3,), generator=generator)))
    scores = torch.randint(1, 9, (len(found),), generator=generator) / 8  # with ties
    order = scores.argsort(descending=True, stable=True)
    found, classes, scores = found[order], classes[order], scores[order]
    truth = {
        "boxes": boxes,
        "labels": labels,
        "iscrowd": numbers(count) < 0.1,
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(1) * 0.8,
        "masks": painted(boxes),
    }
    points = None
    if keypoints:
        truth["keypoints"] = torch.cat((numbers(count, 17, 2, high=SIZE), numbers(count, 17, 1, high=3).floor()), 2)
        points = numbers(len(found), 17, 2, high=SIZE)
        points[:count] = truth["keypoints"][..., :2] + numbers(count, 17, 2)
    return Detections(found, classes, scores, [], painted(found), points), truth


def painted(boxes):
    masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
        mask[y1 : (y1 + y2) // 2, x1 : (x1 + x2) // 2] = False
    return masks


def scenes(count=25, keypoints=False):
    generator = torch.Generator().manual_seed(1)
    return [scene(generator, keypoints) for _ in range(count)]


def by_hand(tmp_path, samples, kind):
    """What pycocotools says of the same samples, written into files as its documentation has it."""

    def run_lengths(mask):
        encoded = coco_masks.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))
        return encoded | {"counts": encoded["counts"].decode()}

    objects, results = [], []
    for image, (found, truth) in enumerate(samples):
        for place, (x1, y1, x2, y2) in enumerate(truth["boxes"].tolist()):
            entry = {
                "id": len(objects) + 1,
                "image_id": image,
                "category_id": int(truth["labels"][place]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(truth["area"][place]),
                "iscrowd": int(truth["iscrowd"][place]),
                "segmentation": run_lengths(truth["masks"][place]),
            }
            if "keypoints" in truth:
                entry["keypoints"] = truth["keypoints"][place].flatten().tolist()
                entry["num_keypoints"] = int((truth["keypoints"][place, :, 2] > 0).sum())
            objects.append(entry)
        for place, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
            entry = {"image_id": image, "category_id": int(found.classes[place]), "score": float(found.scores[place])}
            if kind == "bbox":
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            elif kind == "segm":
                entry["segmentation"] = run_lengths(found.masks[place])
            else:
                entry["keypoints"] = [v for x, y in found.keypoints[place].tolist() for v in (x, y, 1)]
            results.append(entry)
    images = [{"id": image, "height": SIZE, "width": SIZE} for image in range(len(samples))]
    categories = [{"id": number, "name": str(number)} for number in (1, 2, 3)]
    (tmp_path / "truth.json").write_text(
        json.dumps({"images": images, "annotations": objects, "categories": categories})
    )
    (tmp_path / "found.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats


def scored(score, samples):
    for index, sample in enumerate(samples):
        score.update(index, *sample)
    return score.compute()


@pytest.mark.parametrize(("kind", "prefix"), [("bbox", "box"), ("segm", "mask")])
def test_all_twelve_figures_are_those_of_pycocotools_by_hand(tmp_path, kind, prefix):
    samples = scenes()
    expected = by_hand(tmp_path, samples, kind)
    found = scored(CocoScore(), samples)
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    names += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]
    for name, value in zip(names, expected, strict=True):
        if value < 0:  # no object is large
            assert f"{prefix}_{name}" not in found
        else:
            assert found[f"{prefix}_{name}"] == pytest.approx(value, abs=1e-9)
    assert 5 < found[f"{prefix}_map"] < 95


def test_keypoints(tmp_path):
    samples = scenes(keypoints=True)
    expected = by_hand(tmp_path, samples, "keypoints")
    found = scored(CocoScore(), samples)
    names = ["map", "map_50", "map_75", "map_medium", "map_large", "mar", "mar_50", "mar_75", "mar_medium", "mar_large"]
    for name, value in zip(names, expected, strict=True):
        assert found.get(f"kp_{name}", -100) == pytest.approx(value, abs=1e-9)
    assert found["kp_map"] > 0


def test_our_own_average_precision_is_pycocotools():
    samples = scenes(60)
    ours, theirs = scored(DetectionScore(), samples), scored(CocoScore(), samples)
    assert ours.keys() <= theirs.keys()
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], abs=1e-6), name


def test_polygons_are_masks():
    result = Detections(
        torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]), torch.tensor([0.9]), [], torch.zeros(1, 20, 30, dtype=bool)
    )
    result.masks[0, :10, :10] = True
    truth = {"boxes": result.boxes, "labels": result.classes, "size": (20, 30)}
    square = scored(CocoScore(), [(result, truth | {"segmentations": [[[0, 0, 10, 0, 10, 10, 0, 10]]]})])
    assert square["mask_map"] == pytest.approx(100)
    half = scored(CocoScore(), [(result, truth | {"segmentations": [[[0, 0, 10, 0, 10, 5.4, 0, 5.4]]]})])
    assert half["mask_map_50"] == pytest.approx(100)
    assert half["mask_map_75"] == pytest.approx(0)


def test_nothing_found_is_zero_and_nothing_to_find_is_left_out():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), [])
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
    assert scored(CocoScore(), [(nothing, truth)])["box_map"] == 0
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert scored(CocoScore(), [(nothing, empty)]) == {}
    with pytest.raises(ValueError, match="no result was taken"):
        CocoScore().compute()


def test_the_score_does_not_depend_on_order_or_division():
    check_score(CocoScore, scenes(12), rounds=4)


def test_masks_and_keypoints_that_do_not_go_with_those_of_the_model_are_refused():
    result, truth = scenes(1, keypoints=True)[0]
    square = [[1, 1, 9, 1, 9, 9]]
    count = len(truth["boxes"])
    truth.pop("masks")
    score = CocoScore()
    with pytest.raises(ValueError, match=r"are \(64, 32\), height and width, but the image is \(64, 64\)"):
        score.update(0, result, truth | {"segmentations": [square] * count, "size": (SIZE, 32)})
    with pytest.raises(ValueError, match="object 1 of the image has no segmentation"):
        score.update(0, result, truth | {"segmentations": [None] * count, "size": (SIZE, SIZE)})
    with pytest.raises(ValueError, match="have 5 keypoints each, and the model finds 17"):
        score.update(0, result, truth | {"keypoints": truth["keypoints"][:, :5]})
    assert len(score) == 0
    boxes_alone = Detections(result.boxes, result.classes, result.scores, [])
    score.update(0, boxes_alone, truth | {"segmentations": [None] * count, "size": (SIZE, 32)})
    assert {name.split("_")[0] for name in score.compute()} == {"box"}


def test_truth_is_held_to_its_image():
    from PIL import Image

    from zoo_core.specs import find
    from zoo_detection.task import ObjectDetectionTask

    task = ObjectDetectionTask(find("ssd300_vgg16"), scoring=True)
    image = Image.new("RGB", (40, 20))
    truth = {"boxes": torch.tensor([[0.0, 0, 40.5, 20]]), "size": (20, 40)}
    task.check_truth(image, truth)
    with pytest.raises(ValueError, match="annotations are of 20 x 40 pixels, and it has 40 x 20"):
        task.check_truth(image, truth | {"size": (40, 20)})
    with pytest.raises(ValueError, match="the box 0, 0, 50, 20 lies outside"):
        task.check_truth(image, {"boxes": torch.tensor([[0.0, 0, 50, 20]])})
