"""COCO's average precision on cases that were worked out by hand."""

import pytest
import torch

from zoo_detection.average_precision import AveragePrecision

BOX = [0.0, 0.0, 10.0, 10.0]
FAR = [100.0, 100.0, 110.0, 110.0]


def found(*entries):
    """(box, label, score), ..."""
    return {
        "boxes": torch.tensor([e[0] for e in entries], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([e[1] for e in entries], dtype=torch.int64),
        "scores": torch.tensor([e[2] for e in entries], dtype=torch.float32),
    }


def true(*entries, crowd=None):
    """(box, label), ..."""
    truth = {
        "boxes": torch.tensor([e[0] for e in entries], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([e[1] for e in entries], dtype=torch.int64),
    }
    return truth if crowd is None else truth | {"iscrowd": torch.tensor(crowd)}


def score(*images):
    precision = AveragePrecision()
    for detections, truth in images:
        precision.update(detections, truth)
    return precision.compute()


def test_perfect():
    assert score((found((BOX, 1, 0.9), (FAR, 2, 0.3)), true((BOX, 1), (FAR, 2)))) == {
        "map": 100.0,
        "map_50": 100.0,
        "map_75": 100.0,
    }


def test_nothing_found():
    assert score((found(), true((BOX, 1))))["map"] == 0


def test_thresholds():
    """An IoU of 0.7 passes the thresholds 0.5, 0.55, 0.6, 0.65 and 0.7."""
    result = score((found(([0.0, 0.0, 10.0, 7.0], 1, 0.9)), true((BOX, 1))))
    assert result == pytest.approx({"map": 50.0, "map_50": 100.0, "map_75": 0.0})


def test_precision_recall_curve():
    """Right, wrong, right, of three objects: precision 1 up to recall 1/3, 2/3 up to 2/3, and nothing beyond.

    Of the 101 points, 34 (0 to 0.33) have precision 1 and 33 (0.34 to 0.66) have 2/3.
    """
    other = [50.0, 0.0, 60.0, 10.0]
    detections = found((BOX, 1, 0.9), ([200.0, 0, 210, 10], 1, 0.8), (FAR, 1, 0.7))
    result = score((detections, true((BOX, 1), (FAR, 1), (other, 1))))
    assert result["map"] == pytest.approx(100 * (34 + 33 * 2 / 3) / 101)


def test_a_wrong_detection_before_the_right_one_counts_over_all_images():
    """Precision is 1/2 at every recall, whichever image the wrong one is on."""
    right, wrong = (found((BOX, 1, 0.5)), true((BOX, 1))), (found((BOX, 1, 0.9)), true())
    assert score(right, wrong)["map"] == pytest.approx(50)
    assert score(wrong, right)["map"] == pytest.approx(50)


def test_the_second_detection_of_an_object_is_wrong():
    """Recall 1/2 at precision 1; the second object is found third: precision 2/3 beyond."""
    detections = found((BOX, 1, 0.9), (BOX, 1, 0.8), (FAR, 1, 0.7))
    result = score((detections, true((BOX, 1), (FAR, 1))))
    assert result["map"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_a_detection_takes_the_object_that_it_overlaps_most():
    """The best detection fits the second object exactly, and leaves the first one to the other detection."""
    near = [0.0, 0.0, 10.0, 8.0]
    result = score((found((near, 1, 0.9), (BOX, 1, 0.8)), true((BOX, 1), (near, 1))))
    assert result["map"] == pytest.approx(100)


def test_classes_count_alike_however_many_objects_they_have():
    images = [(found((BOX, 1, 0.9)), true((BOX, 1))) for _ in range(9)]
    images.append((found((FAR, 1, 0.1)), true((BOX, 2))))
    # Class 1: nine right ones before the wrong one. Class 2: missed.
    assert score(*images)["map"] == pytest.approx(50)


def test_a_class_without_objects_does_not_count():
    assert score((found((BOX, 1, 0.9), (FAR, 7, 0.99)), true((BOX, 1))))["map"] == pytest.approx(100)


def test_detections_in_a_crowd_count_neither_way():
    crowd = [100.0, 0.0, 200.0, 100.0]
    inside = [[110.0, 10, 120, 20], [130.0, 10, 150, 20]]
    detections = found((inside[0], 1, 0.9), (inside[1], 1, 0.8), (BOX, 1, 0.7))
    truth = true((crowd, 1), (BOX, 1), crowd=[1, 0])
    assert score((detections, truth))["map"] == pytest.approx(100)
    assert score((detections, truth | {"iscrowd": torch.tensor([0, 0])}))["map"] < 50


def test_a_real_object_goes_before_a_crowd():
    truth = true((BOX, 1), ([0.0, 0.0, 50.0, 50.0], 1), crowd=[0, 1])
    assert score((found((BOX, 1, 0.9)), truth))["map"] == pytest.approx(100)


def test_the_hundred_best_count():
    detections = found(*[(FAR, 1, 0.9 - i / 1000) for i in range(100)], (BOX, 1, 0.1))
    assert score((detections, true((BOX, 1))))["map"] == 0
    detections = found(*[(FAR, 1, 0.9 - i / 1000) for i in range(99)], (BOX, 1, 0.1))
    assert score((detections, true((BOX, 1))))["map"] == pytest.approx(1)


def test_masks():
    """Of 100 pixels, 80 are found: IoU 0.8 passes seven of the ten thresholds. Boxes are not looked at."""
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, :10, :10] = True
    part = mask.clone()
    part[0, 8:] = False
    precision = AveragePrecision("masks")
    precision.update(
        {"masks": part, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])},
        {"masks": mask, "labels": torch.tensor([1])},
    )
    assert precision.compute()["map"] == pytest.approx(70)


def test_empty_boxes():
    empty = [5.0, 5.0, 5.0, 5.0]
    assert score((found((empty, 1, 0.9)), true((empty, 1))))["map"] == 0


def test_misuse():
    with pytest.raises(ValueError, match="no result was taken"):
        AveragePrecision().compute()
    with pytest.raises(ValueError, match="no object on any image"):
        score((found((BOX, 1, 0.9)), true()))
    with pytest.raises(ValueError, match="the truth have no labels"):
        AveragePrecision().update(found(), {"boxes": torch.zeros(0, 4)})
    with pytest.raises(ValueError, match="different numbers"):
        AveragePrecision().update(found((BOX, 1, 0.9)) | {"labels": torch.tensor([1, 2])}, true())
    with pytest.raises(ValueError, match="'boxes' or 'masks'"):
        AveragePrecision("keypoints")


def test_merging():
    right, wrong = (found((BOX, 1, 0.5)), true((BOX, 1))), (found((FAR, 1, 0.5)), true())
    one, other = AveragePrecision(), AveragePrecision()
    one.update(*wrong, index=7)
    other.update(*right, index=3)
    one.merge(other)
    # Of equal scores, that of the image with the lower number counts first.
    assert one.compute() == {"map": 100.0, "map_50": 100.0, "map_75": 100.0}
    other.update(*right)
    assert other.compute()["map"] == pytest.approx(100)
    with pytest.raises(ValueError, match="1 images were taken twice, for instance 3"):
        one.merge(other)
    with pytest.raises(ValueError, match="image 3 was taken already"):
        one.update(*right, index=3)
    with pytest.raises(ValueError, match="of boxes cannot take that of masks"):
        one.merge(AveragePrecision("masks"))
