"""The confusion matrix, by hand and by counting pixel by pixel."""

import math

import pytest
import torch

from zoo_segmentation import ConfusionMatrix


def test_by_hand():
    matrix = ConfusionMatrix(3)
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 255]])
    prediction = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 2]])
    matrix.update(prediction, truth)
    assert matrix.matrix.tolist() == [[2, 1, 0], [1, 2, 0], [1, 0, 0]]
    # Class 0: 2 right, 1 missed, 2 wrongly said; class 1: 2, 1, 1; class 2: 0 right, 1 missed.
    assert matrix.per_class_iou().tolist() == pytest.approx([2 / 5, 2 / 4, 0])
    assert matrix.mean_iou() == pytest.approx((2 / 5 + 2 / 4 + 0) / 3)
    assert matrix.pixel_accuracy() == pytest.approx(4 / 7)


def test_streaming_equals_all_at_once():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 6, (4, 17, 23), generator=generator)
    truth[torch.rand(truth.shape, generator=generator) < 0.2] = 255
    prediction = torch.randint(0, 6, truth.shape, generator=generator)
    at_once, streamed = ConfusionMatrix(6), ConfusionMatrix(6)
    at_once.update(prediction, truth)
    for one, other in zip(prediction, truth, strict=True):
        streamed.update(one, other)
    assert torch.equal(at_once.matrix, streamed.matrix)

    counted = torch.zeros(6, 6, dtype=torch.int64)
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != 255:
            counted[t, p] += 1
    assert torch.equal(at_once.matrix, counted)
    for index, iou in enumerate(at_once.per_class_iou().tolist()):
        said, true = prediction == index, truth == index
        valid = truth != 255
        assert iou == pytest.approx(float((said & true).sum() / ((said & valid) | true).sum()))


def test_classes_that_do_not_occur_do_not_count():
    matrix = ConfusionMatrix(4)
    matrix.update(torch.tensor([[1, 1, 3]]), torch.tensor([[1, 1, 1]]))
    absent, right, also_absent, said_only = matrix.per_class_iou().tolist()
    assert math.isnan(absent)
    assert math.isnan(also_absent)
    assert right == pytest.approx(2 / 3)
    assert said_only == 0
    assert matrix.mean_iou() == pytest.approx((2 / 3 + 0) / 2)
    assert matrix.pixel_accuracy() == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_dtypes(dtype):
    """An index of 15 * 21 + 20 must not overflow a byte."""
    matrix = ConfusionMatrix(21)
    matrix.update(torch.tensor([[20, 20]]).to(dtype), torch.tensor([[15, 255]]).to(dtype))
    assert matrix.matrix.nonzero().tolist() == [[15, 20]]


def test_another_ignored_label():
    negative = ConfusionMatrix(2, ignore_index=-1)
    negative.update(torch.tensor([[0, 1]]), torch.tensor([[-1, 1]]))
    assert negative.matrix.tolist() == [[0, 0], [0, 1]]
    unsigned = ConfusionMatrix(256, ignore_index=-1)
    unsigned.update(torch.tensor([[7]], dtype=torch.uint8), torch.tensor([[255]], dtype=torch.uint8))
    assert unsigned.matrix[255, 7] == 1
    nothing = ConfusionMatrix(2, ignore_index=None)
    with pytest.raises(ValueError, match=r"target has the label 255, but classes are numbered from 0 to 1$"):
        nothing.update(torch.tensor([[0]]), torch.tensor([[255]]))


def test_many_classes():
    matrix = ConfusionMatrix(300, ignore_index=None)
    matrix.update(torch.tensor([[299]]), torch.tensor([[255]]))
    assert matrix.matrix[255, 299] == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "error", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), ValueError, "same shape"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), TypeError, "argmax"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), TypeError, "target must hold integers"),
        (torch.tensor([[3]]), torch.tensor([[0]]), ValueError, "prediction has the label 3.*from 0 to 2"),
        (torch.tensor([[0]]), torch.tensor([[-2]]), ValueError, "target has the label -2"),
        (torch.tensor([[0]]), torch.tensor([[254]]), ValueError, "target has the label 254.*255 is ignored"),
    ],
)
def test_what_it_refuses(prediction, truth, error, message):
    matrix = ConfusionMatrix(3)
    with pytest.raises(error, match=message):
        matrix.update(prediction, truth)
    assert not matrix.matrix.any(), "what is refused does not count"


def test_nothing_counted():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([[0, 1]]), torch.tensor([[255, 255]]))
    matrix.update(torch.zeros(0, 4, dtype=torch.int64), torch.zeros(0, 4, dtype=torch.int64))
    for compute in (matrix.mean_iou, matrix.pixel_accuracy):
        with pytest.raises(ValueError, match="no pixel was counted"):
            compute()
    assert matrix.per_class_iou().isnan().all()
    with pytest.raises(ValueError, match="at least 1"):
        ConfusionMatrix(0)


def test_merging():
    one, other, both = ConfusionMatrix(3), ConfusionMatrix(3), ConfusionMatrix(3)
    for matrix, prediction, truth in ((one, [[0, 1]], [[0, 2]]), (other, [[2, 2]], [[1, 255]])):
        matrix.update(torch.tensor(prediction), torch.tensor(truth))
        both.update(torch.tensor(prediction), torch.tensor(truth))
    one.merge(other)
    assert torch.equal(one.matrix, both.matrix)
    for stranger in (ConfusionMatrix(4), ConfusionMatrix(3, ignore_index=None)):
        with pytest.raises(ValueError, match="cannot take"):
            one.merge(stranger)
